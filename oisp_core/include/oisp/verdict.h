/* SPDX-License-Identifier: Apache-2.0
 *
 * What match/ is asked and what it answers. A verdict belongs to one message or stream, never to a connection.
 */
#ifndef OISP_VERDICT_H
#define OISP_VERDICT_H

#include "contract.h"
#include "status.h"
#include <stdint.h>

typedef struct oisp_slice {
  const uint8_t *data;
  uint32_t size;
} oisp_slice;

typedef struct oisp_field {
  oisp_slice name;
  oisp_slice value;
} oisp_field;

/* A message head, whatever protocol carried it. HTTP/2 pseudo-fields are in the slices, not among the fields. */
typedef struct oisp_head {
  oisp_slice method;
  oisp_slice target;    /* path and query, as sent */
  oisp_slice authority; /* Host or :authority, with port if it has one; empty if unknown */
  oisp_slice sni;       /* from the TLS handshake, empty if unknown */
  const oisp_field *fields;
  uint32_t fields_count;
  uint16_t port;    /* of the server, 0 unknown */
  uint16_t status;  /* responses */
  uint8_t plaintext; /* 1: not TLS */
  uint8_t partial;   /* 1: some fields are unknown (HPACK table lost, joined midway) */
} oisp_head;

enum oisp_verdict_state {
  OISP_VERDICT_NONE = 0,      /* not AI traffic */
  OISP_VERDICT_UNDECIDED = 1, /* the body, or the response, has to say */
  OISP_VERDICT_AI = 2
};

enum oisp_evidence {
  OISP_EVIDENCE_HOST = 1,
  OISP_EVIDENCE_PATH = 2,
  OISP_EVIDENCE_HEADER = 4,
  OISP_EVIDENCE_KEY = 8,  /* the shape of a credential */
  OISP_EVIDENCE_BODY = 16, /* body keys of a dialect */
  OISP_EVIDENCE_RESPONSE = 32,
  OISP_EVIDENCE_MODEL = 64, /* a model was named in the payload (set by the engine after decode) */
  OISP_EVIDENCE_PORT = 128,
  OISP_EVIDENCE_NEVER = 256, /* a rule names this host as never AI */
  OISP_EVIDENCE_PATHLESS = 512 /* the path is not known, the body has to tell; `rule` is what is usual here */
};

/* What an exchange is about: chat, completion, ... as words in ext.oisp.kind. */
enum oisp_kind {
  OISP_KIND_UNKNOWN = 0,
  OISP_KIND_CHAT = 1,
  OISP_KIND_COMPLETION = 2,
  OISP_KIND_EMBEDDING = 3,
  OISP_KIND_IMAGE = 4,
  OISP_KIND_AUDIO = 5,
  OISP_KIND_MODERATION = 6,
  OISP_KIND_RERANK = 7,
  OISP_KIND_RAG = 8,
  OISP_KIND_MCP = 9,
  OISP_KIND_COUNT_TOKENS = 10,
  OISP_KIND_OTHER = 11
};

typedef struct oisp_verdict {
  uint8_t state;         /* enum oisp_verdict_state */
  uint8_t kind;          /* enum oisp_kind */
  uint8_t request_type;  /* contract enum data.request_type */
  uint8_t provider_name; /* contract enum provider.name */
  uint8_t auth_type;     /* contract enum auth.type */
  uint8_t account_type;
  uint8_t level;  /* contract enum confidence.level, before payload evidence */
  uint8_t method; /* contract enum confidence.ai_detection_method */
  uint16_t provider; /* 1 + index into the registry's providers; 0 unknown */
  uint16_t dialect;  /* 1 + index into the dialects; 0 none */
  uint16_t rule;     /* 1 + index of the endpoint rule that decided; for explain */
  uint16_t evidence; /* enum oisp_evidence bits */
  oisp_slice model;  /* model named in the path (Bedrock, Gemini, Azure deployments), into the target */
  oisp_slice key;    /* the credential itself, into the field: prefix and hash are made of it, never the whole */
  oisp_slice region;
  oisp_slice organization; /* openai-organization and the like */
  oisp_slice project;
} oisp_verdict;

#endif
