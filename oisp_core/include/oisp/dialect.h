/* SPDX-License-Identifier: Apache-2.0
 *
 * Dialects as flat tables: the YAML of semconv/dialects after decode/dialects.py has checked and compiled them. Immutable once built;
 * any number of engines read one. docs/DIALECTS.md explains the words.
 *
 * A section (request, response, stream) is a trie for the scanner; each of its leaves says which slot of which record a
 * capture fills, and how. A record is an object of the wire that becomes an item of oisp_exchange: a message, a tool, a call,
 * an answer of a tool, a choice; the section itself is the outermost record.
 */
#ifndef OISP_DIALECT_H
#define OISP_DIALECT_H

#include "jsonscan.h"
#include "protobuf.h"
#include <stdint.h>

enum oisp_framing {
  OISP_FRAMING_NONE = 0, /* one document */
  OISP_FRAMING_SSE = 1,
  OISP_FRAMING_NDJSON = 2,
  OISP_FRAMING_JSON_ARRAY = 3,
  OISP_FRAMING_EVENTSTREAM = 4,
  OISP_FRAMING_GRPC = 5,      /* found by the content type alone */
  OISP_FRAMING_WEBSOCKET = 6 /* of a connection after its upgrade */
};

enum oisp_item_kind {
  OISP_REC_REQUEST = 1,
  OISP_REC_RESPONSE = 2,
  OISP_REC_STREAM = 3,
  OISP_REC_MESSAGE = 4,
  OISP_REC_TOOL = 5,
  OISP_REC_CALL = 6,
  OISP_REC_ANSWER = 7,
  OISP_REC_CHOICE = 8,
  OISP_REC_HIT = 9
};

/* Slots of all records. The texts come first: they are places in the arena. dialects.py has the same list by name, and a
 * test compares the two. */
#define OISP_TEXT_SLOTS(X) \
  X(NONE) \
  X(MODEL) \
  X(SYSTEM) \
  X(TOOL_CHOICE) \
  X(TEMPERATURE) \
  X(TOP_P) \
  X(MAX_TOKENS) \
  X(FREQUENCY_PENALTY) \
  X(PRESENCE_PENALTY) \
  X(STOP) \
  X(PREVIOUS_ID) \
  X(CONVERSATION) \
  X(USER) \
  X(ID) \
  X(ERROR_TYPE) \
  X(ERROR_MESSAGE) \
  X(ERROR_CODE) \
  X(SERVICE_TIER) \
  X(USAGE) \
  X(CONTENT) \
  X(REASONING) \
  X(REFUSAL) \
  X(CALL_ID) \
  X(NAME) \
  X(DESCRIPTION) \
  X(TYPE) \
  X(ARGUMENTS) \
  X(SERVER_NAME) \
  X(QUERY) \
  X(SOURCE) \
  X(SCORE) \
  X(DISTANCE) \
  X(CLIENT_NAME) \
  X(CLIENT_VERSION) \
  X(ROLE) \
  X(FINISH)

#define OISP_OTHER_SLOTS(X) \
  X(STREAM) \
  X(INPUT_COUNT) \
  X(IMAGES) \
  X(INDEX) \
  X(SERVER) \
  X(CUSTOM) \
  X(SUCCESS) \
  X(ERROR) \
  X(TERMINAL) \
  X(RESTART) \
  X(CACHED_ANSWER) \
  X(EMBEDDING_COUNT) \
  X(DIMENSIONS) \
  X(PROMPT_TOKENS) \
  X(COMPLETION_TOKENS) \
  X(TOTAL_TOKENS) \
  X(CACHED_TOKENS) \
  X(CACHE_WRITE_TOKENS) \
  X(REASONING_TOKENS) \
  X(INNER) \
  X(TOP_K) \
  X(ASKS) \
  X(BEGINS) \
  X(DELTAS)

#define OISP_SLOT_ENUM(name) OISP_SLOT_##name,
enum oisp_slot { OISP_TEXT_SLOTS(OISP_SLOT_ENUM) OISP_OTHER_SLOTS(OISP_SLOT_ENUM) OISP_SLOT_COUNT };
#undef OISP_SLOT_ENUM
#define OISP_SLOT_TEXTS (OISP_SLOT_FINISH + 1)

enum oisp_slot_op {
  OISP_OP_SET = 0,    /* the last one that is not null */
  OISP_OP_ONCE = 1,   /* the first one that is not empty */
  OISP_OP_APPEND = 2,
  OISP_OP_MERGE = 3,  /* members that are not null go into the object that is there */
  OISP_OP_SUM = 4,    /* numbers of this document added up, then set */
  OISP_OP_COUNT = 5,  /* how many captures */
  OISP_OP_LENGTH = 6, /* elements of an array; of base64 text: how many 32-bit floats */
  OISP_OP_PRESENT = 7, /* 1 where there is one */
  OISP_OP_COLLECT = 8, /* numbers become members of one object, under their keys */
  OISP_OP_MAX = 9,     /* a number that only grows */
  OISP_OP_GROW = 10 /* text of which each event repeats what was said before, unless the request asked for deltas */
};

