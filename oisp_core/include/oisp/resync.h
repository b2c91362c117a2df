/* SPDX-License-Identifier: Apache-2.0
 *
 * The search for a boundary in a direction whose framing was lost. See resync.pyx.
 */
#ifndef OISP_RESYNC_H
#define OISP_RESYNC_H

#include "buffer.h"
#include <stdint.h>

/* Where a segment stands in `bytes`. */
typedef struct oisp_resync_mark {
  uint64_t ts;
  uint32_t at;
  uint32_t reserved;
} oisp_resync_mark;

typedef struct oisp_resync {
  oisp_buffer bytes;  /* what came since framing was lost, as far as a boundary may lie in it */
  oisp_buffer marks;  /* oisp_resync_mark of each piece, in order */
  uint64_t passed;    /* bytes that were given up */
  uint32_t strong;    /* 1 + start of a segment that may begin with a head, 0 none */
  uint32_t searched;  /* bytes before this hold no boundary */
} oisp_resync;

#endif
