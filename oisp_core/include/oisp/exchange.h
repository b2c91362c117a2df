/* SPDX-License-Identifier: Apache-2.0
 *
 * One AI exchange, normalised: what decode/ fills and encode/ reads. Nothing here is an event yet, and nothing here knows
 * of policy: content lies in the arena, which is wiped when the exchange is done.
 *
 * Text is kept as it came: OISP_TEXT_STRING is the inside of a JSON string (escapes kept, checked: valid escapes, valid UTF-8, no
 * control bytes; what was not valid has been rewritten to U+FFFD and REWRITTEN is set), so that it can be copied into a line
 * of NDJSON as it stands; OISP_TEXT_JSON is one JSON value (checked too, insignificant blanks kept); OISP_TEXT_PLAIN is
 * UTF-8 that still has to be escaped (header values, form fields, decoded base64).
 */
#ifndef OISP_EXCHANGE_H
#define OISP_EXCHANGE_H

#include "buffer.h"
#include "contract.h"
#include "status.h"
#include <stdint.h>

enum oisp_text_form {
  OISP_TEXT_NONE = 0, /* absent */
  OISP_TEXT_STRING = 1,
  OISP_TEXT_JSON = 2,
  OISP_TEXT_PLAIN = 3
};

enum oisp_text_flags {
  OISP_TEXT_REWRITTEN = 1, /* bytes that were not valid became U+FFFD */
  OISP_TEXT_TRUNCATED = 2, /* the rest was lost or beyond a limit */
  OISP_TEXT_SURROGATE = 4  /* internal: a high surrogate waits for the next piece */
};

/* A run of bytes in the arena. Grows in place while it is the last one, else moves to the end with double the room. */
typedef struct oisp_text {
  uint32_t offset;
  uint32_t size;
  uint32_t capacity;
  uint16_t form;  /* enum oisp_text_form */
  uint16_t flags; /* enum oisp_text_flags */
} oisp_text;

#define OISP_ABSENT INT64_MIN /* of the int64 fields below */

/* A message of the request's history, or of the prompt. */
typedef struct oisp_message_part {
  uint8_t role;     /* enum oisp_role, 0 when it is none of the contract's five */
  uint8_t raw;      /* 1: the wire's word differs from the normalised role: see raw_role */
  uint16_t images;  /* number of images in it */
  uint32_t flags;   /* enum oisp_part_flags */
  oisp_text content; /* text parts joined in order with nothing between */
  oisp_text raw_role;
  oisp_text call_id; /* role tool: the call it answers */
  oisp_text name;
} oisp_message_part;

enum oisp_part_flags {
  OISP_PART_PARTIAL = 1, /* cut by loss or limit */
  OISP_PART_SYSTEM =
      2   /* came from a place of its own (system, instructions, systemInstruction): not counted in messages_count */
};

typedef struct oisp_tool_def {
  oisp_text name;
  oisp_text description;
  oisp_text raw_type; /* the wire's word */
  uint8_t type;       /* contract enum data.tools[].type */
  uint8_t server;     /* runs at the provider */
} oisp_tool_def;

/* A call that the model makes (response), or made earlier (history of a request). */
typedef struct oisp_call {
  int64_t key;    /* index or hash of the id under which stream pieces join */
  int32_t choice; /* index of the choice it belongs to; of a call of the history: of its message */
  uint8_t server; /* executed by the provider */
  uint8_t custom; /* arguments are free text, not JSON */
  uint8_t done;
  uint8_t reserved;
  oisp_text id;
  oisp_text name;
  oisp_text type;      /* the wire's word: function, custom, tool_use, ... */
  oisp_text arguments; /* STRING: the model's own text, escaped; JSON: an object of the wire */
  oisp_text server_name; /* MCP server label */
} oisp_call;

/* What a tool answered, as found in the history of a request (or in an MCP answer). */
typedef struct oisp_tool_answer {
  oisp_text call_id;
  oisp_text name;
  oisp_text content; /* STRING (text parts joined) or JSON */
  int8_t success;    /* 1 yes, 0 no (is_error), -1 not said */
  uint8_t server;
  uint16_t message; /* index of the history message that holds it */
  oisp_text error_type; /* of an answer that is none: the protocol's own error */
  oisp_text error_message;
} oisp_tool_answer;

/* One result of a retrieval. */
typedef struct oisp_hit {
  oisp_text source;   /* the document, as the store names it */
  oisp_text content;
  oisp_text score;    /* JSON numbers as written: the higher the better, and the lower */
  oisp_text distance;
} oisp_hit;

typedef struct oisp_choice {
  int64_t index;
  uint8_t role;   /* enum oisp_role */
  uint8_t finish; /* enum oisp_finish_reason, 0 absent */
  uint16_t images;
  uint32_t flags;
  oisp_text content;
  oisp_text reasoning;
  oisp_text refusal;
  oisp_text finish_raw;
} oisp_choice;

