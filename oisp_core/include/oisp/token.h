/* SPDX-License-Identifier: Apache-2.0
 *
 * What the parsers of reassemble/ give out: flat tokens in an array of the caller's, no callbacks, no objects.
 *
 * The quartet, the same for every parser x:
 *   x_init(p, ...)                        also what zero-filled memory means, where it can
 *   x_feed(p, data, size, out, used)      takes input, appends tokens, says how much it took. It may stop early (used < size,
 *                                         OISP_OK): the array is full, or the caller has a decision to make (see the parser).
 *                                         OISP_MORE: all was taken and the parser is inside something.
 *   x_gap(p, size, out)                   `size` bytes of the stream are missing here. OK: arithmetic, framing goes on (a GAP
 *                                         token says what of it was body). BAD: framing is lost, the caller resynchronises.
 *   x_finish(p, out)                      the stream ended (also what read-until-close bodies wait for)
 *   x_reset(p)                            back to the start, memory kept;  x_free(p) gives it back
 *
 * A token's pointers are valid until the next call on the same parser, and no longer than the input.
 * Tokens do not depend on how the input was split, but for DATA (and EVENT pieces so marked), whose neighbours join.
 */
#ifndef OISP_TOKEN_H
#define OISP_TOKEN_H

#include "status.h"
#include <stdint.h>

enum oisp_token_kind {
  OISP_TOKEN_REQUEST = 1,   /* name = method, data = target, number = HTTP minor version */
  OISP_TOKEN_RESPONSE = 2,  /* data = reason, number = status, flags bit 0: HTTP minor version */
  OISP_TOKEN_FIELD = 3,     /* name, data = value (trimmed; obs-fold joined by one blank) */
  OISP_TOKEN_HEAD_END = 4,  /* flags = oisp_body_kind, number = content length when known; feed stops after it */
  OISP_TOKEN_DATA = 5,      /* a piece of the body */
  OISP_TOKEN_TRAILER = 6,   /* like FIELD, after the body */
  OISP_TOKEN_GAP = 7,       /* number = body bytes missing here */
  OISP_TOKEN_END = 8,       /* the message is complete; flags bit 0: it ended by close, bit 1: cut short */
  OISP_TOKEN_UPGRADE = 9,   /* what follows is another protocol; feed stops after it */
  OISP_TOKEN_EVENT = 10, /* SSE: name = event type (empty: message), data = payload; websocket, ndjson, ...: data */
  OISP_TOKEN_WARNING = 11, /* number = enum oisp_warning: read leniently, and said */
  OISP_TOKEN_SETTINGS = 12, /* HTTP/2 and others: control, see the parser */
  OISP_TOKEN_RESET = 13, /* HTTP/2: stream reset, number = error code */
  OISP_TOKEN_GOAWAY = 14 /* HTTP/2: stream = the last one that is served, number = error code */
};

/* How the end of a body is found. */
enum oisp_body_kind {
  OISP_BODY_NONE = 0,
  OISP_BODY_LENGTH = 1,
  OISP_BODY_CHUNKED = 2,
  OISP_BODY_CLOSE = 3,
  OISP_BODY_TUNNEL = 4, /* CONNECT or 101: another protocol follows */
  OISP_BODY_STREAM = 5 /* HTTP/2: until the frame that ends the stream */
};

enum oisp_warning {
  OISP_WARNING_OBS_FOLD = 1,
  OISP_WARNING_BARE_LF = 2,
  OISP_WARNING_DUPLICATE_LENGTH = 3, /* the same length twice */
  OISP_WARNING_CONFLICTING_LENGTH = 4, /* different lengths, or length with chunked: request smuggling */
  OISP_WARNING_BLANK_BEFORE_COLON = 5,
  OISP_WARNING_BAD_FIELD = 6, /* a line without colon or with a bad name, skipped */
  OISP_WARNING_TRANSFER_CODING = 7,
  OISP_WARNING_HEADER_BLOCK = 8 /* HTTP/2: a header block that cannot be read; the table is not trusted any further */
};

typedef struct oisp_token {
  uint16_t kind; /* enum oisp_token_kind */
  uint16_t flags; /* by kind */
  uint32_t stream;
  uint64_t offset; /* of data[0] in the stream of bytes that the parser reads (not of the buffer) */
  const uint8_t *data;
  const uint8_t *name;
  uint32_t size;
  uint32_t name_size;
  uint64_t number;
} oisp_token;

typedef struct oisp_tokens {
  oisp_token *at;
  uint32_t count;
  uint32_t capacity;
} oisp_tokens;

_Static_assert(sizeof(oisp_token) == 48, "ABI");

/* A token that is made of these; the caller has seen that there is room. */
static inline void oisp_tokens_add(oisp_tokens *out, uint16_t kind, uint64_t offset, const uint8_t *name,
                                   uint32_t name_size, const uint8_t *data, uint32_t size) {
  out->at[out->count++] = (oisp_token){kind, 0, 0, offset, data, name, size, name_size, 0};
}

/* The next free token, zeroed but for kind; NULL when the array is full. */
static inline oisp_token *oisp_tokens_push(oisp_tokens *out, uint16_t kind) {
  if (out->count >= out->capacity)
    return (oisp_token *)0;
  oisp_token *t = &out->at[out->count++];
  *t = (oisp_token){.kind = kind};
  return t;
}

#endif
