/* SPDX-License-Identifier: Apache-2.0
 *
 * State of a reader of server-sent events: one body. Flat; `held` is filled only while an event lies in more than one segment
 * (or has more than one data line), and a large one is given back when that event was given out.
 */
#ifndef OISP_SSE_H
#define OISP_SSE_H

#include "buffer.h"
#include <stdint.h>

typedef struct oisp_sse {
  oisp_buffer held;   /* the bytes of the event in progress, as they came */
  uint64_t offset;    /* in the stream, of the next byte that feed takes */
  uint32_t event_max; /* bytes of one event, from its first line with content to its blank line */
  uint32_t line;      /* held: start of the line in progress */
  uint32_t scanned;   /* held: searched so far for its end */
  uint8_t holding;    /* 1: held is the event in progress; 0: what it holds was given out */
  uint8_t content;    /* held: 1 an `event` line was read, 2 a `data` line */
  uint8_t started;    /* beyond the place of a byte order mark */
  uint8_t skipping;   /* after a gap: 1 until the next line end, 2 which was CR: a LF may belong to it */
  uint8_t doubt;      /* the event in progress may have lost lines in a gap */
  uint8_t failed;     /* enum oisp_status, sticky */
  uint8_t reserved[6];
} oisp_sse;

_Static_assert(sizeof(oisp_sse) == 48, "ABI");

/* Between two events, with nothing held: whoever knows a whole event that begins here may take it and move `offset`. */
static inline int oisp_sse_between(const oisp_sse *p) {
  return p->started && !p->failed && !p->holding && !p->skipping && !p->doubt && p->held.size == 0;
}

#endif
