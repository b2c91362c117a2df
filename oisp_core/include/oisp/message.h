/* SPDX-License-Identifier: Apache-2.0
 *
 * One exchange in flight, whatever carried it: the border between reassembly and decoding. HTTP/1 drivers, HTTP/2 streams and
 * callers that hold framed exchanges (HAR, proxies, SDKs) all say the same few things to it: request head, body pieces,
 * holes, end; then the same of the response. See message.pyx.
 */
#ifndef OISP_MESSAGE_H
#define OISP_MESSAGE_H

#include "buffer.h"
#include "encode.h"
#include "exchange.h"
#include "form.h"
#include "hash.h"
#include "limits.h"
#include "reader.h"
#include "verdict.h"
#include <stdint.h>

#define OISP_PLAIN_STDIO 2

/* What is known of a connection; its exchanges point here, so that what becomes known later is in their later events. */
typedef struct oisp_origin {
  oisp_buffer context; /* members of set_context() */
  uint8_t context_has_source;
  uint8_t content_source; /* contract enum confidence.content_source */
  uint8_t attribution;    /* contract enum confidence.process_attribution */
  uint8_t plaintext; /* 1: a plain socket, OISP_PLAIN_STDIO: the standard streams of a server process */
  uint8_t midway;
  uint8_t no_offsets; /* 1: the producer cannot tell loss, 2: and counts do not agree */
  uint16_t port;      /* of the server, 0 unknown */
  uint64_t process;   /* one number per process, 0 unknown */
  struct oisp_peer *peer; /* oisp/peer.h: between whom, and which server was asked for; owned, NULL unknown */
} oisp_origin;

/* What the line of an ai.streaming_chunk says besides its text: while none of it changes, a line may be made of the last one. */
typedef struct oisp_chunk_key {
  oisp_confidence answered;
  oisp_verdict verdict;
  oisp_ulid request_event, response_event;
  uint64_t told;  /* oisp_shared.origins_told */
  uint32_t flags; /* of the exchange */
  uint16_t text_flags, status;
  uint8_t role, context_has_source, content_source, attribution, plaintext, midway, no_offsets, reserved;
} oisp_chunk_key;

enum oisp_turn_flags {
  OISP_TURN_REQUEST_HEAD = 1,
  OISP_TURN_REQUEST_DONE = 2,     /* complete, or given up */
  OISP_TURN_REQUEST_DECODED = 4,
  OISP_TURN_REQUEST_EMITTED = 8,
  OISP_TURN_RESPONSE_HEAD = 16,   /* a final one, not 1xx */
  OISP_TURN_RESPONSE_DONE = 32,
  OISP_TURN_RESPONSE_DECODED = 64,
  OISP_TURN_NO_BODY = 128,        /* the response has none: answer to HEAD */
  OISP_TURN_CONNECT = 256,
  OISP_TURN_HOLE = 512,           /* stands for an unknown number of requests that were lost */
  OISP_TURN_ORPHAN = 1024,        /* a response without a request */
  OISP_TURN_REQUEST_CODED =
      2048, /* the body has content codings that are not undone: unknown, broken, or after a hole */
  OISP_TURN_RESPONSE_CODED = 4096,
  OISP_TURN_STREAM = 8192,        /* the response is read event by event */
  OISP_TURN_STREAM_LOST = 16384,  /* an event of the stream was lost or unreadable */
  OISP_TURN_UPGRADE =
      32768, /* asks for a WebSocket, or is a turn of one: the handshake itself is told only when it was refused */
  OISP_TURN_H2C = 1 << 20 /* it asks to go on in HTTP/2 */
};

enum oisp_end_flags {
  OISP_END_CLOSE = 1, /* the end of the connection is the end of the body */
  OISP_END_CUT = 2,   /* incomplete: cut by the peer or by loss of framing */
  OISP_END_FLIGHT = 4 /* incomplete: still running when capture ended */
};