enum oisp_slot_as {
  OISP_AS_WIRE = 0,
  OISP_AS_JSON = 1, /* the wire's JSON, strings with their quotes */
  OISP_AS_BASE64 = 2, /* a document of the inner dialect, in base64 */
  OISP_AS_EMBEDDED = 3 /* a document of the inner dialect, as an object of the wire */
};

/* Beside each leaf of the scanner. */
typedef struct oisp_slot_leaf {
  uint16_t record; /* the record whose slot it fills */
  uint16_t opens; /* not 0: the object is this record (slot is 0) */
  uint16_t map; /* 1 + index into maps; of a leaf that opens a record: 1 when nothing inside belongs to `record` */
  uint8_t slot;
  uint8_t rank; /* among alternatives of one slot the lowest that is present wins */
  uint8_t op;
  uint8_t as;
  uint16_t word; /* 1 + index into words: what stands before the text, or the key of a collected number */
} oisp_slot_leaf;

typedef struct oisp_record_def {
  uint8_t kind;
  uint8_t fresh; /* 1: always a new item, never joined by index or id; 2: joined by place, see oisp_hit */
  uint16_t parent; /* record it stands in; 0 for a section */
  uint8_t role; /* enum oisp_role when the wire says none */
  uint8_t server; /* calls: run by the provider */
  uint8_t custom; /* calls: arguments are free text */
  uint8_t system; /* messages: a system prompt that has a place of its own */
  uint16_t type; /* calls: 1 + index into words when the wire has no word for the type */
  uint16_t name; /* calls and tools: the same for the name */
} oisp_record_def;

/* word -> value of an enum of the contract (or a flag). */
typedef struct oisp_word {
  uint32_t at; /* in the pool */
  uint16_t size;
  uint8_t value;
  uint8_t reserved;
} oisp_word;

typedef struct oisp_map {
  uint32_t first;
  uint16_t count;
  uint8_t other; /* value of words that are not in it */
  uint8_t reserved;
} oisp_map;

typedef struct oisp_section {
  uint32_t root; /* node, 0: the dialect has no such section */
  uint16_t record; /* its own record */
  uint16_t reserved;
  uint32_t event_node; /* node whose tests are run on the name of an event, 0 none */
} oisp_section;

enum oisp_dialect_flags {
  OISP_DIALECT_PROMPT_EXCLUDES_CACHE = 1,
  OISP_DIALECT_COMPLETION_EXCLUDES_REASONING = 2,
  OISP_DIALECT_CALLS_FINISH = 4, /* no word of its own for tool calls: stop with calls means tool_calls */
  OISP_DIALECT_HAS_CHOICES = 8, /* an answer that is no error has at least one choice, be it empty */
  OISP_DIALECT_STREAMS = 16, /* every answer is asked for as a stream: the path says so */
  OISP_DIALECT_STREAMS_UNLESS_REFUSED = 32
};

/* Which dialect the inner document has: the first whose words all occur in the model's name. */
typedef struct oisp_inner {
  uint32_t at; /* substring of the model, lower case, in the pool; size 0 fits all */
  uint16_t size;
  uint16_t dialect; /* 1 + index */
} oisp_inner;

typedef struct oisp_dialect {
  uint32_t name; /* in the pool */
  uint16_t name_size;
  uint8_t framing; /* how its streams are framed */
  uint8_t hook; /* enum of named hooks, 0 none */
  uint32_t flags;
  oisp_section request, response, stream;
  uint32_t inner; /* first of inners */
  uint16_t inner_count;
  uint16_t done_size; /* data of the event that ends a stream, besides what the sections say */
  uint32_t done;
  /* What a retrieval asks: the contract's word, and the path segment after (or before) which its name stands. */
  uint32_t source, beside;
  uint16_t source_size, beside_size;
  uint8_t before;
  uint8_t reserved;
  uint16_t stream_path_size;
  uint32_t stream_path; /* a path that ends so asks for a stream */
  /* Bodies are messages of Protocol Buffers: 1 + index into protos.messages of what each section reads, 0 JSON. */
  uint16_t proto_request, proto_response, proto_stream;
} oisp_dialect;

typedef struct oisp_dialects {
  oisp_json_table json;
  const oisp_slot_leaf *leaves; /* parallel to json.leaves */
  const oisp_record_def *records;
  const oisp_word *words;
  const oisp_map *maps;
  const oisp_inner *inners;
  const oisp_dialect *dialects;
  oisp_protos protos;
  uint32_t count;
} oisp_dialects;

#endif
