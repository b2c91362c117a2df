/* SPDX-License-Identifier: Apache-2.0
 *
 * State of a reader of AWS event-stream frames. `held` is filled only while a frame lies in more than one segment.
 */
#ifndef OISP_EVENTSTREAM_H
#define OISP_EVENTSTREAM_H

#include "buffer.h"
#include <stdint.h>

typedef struct oisp_eventstream {
  oisp_buffer held;    /* the frame in progress, or the bytes in which a prelude is looked for */
  uint64_t offset;     /* in the stream, of the next byte that feed takes */
  uint64_t passing;    /* bytes of a damaged frame still to be passed over */
  uint64_t skipped;    /* bytes passed over while a prelude is looked for */
  uint32_t frame_max;  /* bytes of one frame */
  uint8_t given;       /* what held holds was given out */
  uint8_t searching;   /* for a prelude, after a loss */
  uint8_t failed;      /* enum oisp_status, sticky */
  uint8_t reserved;
} oisp_eventstream;

_Static_assert(sizeof(oisp_eventstream) == 48, "ABI");

#endif
