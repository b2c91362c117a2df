/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections of an engine: what is kept of each. A connection that was never decided or was dismissed is an oisp_conn alone;
 * an open one has an oisp_flow.
 */
#ifndef OISP_ENGINE_H
#define OISP_ENGINE_H

#include "http1.h"
#include "message.h"
#include "record.h"
#include "resync.h"
#include <stdint.h>

enum oisp_conn_state {
  OISP_CONN_NEW = 0,       /* no byte seen */
  OISP_CONN_OPEN = 1,      /* has a flow */
  OISP_CONN_DISMISSED = 2  /* its bytes are counted and not read; why is in `rule` */
};

enum oisp_dismissal {
  OISP_DISMISSED_NOT = 0,
  OISP_DISMISSED_HOST = 1,     /* a rule names its host as never AI */
  OISP_DISMISSED_PROTOCOL = 2, /* no protocol that is known */
  OISP_DISMISSED_TUNNEL = 3,   /* CONNECT or Upgrade to something that is not read */
  OISP_DISMISSED_LIMIT = 4
};

enum oisp_side_state {
  OISP_SIDE_NEW = 0,    /* first bytes are looked at */
  OISP_SIDE_HTTP1 = 1,
  OISP_SIDE_RESYNC = 2, /* looking for a boundary */
  OISP_SIDE_CLOSED = 3,
  OISP_SIDE_HTTP2 = 4,
  OISP_SIDE_WAIT = 5,   /* of the requests: the answer says what comes next (CONNECT, Upgrade) */
  OISP_SIDE_SOCKET = 6  /* messages of a WebSocket */
};

/* One direction. */
typedef struct oisp_side {
  oisp_http1 http;
  oisp_buffer held;  /* pieces that wait: oisp_piece, bytes, oisp_piece, bytes ... */
  oisp_resync *lost; /* what came since framing was lost */
  uint64_t offset;   /* of the next byte in the stream */
  uint8_t state;     /* enum oisp_side_state */
  uint8_t role;      /* OISP_TOKEN_REQUEST or OISP_TOKEN_RESPONSE */
  uint8_t unconfirmed; /* the next message begins at a place that few others confirm */
  uint8_t reserved[5];
} oisp_side;

/* Head of a piece that waits. A hole is a piece with `gap` and no bytes. */
typedef struct oisp_piece {
  uint64_t ts;
  uint64_t gap;
  uint32_t size;
  uint32_t reserved;
} oisp_piece;

typedef struct oisp_flow {
  oisp_side side[2];  /* by enum oisp_direction */
  oisp_turn *first;   /* the exchange whose response comes next */
  oisp_turn *last;    /* the newest; its request may still be coming */
  oisp_turn *answer;  /* the exchange whose response is being read, or NULL between responses */
  uint32_t turns;
  uint8_t receiving;  /* 1: the request of `last` is being read */
  uint8_t ambiguous;  /* responses were lost: pair only what count proves */
  uint8_t pipelined;  /* a request was ever sent before the answer to the one before it had ended */
  uint8_t answered_dead; /* `answer` is an orphan, not in the list */
  uint8_t exchanged;     /* an exchange ended as it should */
  uint8_t sequential;    /* a request was seen to be sent after all earlier ones were answered */
  uint8_t mixed;         /* not every request has the same verdict */
  uint8_t tunnel;        /* 1: what follows the answer to CONNECT is read anew, 2: it is being read */
  uint8_t resume;        /* the answer was none to an upgrade: requests that wait are requests */
  oisp_verdict usual;    /* what the connection is asked */
  uint32_t owed;         /* answers known to be lost whose requests are not complete yet */
  uint64_t owed_bytes;
  struct oisp_streams *streams; /* of HTTP/2, NULL while it is not spoken */
  struct oisp_session *session; /* of a WebSocket */
  struct oisp_rpc *rpc;         /* of JSON-RPC over standard streams, from the first byte */
} oisp_flow;

typedef struct oisp_conn {
  uint64_t id;
  struct oisp_conn *newer, *older; /* by last use */
  oisp_flow *flow;
  oisp_origin origin;
  uint64_t ts_last;
  uint64_t spared; /* bytes that came after the dismissal */
  uint8_t state;   /* enum oisp_conn_state */
  uint8_t requests; /* direction of the requests, 2 unknown */
  uint8_t rule;    /* enum oisp_dismissal */
  uint8_t told;    /* there is no verdict that was not handed out */
  uint8_t counted; /* it was said how many bytes it moved in all: loss at its end is known */
  uint8_t level;   /* the verdict that holds: 0 all of it is wanted, 1 the beginning of each call */
  uint8_t joined;  /* bit per direction: another reader had its bytes so far, it begins with the next piece */
  uint32_t skipped; /* bytes passed over while looking for a boundary */
} oisp_conn;

_Static_assert(sizeof(oisp_conn) <= 128, "a dismissed connection costs at most 128 bytes");
_Static_assert(sizeof(oisp_conn) + sizeof(oisp_flow) <= 1024, "an idle HTTP/1 connection costs at most 1 KiB");

#endif
