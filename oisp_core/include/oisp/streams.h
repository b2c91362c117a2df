/* SPDX-License-Identifier: Apache-2.0
 *
 * The streams of one HTTP/2 connection that are open, each with its exchange. What of it is idle: two parsers and their tables.
 */
#ifndef OISP_STREAMS_H
#define OISP_STREAMS_H

#include "http2.h"
#include "message.h"
#include <stdint.h>

enum oisp_stream_side { OISP_STREAM_REQUEST = 0, OISP_STREAM_RESPONSE = 1 };

enum oisp_stream_flags {
  OISP_STREAM_UNSEEN = 1,       /* its request was not seen yet: what is answered waits */
  OISP_STREAM_ASKED = 2,        /* the request is complete, or given up: what waited was read */
  OISP_STREAM_ANSWERED = 4,     /* the head of the final answer was read */
  OISP_STREAM_DOUBT_REQUEST =
      8, /* a hole may have swallowed bytes of it: its length will tell, `held` waits for that */
  OISP_STREAM_DOUBT_RESPONSE = 16,
  OISP_STREAM_LATE_END = 32,    /* the end of the answer waits: nothing more of it comes */
  OISP_STREAM_TOUCHED = 64,     /* the end of the request may have been lost */
  OISP_STREAM_OPEN_REQUEST =
      128, /* a hole may have swallowed bytes of it, and no length will tell: what comes next may */
  OISP_STREAM_OPEN_RESPONSE = 256,
  OISP_STREAM_SOCKET = 512      /* an extended CONNECT that asks for a WebSocket (RFC 8441) */
};

/* What waits: this head, then `size` bytes. */
enum oisp_late_kind {
  OISP_LATE_HEAD = 1,  /* size bytes of fields, each with the sizes of name and value before it (uint32_t) */
  OISP_LATE_DATA = 2,
  OISP_LATE_GAP = 3,   /* number bytes are missing */
  OISP_LATE_DOUBT = 4, /* up to number bytes may be missing */
  OISP_LATE_END = 5
};

typedef struct oisp_late {
  uint64_t ts;
  uint64_t number; /* HEAD: content-length */
  uint32_t size;
  uint16_t status; /* HEAD */
  uint8_t kind;
  uint8_t partial; /* HEAD */
} oisp_late;

typedef struct oisp_stream {
  struct oisp_stream *bucket; /* next with the same hash */
  struct oisp_stream *newer, *older;
  oisp_turn *turn;         /* of `session`, where there is one */
  struct oisp_session *session; /* the answer made a WebSocket of it: both bodies are its messages */
  oisp_buffer late;        /* of the response, while the request is not complete */
  oisp_buffer held[2];     /* pieces after a hole that may have touched this body */
  uint64_t length[2];      /* of the bodies, UINT64_MAX unknown */
  uint64_t seen[2];        /* bytes that were given on, or known to be missing */
  uint64_t waiting[2];     /* bytes in `held` */
  uint64_t doubt[2];       /* bytes of holes that may be of this body */
  uint64_t since;          /* time of its first token */
  uint32_t tail[2];        /* the last four bytes that were given on */
  uint32_t id;
  uint32_t flags;          /* enum oisp_stream_flags */
} oisp_stream;

/* Streams whose requests were never seen, from `low` to `high`. */
typedef struct oisp_stream_range {
  uint32_t low, high;
} oisp_stream_range;

enum { OISP_STREAM_BUCKETS = 16, OISP_STREAM_RANGES = 4 };

typedef struct oisp_streams {
  oisp_http2 side[2]; /* requests, responses */
  oisp_shared *shared;
  const oisp_origin *origin;
  oisp_token *tokens; /* of the caller: room for every field of a head, and more */
  oisp_field *fields;
  uint32_t tokens_capacity;
  uint32_t open;
  oisp_stream *buckets[OISP_STREAM_BUCKETS];
  oisp_stream *oldest, *newest;
  oisp_stream_range lost[OISP_STREAM_RANGES];
  uint64_t lost_bytes[2]; /* of holes whose frames are not known, until reading goes on */
  uint64_t skipped[2];    /* as the parsers say, counted so far */
  uint64_t fed[2];        /* when bytes came last */
  uint32_t highest;       /* stream that the client opened */
  uint8_t lost_next;      /* range to overwrite */
  uint8_t lossy;          /* requests may have been lost since `highest` */
  uint8_t losing[2];      /* a boundary is looked for */
  uint8_t unconfirmed[2]; /* what is read began at a place that few frames confirm */
  oisp_verdict usual;     /* what the connection is asked */
  uint8_t mixed;
  uint8_t dismissed;      /* a rule names its host as never AI */
} oisp_streams;

_Static_assert(sizeof(oisp_late) == 24, "ABI");
_Static_assert(sizeof(oisp_streams) <= 1024, "with two full tables of 4 KiB, an idle connection costs at most 12 KiB");

#endif
