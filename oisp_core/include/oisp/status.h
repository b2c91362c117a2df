/* SPDX-License-Identifier: Apache-2.0
 *
 * What every parser, scanner and encoder answers. Wire data never raises: it gives one of these.
 * After BAD or LIMIT a parser keeps giving the same answer until it is reset.
 */
#ifndef OISP_STATUS_H
#define OISP_STATUS_H

typedef enum oisp_status {
  OISP_OK = 0,    /* done what was asked */
  OISP_MORE = 1,  /* the input ended inside something: feed more */
  OISP_BAD = 2,   /* not this protocol, or not valid in it */
  OISP_LIMIT = 3, /* valid so far, but beyond a bound of limits.h */
  OISP_FULL = 4   /* the output is full: drain it, then go on */
} oisp_status;

#endif
