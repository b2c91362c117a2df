/* SPDX-License-Identifier: Apache-2.0
 *
 * What the NDJSON writer is told besides the exchange itself.
 */
#ifndef OISP_ENCODE_H
#define OISP_ENCODE_H

#include "buffer.h"
#include "clients.h"
#include "confidence.h"
#include "exchange.h"
#include "models.h"
#include "verdict.h"
#include <stdint.h>

typedef struct oisp_ulid {
  char text[26]; /* text[0] == 0: absent */
  char zero[2];
} oisp_ulid;

enum oisp_policy { OISP_POLICY_METADATA = 0, OISP_POLICY_REDACTED = 1, OISP_POLICY_FULL = 2 };

/* What was written of a model: the same few are asked again and again. */
#define OISP_MODEL_MEMOS 4
typedef struct oisp_model_memo {
  oisp_model_match match;
  uint32_t name_size; /* 0: empty */
  uint32_t provider_size;
  uint32_t text_size;
  uint32_t of_request; /* a request's says more */
  uint8_t name[64], provider[32];
  uint8_t text[416];
} oisp_model_memo;

typedef struct oisp_writer {
  oisp_buffer out;      /* NDJSON: whole lines only */
  uint32_t out_max;     /* soft bound: reached -> the engine answers FULL; the writer itself never drops a line */
  uint8_t policy;       /* enum oisp_policy */
  uint8_t keyed;        /* 1: HMAC-SHA-256 with hash_key */
  uint8_t seeded;       /* 1: ids come from id_state alone, reproducible */
  uint8_t reserved;
  uint8_t hash_key[64]; /* padded or hashed to the block size, as HMAC wants it */
  uint64_t id_state[2]; /* generator of the random half of ULIDs */
  uint64_t id_last_ms;
  uint8_t id_last[10];
  uint8_t pad[6];
  oisp_buffer scratch;
  oisp_buffer masking;  /* one text while it is masked, wiped after */
  const oisp_models *models; /* borrowed; NULL: nothing is known of models, and no cost is given */
  oisp_model_memo memos[OISP_MODEL_MEMOS];
  uint32_t memo_next; /* is overwritten next */
} oisp_writer;

/* The line of an ai.streaming_chunk that extends a text and brings nothing else, kept to be written again: what stands around
 * its id, time, number and text, one piece after the other. */
typedef struct oisp_chunk_line {
  uint32_t sizes[5]; /* of the pieces; all 0: none is kept */
  char time[32];     /* of the last one, in quotes */
  uint64_t second;   /* which that is */
} oisp_chunk_line;

/* What the engine knows of one event. Slices live until the call returns. */
typedef struct oisp_facts {
  uint64_t ts_ns;          /* Unix: first byte of the message */
  oisp_ulid event_id;      /* of this event */
  oisp_ulid request_event; /* of the ai.request; absent when none was seen */
  oisp_ulid response_event;
  oisp_ulid parent_event; /* tool result: its tool call */
  oisp_ulid request_id;   /* data.request_id, shared by request and response */
  oisp_slice context;     /* members of set_context(), ready-encoded, no braces; empty: unknown, and said */
  const oisp_verdict *verdict;
  oisp_slice provider_id; /* true id of the provider, for ext.oisp.provider */
  oisp_slice dialect;     /* name, for ext.oisp.dialect */
  oisp_slice scheme;      /* "https" or "http" */
  oisp_slice authority;
  oisp_slice path;        /* without query: a query may hold a key */
  oisp_slice method;
  oisp_slice conversation_id;
  oisp_slice tool_name;   /* tool result: name known from its call, when the result has none */
  oisp_slice server_name; /* MCP: of the server; empty unless it is one */
  oisp_slice client_name; /* MCP: who speaks to it */
  oisp_slice session_id;  /* MCP: of the session, where there is one */
  const oisp_asker *asker; /* who asks, as the head says it; NULL unknown */
  oisp_slice source_type; /* rag.retrieve: the contract's word */
  oisp_slice connection;  /* members of ext.oisp.connection, ready-encoded; empty: not known */
  oisp_slice source_name; /* of index or collection, where the path has it */
  oisp_confidence confidence;
  int64_t latency_ns; /* OISP_ABSENT where unknown */
  int64_t first_token_ns;
  uint16_t status; /* 0: no response head */
  uint8_t streamed;
  uint8_t context_has_source; /* 1: `context` has a `source` member of its own */
  uint8_t pad[4];
} oisp_facts;

#endif
