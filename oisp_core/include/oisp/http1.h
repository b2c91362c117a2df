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

enum {
  OISP_HTTP1_CHUNK_SIZE = 5, /* oisp_http1.state where a chunk-size line begins, or its digits go on */
  OISP_HTTP1_CHUNK_DATA = 9
};

/* Of `size` bytes of input, those up to the end of the chunk that is being read; all, where it is anything else. */
static inline size_t oisp_http1_chunk_rest(const oisp_http1 *p, size_t size) {
  return p->state == OISP_HTTP1_CHUNK_DATA && size > 2 && p->left < size - 2 ? (size_t)p->left + 2 : size;
}

/* The steady state of a stream, without tokens: one whole chunk, `digits CR LF data CR LF`, at the start of the input.
 * Answers how many bytes it has, or 0: it is anything else, and http1_feed reads it. */
static inline size_t oisp_http1_chunk(oisp_http1 *p, const uint8_t *data, size_t size, size_t *start, size_t *length) {
  size_t n = 0, i = 0, digit;
  if (p->state != OISP_HTTP1_CHUNK_SIZE || p->line || p->failed || p->held.data)
    return 0;
  for (; i < 6 && i < size; i++) {
    digit = (size_t)(data[i] - '0');
    if (digit > 9) {
      digit = (size_t)((data[i] | 0x20) - 'a');
      if (digit > 5)
        break;
      digit += 10;
    }
    n = n << 4 | digit;
  }
  if (n == 0 || size < i + n + 4 || data[i] != '\r' || data[i + 1] != '\n' || data[i + n + 2] != '\r' ||
      data[i + n + 3] != '\n')
    return 0;
  *start = i + 2;
  *length = n;
  p->offset += i + n + 4;
  return i + n + 4;
}

#endif
