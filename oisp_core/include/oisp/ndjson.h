/* SPDX-License-Identifier: Apache-2.0
 *
 * State of a reader of JSON values one after the other: lines, or the elements of one array. `held` is filled only while a
 * value lies in more than one segment.
 */
#ifndef OISP_NDJSON_H
#define OISP_NDJSON_H

#include "buffer.h"
#include <stdint.h>

typedef struct oisp_ndjson {
  oisp_buffer held;   /* the value in progress */
  uint64_t offset;    /* in the stream, of the next byte that feed takes */
  uint64_t start;     /* of the value in progress */
  uint32_t value_max; /* bytes of one value */
  uint32_t depth;     /* of brackets inside the value */
  uint8_t array;      /* elements of one array, not lines */
  uint8_t place;      /* PLACE_* of ndjson.pyx */
  uint8_t inside;     /* INSIDE_* of ndjson.pyx */
  uint8_t escaped;    /* in a string, after a backslash */
  uint8_t given;      /* what held holds was given out */
  uint8_t skipping;   /* after a gap: until the next line end */
  uint8_t failed;     /* enum oisp_status, sticky */
  uint8_t reserved;
} oisp_ndjson;

_Static_assert(sizeof(oisp_ndjson) == 48, "ABI");

#endif
