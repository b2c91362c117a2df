/* SPDX-License-Identifier: Apache-2.0
 *
 * State of a reader of multipart bodies. `held` has the head of the part in progress and, behind it, what is kept of its
 * value; nothing of a file. A flat struct: whoever embeds it calls multipart_free.
 */
#ifndef OISP_MULTIPART_H
#define OISP_MULTIPART_H

#include "buffer.h"
#include <stdint.h>

enum { OISP_BOUNDARY_MAX = 70 }; /* RFC 2046 section 5.1.1 */

/* Of `held`, from `at`; a part has no such thing where size is 0 and at is 0. */
typedef struct oisp_multipart_span {
  uint32_t at, size;
} oisp_multipart_span;

typedef struct oisp_multipart {
  oisp_buffer held;
  uint64_t offset; /* in the stream, of the next byte that feed takes */
  uint64_t head;   /* of the head of the part in progress */
  uint64_t start;  /* of its content */
  uint64_t length; /* of its content so far */
  oisp_multipart_span name, filename, type;
  uint32_t head_size; /* bytes of `held` that are the head, once it was read */
  uint32_t line;      /* start of the line of the head in progress */
  uint32_t head_max;
  uint32_t value_max;
  uint8_t delimiter[4 + OISP_BOUNDARY_MAX]; /* CR LF "--" boundary */
  uint8_t delimiter_size;
  uint8_t lead;    /* 1: the CR is left out, as the peer does */
  uint8_t matched; /* bytes of the delimiter that the last input ended with */
  uint8_t before;  /* of these, that are no content: the line end before it */
  uint8_t state;   /* STATE_* of multipart.pyx */
  uint8_t inside;  /* the head of a part was read, its delimiter not */
  uint8_t file;    /* the part has a filename */
  uint8_t given;   /* what held holds was given out */
  uint8_t failed;  /* enum oisp_status, sticky */
  uint8_t reserved[5];
} oisp_multipart;

_Static_assert(sizeof(oisp_multipart) == 176, "ABI");

#endif