enum oisp_usage_convention { OISP_PROMPT_EXCLUDES_CACHE = 1, OISP_COMPLETION_EXCLUDES_REASONING = 2 };

/* As the provider counts; encode/ gets the normalised values from `oisp_usage` after decode_finish(). */
typedef struct oisp_usage {
  int64_t prompt; /* OISP_ABSENT where not said */
  int64_t completion;
  int64_t total;
  int64_t cached;
  int64_t cache_write;
  int64_t reasoning;
  oisp_text raw; /* JSON, merged when a stream says it in pieces */
  uint32_t conventions; /* enum oisp_usage_convention: where the provider's own numbers differ from these */
} oisp_usage;

enum oisp_exchange_flags {
  OISP_X_STREAM_ASKED = 1,     /* the request asked for a stream */
  OISP_X_STREAM_NOT_ASKED = 2, /* the request said it wants none */
  OISP_X_STREAMED = 4,         /* the answer was a stream */
  OISP_X_TERMINAL = 8,         /* the stream's terminal event was seen */
  OISP_X_ERROR = 16,           /* the answer is, or holds, an error */
  OISP_X_REQUEST_BAD = 32,     /* request body unreadable (not JSON, not UTF-8, too deep) */
  OISP_X_RESPONSE_BAD = 64,
  OISP_X_REQUEST_CUT = 128,  /* request body incomplete: what could be read is there */
  OISP_X_RESPONSE_CUT = 256,
  OISP_X_LIMIT = 512,        /* arena or item bound reached: the rest is left out */
  OISP_X_SYSTEM = 1024,      /* a system prompt is present */
  OISP_X_CACHED_ANSWER = 2048,
  OISP_X_REWRITTEN = 4096
};

/* What a message of a session (WebSocket) means for its turns. */
enum oisp_says {
  OISP_SAYS_ASK = 1,   /* the request is complete: an answer is asked for */
  OISP_SAYS_BEGIN = 2, /* the answer begins, asked for or not */
  OISP_SAYS_END = 4    /* the answer is complete */
};

typedef struct oisp_exchange {
  oisp_buffer arena;
  uint32_t arena_max;
  uint16_t dialect;
  uint16_t reserved;
  uint32_t flags; /* enum oisp_exchange_flags */

  /* request */
  oisp_text model_requested;
  oisp_text system;       /* system prompt, parts joined */
  oisp_text tool_choice;  /* a word, or JSON */
  oisp_text temperature, top_p, max_tokens, frequency_penalty, presence_penalty; /* JSON numbers as written */
  oisp_text stop;         /* JSON: string or array of strings */
  oisp_text previous_id;  /* previous_response_id */
  oisp_text conversation; /* conversation or session id that the wire names */
  oisp_text user;
  oisp_text query;        /* of a retrieval, where it is text */
  oisp_text source;       /* what is asked: index, collection, class */
  oisp_text client_name, client_version; /* who asks, as an MCP client says it */
  int64_t top_k;          /* results asked for */
  int64_t input_count;    /* embeddings: number of inputs */
  uint32_t images;
  oisp_message_part *messages;
  uint32_t messages_count, messages_capacity;
  oisp_tool_def *tools;
  uint32_t tools_count, tools_capacity;
  oisp_call *history; /* calls in the request's history */
  uint32_t history_count, history_capacity;
  oisp_tool_answer *answers;
  uint32_t answers_count, answers_capacity;

  /* response */
  oisp_text response_id;
  oisp_text model_answered;
  oisp_text finish_raw;
  oisp_text error_type, error_message, error_code;
  oisp_text service_tier;
  uint8_t finish; /* enum oisp_finish_reason */
  uint8_t has_calls_word; /* dialect has a word of its own for tool calls */
  uint8_t success;        /* decode's view: 0 when the body is an error although the status says 200 */
  uint8_t pad;
  oisp_text server_name;  /* as an MCP server says it */
  int64_t embedding_count, dimensions; /* of a retrieval's request: those of its vector */
  oisp_usage usage;
  oisp_choice *choices;
  uint32_t choices_count, choices_capacity;
  oisp_call *calls;
  uint32_t calls_count, calls_capacity;
  oisp_hit *hits;
  uint32_t hits_count, hits_capacity;

  /* the last streamed event, for ai.streaming_chunk */
  uint32_t chunk_index;     /* content-bearing events so far */
  uint8_t chunk_kind;       /* 0: the event carried nothing to report */
  uint8_t chunk_role;
  uint8_t chunk_finish;
  uint8_t first_content;    /* 1 once a content delta was seen (time to first token) */
  oisp_text chunk_content;  /* span of this event's text within the choice's content */
  uint32_t chunk_call;      /* 1 + index of the call this event extended */
  oisp_text chunk_arguments;
} oisp_exchange;

static inline const uint8_t *oisp_text_data(const oisp_exchange *x, const oisp_text *t) {
  return x->arena.data + t->offset;
}

#endif
