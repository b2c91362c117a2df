/* SPDX-License-Identifier: Apache-2.0
 *
 * How wide the vector instructions may be: OISP_SIMD names a scan table (scan.h), and everything else that chooses at run time
 * keeps to it, so that a lesser processor can be measured on a better one. Not a detection of processors: that is each
 * chooser's own. A name that no table has is refused by scan.pyx.
 */
#ifndef OISP_SIMD_H
#define OISP_SIMD_H

#include <stdlib.h>
#include <string.h>

/* What was asked for, or NULL: the best there is. */
static inline const char *oisp_simd_asked(void) { return getenv("OISP_SIMD"); }

/* Whether the instructions of the table `name` may be used where others do not suffice. */
static inline int oisp_simd_allows(const char *name) {
  const char *asked = oisp_simd_asked();
  return asked == NULL || strcmp(asked, name) == 0;
}

/* Whether any vector instructions may be. */
static inline int oisp_simd_any(void) {
  const char *asked = oisp_simd_asked();
  return asked == NULL || strcmp(asked, "scalar") != 0;
}

#endif
