/* SPDX-License-Identifier: Apache-2.0
 *
 * State of an HTTP/1.x parser: one direction of one connection. Flat; the only memory behind it is `held`, which exists
 * while a head or trailer section lies in more than one segment (or needs rewriting), and no longer.
 */
#ifndef OISP_HTTP1_H
#define OISP_HTTP1_H

#include "buffer.h"
#include "bytes.h"
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
  OISP_HTTP1_LENGTH = 3,     /* oisp_http1.state in a body of known length: `left` of it is to come */
  OISP_HTTP1_CHUNK_SIZE = 5, /* oisp_http1.state where a chunk-size line begins, or its digits go on */
  OISP_HTTP1_CHUNK_DATA = 9
};

/* Of `size` bytes of input, those up to the end of the chunk that is being read; all, where it is anything else. */
static inline size_t oisp_http1_chunk_rest(const oisp_http1 *p, size_t size) {
  return p->state == OISP_HTTP1_CHUNK_DATA && size > 2 && p->left < size - 2 ? (size_t)p->left + 2 : size;
}

/* One whole chunk, `digits CR LF data CR LF`, at the start of the input. Answers where its data begins and how much it is, or
 * 0: it is anything else. What the digits are is looked up at once for their usual numbers: where the next chunk begins
 * depends on it. */
static inline size_t oisp_http1_whole_chunk(const uint8_t *data, size_t size, size_t *length) {
  size_t n = 3;
  int value;
  if (size < 8)
    return 0;
  if (data[3] == '\r') {
    value = oisp_hex(data[0]) * 256 | oisp_hex(data[1]) * 16 | oisp_hex(data[2]); /* below 0 where one of them is */
  } else if (data[2] == '\r') {
    n = 2;
    value = oisp_hex(data[0]) * 16 | oisp_hex(data[1]);
  } else {
    int digit;
    for (n = 0, value = 0; n < 6 && (digit = oisp_hex(data[n])) >= 0; n++)
      value = value << 4 | digit;
    if (n == 0 || data[n] != '\r')
      return 0;
  }
  n += 2;
  if (value <= 0 || data[n - 1] != '\n' || size - n < (size_t)value + 2 || memcmp(data + n + value, "\r\n", 2) != 0)
    return 0;
  *length = (size_t)value;
  return n;
}

/* The steady state of a stream, without tokens. Answers how many bytes the chunk has, or 0: http1_feed reads it. */
static inline size_t oisp_http1_chunk(oisp_http1 *p, const uint8_t *data, size_t size, size_t *start, size_t *length) {
  if (p->state != OISP_HTTP1_CHUNK_SIZE || p->line || p->failed || p->held.data)
    return 0;
  *start = oisp_http1_whole_chunk(data, size, length);
  if (*start == 0)
    return 0;
  p->offset += *start + *length + 2;
  return *start + *length + 2;
}

#endif