typedef struct oisp_turn {
  struct oisp_turn *next;
  const oisp_origin *origin;
  oisp_exchange *x; /* NULL while nothing says that it may be AI */
  oisp_reader reader;    /* of a response that is a stream */
  oisp_form *form;       /* of a request that is one */
  void *inflaters[2];   /* request, response: a Python Inflater, owned; NULL while there is none */
  uint8_t codings[2][4]; /* of content-encoding, in the order in which they were applied */
  uint8_t codings_count[2];
  uint8_t by_message[2]; /* each message is coded by itself (gRPC) */
  uint32_t parked;       /* pieces that wait to be inflated */
  oisp_buffer coded;     /* of an undecided request: the coded bytes beyond those that were looked at */
  oisp_buffer strings;  /* what the slices below and in `verdict` point into; written once */
  oisp_buffer requests; /* request body, held for decoding */
  oisp_buffer responses;
  oisp_buffer type; /* content type of the response */
  oisp_buffer chunk; /* of the last chunk's line: oisp_chunk_key, oisp_chunk_line, its pieces; empty: nothing is kept */
  oisp_verdict verdict;
  oisp_slice method, target, authority, sni;
  oisp_slice session; /* of MCP, as a header names it */
  oisp_confidence asked; /* of the request and what it tells */
  oisp_confidence answered; /* of the response */
  oisp_ulid request_event, response_event;
  uint64_t request_first, request_last; /* Unix ns */
  uint64_t response_first, response_last;
  uint64_t token_first;
  uint64_t request_length; /* of the body, UINT64_MAX unknown */
  uint64_t response_length;
  uint64_t request_seen; /* body bytes that came, and that a hole swallowed */
  uint64_t response_seen;
  uint32_t flags; /* enum oisp_turn_flags */
  uint16_t status;
  uint8_t framing; /* OISP_FRAMING_* once known */
  uint8_t framed; /* 1 once known */
  uint8_t thread_size;
  oisp_asker asker; /* who asks */
  char thread[64]; /* id of the conversation, ready for JSON */
  uint64_t thread_key; /* of the history so far */
} oisp_turn;

/* The last calls that were seen, and the results that were given out: a ring of keys with a map over it. */
typedef struct oisp_link {
  uint64_t key;
  oisp_ulid event;
  char name[64]; /* of the tool, JSON-escaped as on the wire, cut at a character */
  uint8_t name_size;
  uint8_t used;
  uint8_t failed; /* of a conversation: its last request had no answer */
} oisp_link;

typedef struct oisp_links {
  oisp_table map;
  oisp_link *ring;
  uint32_t size, next;
} oisp_links;

typedef struct oisp_counters {
  uint64_t bytes[2]; /* taken, by request and response side where known, else by direction */
  uint64_t segments;
  uint64_t records;
  uint64_t records_unknown;
  uint64_t lost_bytes; /* holes */
  uint64_t repeated_bytes; /* came twice by offset, dropped */
  uint64_t dismissed_bytes; /* of connections that are not AI */
  uint64_t resync_bytes; /* skipped while looking for a boundary */
  uint64_t over_limit_bytes;
  uint64_t connections; /* ever seen */
  uint64_t connections_closed;
  uint64_t connections_evicted;
  uint64_t connections_dismissed;
  uint64_t requests;
  uint64_t responses;
  uint64_t not_ai; /* exchanges */
  uint64_t undecided; /* exchanges that ended without a verdict */
  uint64_t unpaired_requests;
  uint64_t unpaired_responses;
  uint64_t resyncs;
  uint64_t bad; /* framing errors */
  uint64_t limits; /* bounds reached */
  uint64_t events; /* lines written */
  uint64_t events_lost; /* no memory for the line */
  uint64_t chunks;
  uint64_t tool_results_repeated;
  uint64_t kernel_lost_bytes; /* said by LOST records */
  uint64_t kernel_lost_records;
} oisp_counters;

/* A coded piece that waits. */
typedef struct oisp_parked {
  oisp_turn *turn;
  uint64_t ts;
  uint32_t size;
  uint32_t made; /* bytes that it gave */
  uint8_t side; /* 0 request, 1 response */
  uint8_t status; /* enum oisp_status, of the codec */
  uint8_t reserved[6];
} oisp_parked;

/* What all exchanges of one engine share. */
typedef struct oisp_shared {
  const void *rules; /* oisp_rules */
  const void *dialects; /* oisp_dialects */
  const oisp_clients *clients; /* NULL: nobody is known */
  oisp_writer writer;
  oisp_limits limits;
  oisp_counters count;
  oisp_links calls; /* by hash of the call id, or of the name where there is none */
  oisp_links results; /* results given out, by hash of id and text */
  oisp_links threads; /* conversations, by hash of their history, of the id of an answer or of a call */
  uint64_t hash_key[2];
  oisp_buffer
      parked; /* coded pieces of all exchanges: oisp_parked, bytes (a multiple of 8), in the order in which they came */
  oisp_buffer inflated; /* what one piece gave, wiped after each */
  uint64_t held; /* bytes held by all connections together */
  uint64_t turns_open; /* exchanges in flight */
  uint64_t origins_told; /* how often something became known of a connection that its events say */
  oisp_turn *turns; /* free ones */
  oisp_exchange *exchanges[16]; /* free ones, wiped */
  uint8_t exchanges_free;
  uint8_t chunks; /* ai.streaming_chunk wanted */
  uint8_t delivering; /* what was parked is being read */
  uint8_t sparing; /* the hole that is being taken was not copied because of a verdict: no loss */
  uint8_t reserved[4];
} oisp_shared;

#endif
