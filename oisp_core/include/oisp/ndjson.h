/* SPDX-License-Identifier: Apache-2.0
 *
 * State of a reader of JSON values one after the other: lines, or the elements of one array. `held` is filled only while a
 * value lies in more than one segment.
 */
#ifndef OISP_NDJSON_H
#define OISP_NDJSON_H

#include "buffer.h"
#include <stddef.h>
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

enum {
  OISP_NDJSON_VALUE = 1, /* oisp_ndjson.place where a value may begin */
  OISP_NDJSON_AFTER = 3  /* of an array: after a value, before its comma */
};

/* Between two values, with nothing held: whoever knows a whole value that begins here may take it and move `offset`. */
static inline int oisp_ndjson_between(const oisp_ndjson *p) {
  return (p->place == OISP_NDJSON_VALUE || p->place == OISP_NDJSON_AFTER) && !p->failed && !p->skipping && !p->given &&
         p->held.size == 0;
}

/* Passes over what stands before the next value: how many bytes. */
static inline size_t oisp_ndjson_begin(oisp_ndjson *p, const uint8_t *data, size_t size) {
  size_t i = 0;
  for (; i < size; i++) {
    if (p->place == OISP_NDJSON_AFTER && data[i] == ',')
      p->place = OISP_NDJSON_VALUE;
    else if (data[i] != ' ' && data[i] != '\n' && data[i] != '\r' && data[i] != '\t')
      break;
  }
  return i;
}

/* A value was taken. */
static inline void oisp_ndjson_took(oisp_ndjson *p) { p->place = p->array ? OISP_NDJSON_AFTER : OISP_NDJSON_VALUE; }

#endif
