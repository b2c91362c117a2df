/* SPDX-License-Identifier: Apache-2.0
 *
 * State of an HTTP/2 parser (RFC 9113): one direction of one connection. It knows frames and header blocks, not streams: what
 * it keeps does not grow with them. Flat; behind it are the dynamic table and `held`, which exists while a frame that must be
 * read whole lies in more than one segment, or while a boundary is looked for.
 */
#ifndef OISP_HTTP2_H
#define OISP_HTTP2_H

#include "buffer.h"
#include "hpack.h"
#include <stdint.h>

/* Beside enum oisp_body_kind in the flags of HEAD_END. */
enum oisp_head_flags {
  OISP_HEAD_KIND = 0xFF,
  OISP_HEAD_PARTIAL =
      0x100,  /* fields of this block are unknown: its table or its bytes were lost, or a bound was reached */
  OISP_HEAD_PUSH = 0x200,     /* the request that a PUSH_PROMISE stands for; number = the stream it came on */
  OISP_HEAD_INTERIM = 0x400   /* a 1xx answer: another head follows */
};

/* Identifiers of SETTINGS tokens (RFC 9113 section 6.5.2) that this parser gives a meaning to, and two of its own. */
enum oisp_setting {
  OISP_SETTING_TABLE_SIZE = 1,
  OISP_SETTING_PUSH = 2,
  OISP_SETTING_STREAMS = 3,
  OISP_SETTING_FRAME_SIZE = 5,
  OISP_SETTING_ACK = 0xFFFF,
  OISP_SETTING_LOST = 0xFFFE /* a SETTINGS frame was lost: anything may have been allowed */
};

typedef struct oisp_http2 {
  oisp_hpack table;
  oisp_buffer held;     /* header block, or payload of another frame that is read whole, so far */
  oisp_buffer region;   /* bytes in which a boundary is looked for; then they are read from here */
  oisp_buffer *work;    /* of the caller, may be shared by all parsers: Huffman-coded text is decoded into it */
  uint64_t offset;      /* in the stream, of the next byte that feed takes */
  uint64_t skipped;     /* bytes passed over while looking for a boundary, ever */
  uint64_t frame;       /* offset of the frame in progress */
  uint64_t block;       /* offset of the frame that began the header block in progress */
  uint64_t length;      /* content-length of that block */
  uint32_t region_at;   /* region: read so far, or proved to be no boundary */
  uint32_t at;          /* held: where the frame's payload begins, or what was read of the whole block */
  uint32_t size;        /* of the frame's payload */
  uint32_t left;        /* of it */
  uint32_t pad;         /* at its end */
  uint32_t stream;      /* of the frame */
  uint32_t carrier;     /* stream of the header block in progress: CONTINUATION must be on it */
  uint32_t promised;    /* stream that it promises */
  uint32_t highest;     /* stream seen in this direction */
  uint32_t frame_max;
  uint32_t head_max;
  uint8_t head[24];     /* frame head or preface, while it lies in more than one segment */
  uint8_t head_size;
  uint8_t kind;         /* of the frame */
  uint8_t flags;
  uint8_t role;         /* OISP_TOKEN_REQUEST or OISP_TOKEN_RESPONSE */
  uint8_t state;        /* STATE_* of http2.pyx */
  uint8_t block_flags;  /* BLOCK_* of http2.pyx */
  uint8_t settings_lost; /* SETTINGS of the other direction may have been missed: any frame size may be allowed */
  uint8_t failed;       /* enum oisp_status, sticky */
} oisp_http2;

enum { OISP_HTTP2_HEAD = 2 }; /* oisp_http2.state where a frame begins */

/* The steady state of a stream, without tokens: a whole DATA frame of some bytes and no flags at the start of the input, which
 * nothing is held before. Answers its stream, 0: it is anything else, and http2_feed reads it. Nothing is taken yet. */
static inline uint32_t oisp_http2_data(const oisp_http2 *p, const uint8_t *data, size_t size, size_t *length) {
  if (size < 10 || p->state != OISP_HTTP2_HEAD || p->head_size || p->block_flags || p->failed || p->held.data ||
      p->region.data)
    return 0;
  *length = (size_t)data[0] << 16 | (size_t)data[1] << 8 | data[2];
  if (data[3] || data[4] || *length == 0 || size - 9 < *length || (*length > p->frame_max && !p->settings_lost))
    return 0;
  return ((uint32_t)data[5] << 24 | (uint32_t)data[6] << 16 | (uint32_t)data[7] << 8 | data[8]) & 0x7fffffff;
}

/* It is taken. */
static inline void oisp_http2_took(oisp_http2 *p, uint32_t stream, size_t length) {
  p->frame = p->offset;
  p->offset += 9 + length;
  p->kind = p->flags = 0;
  p->stream = stream;
  p->size = (uint32_t)length;
  p->left = p->pad = 0;
  if (stream > p->highest)
    p->highest = stream;
}

_Static_assert(sizeof(oisp_http2) <= 272, "two of them stand in an idle connection of at most 12 KiB");

#endif
