/* SPDX-License-Identifier: Apache-2.0
 *
 * State of an HTTP/1.x parser: one direction of one connection. Flat; the only memory behind it is `held`, which exists
 * while a head or trailer section lies in more than one segment (or needs rewriting), and no longer.
 */
#ifndef OISP_HTTP1_H
#define OISP_HTTP1_H

#include "buffer.h"
#include <stdint.h>

/* What has been read of the head in progress: small, so that it can be taken back when the head turns out not to be whole. */
typedef struct oisp_http1_head {
  uint64_t length;  /* of Content-Length */
  uint32_t fields;  /* so far */
  uint16_t status;  /* of a response */
  uint16_t flags;   /* HEAD_* of http1.pyx */
  uint8_t started;  /* the start line was read */
  uint8_t minor;    /* HTTP/1.minor */
  uint8_t bare_lf;  /* said once per message */
  uint8_t reserved[5];
} oisp_http1_head;

typedef struct oisp_http1 {
  oisp_buffer held;
  uint64_t offset; /* in the stream, of the next byte that feed takes */
  uint64_t left;   /* of the body of known length, or of the chunk */
  oisp_http1_head head;
  uint32_t head_max;
  uint32_t fields_max;
  uint32_t head_size; /* bytes of this head that were given out before what is held */
  uint32_t at;        /* held: read so far */
  uint32_t scanned;   /* held: searched so far for the end of the head */
  uint32_t line;      /* bytes of the chunk-size line */
  uint8_t role;       /* OISP_TOKEN_REQUEST or OISP_TOKEN_RESPONSE */
  uint8_t state;      /* STATE_* of http1.pyx */
  uint8_t holding;    /* HOLD_* of http1.pyx */
  uint8_t body;       /* enum oisp_body_kind */
  uint8_t failed;     /* enum oisp_status, sticky */
  uint8_t end_flags;  /* of the END token that waits for room */
  uint8_t reserved[2];
} oisp_http1;

_Static_assert(sizeof(oisp_http1_head) == 24, "ABI");
_Static_assert(sizeof(oisp_http1) == 88, "ABI");

#endif
