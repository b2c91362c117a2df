/* SPDX-License-Identifier: Apache-2.0
 *
 * Everything that an event can say of itself. Words are a closed table, so that a consumer can filter on them;
 * docs/CONFIDENCE.md is made from it. New words go to the end.
 */
#ifndef OISP_CONFIDENCE_H
#define OISP_CONFIDENCE_H

#include <stdint.h>

/* confidence.reasons */
#define OISP_REASONS(X) \
  X(TLS_BOUNDARY_CAPTURE, "tls_boundary_capture")       /* plaintext was seen at the TLS library */ \
  X(PLAINTEXT_CAPTURE, "plaintext_capture") \
  X(HOST_MATCH, "host_match") \
  X(PATH_MATCH, "path_match") \
  X(HEADER_MATCH, "header_match") \
  X(KEY_SHAPE, "key_shape") \
  X(BODY_SHAPE, "body_shape") \
  X(RESPONSE_SHAPE, "response_shape") \
  X(MODEL_IN_PAYLOAD, "model_in_payload") \
  X(UNKNOWN_HOST, "unknown_host") \
  X(JOINED_MIDWAY, "joined_midway")                     /* the connection was in use before capture */ \
  X(REQUEST_BYTES_LOST, "request_bytes_lost") \
  X(RESPONSE_BYTES_LOST, "response_bytes_lost") \
  X(REQUEST_TRUNCATED, "request_truncated")             /* cut by the peer, or by the end of the connection */ \
  X(RESPONSE_TRUNCATED, "response_truncated") \
  X(REQUEST_UNREADABLE, "request_unreadable")           /* body is not what its dialect promises */ \
  X(RESPONSE_UNREADABLE, "response_unreadable") \
  X(UNPAIRED_REQUEST, "unpaired_request")               /* no response can be tied to it with certainty */ \
  X(UNPAIRED_RESPONSE, "unpaired_response") \
  X(RESYNC_UNCONFIRMED, "resync_unconfirmed") \
  X(IN_FLIGHT, "in_flight")                             /* still running when capture ended */ \
  X(LIMIT_REACHED, "limit_reached") \
  X(TEXT_REWRITTEN, "text_rewritten")                   /* bytes that were not valid became U+FFFD */ \
  X(CONTENT_BY_POLICY, "content_by_policy")             /* content was left out as the policy asks */ \
  X(SMUGGLING_SUSPECTED, "smuggling_suspected")         /* conflicting lengths */ \
  X(LENIENT_FRAMING, "lenient_framing") \
  X(HEADERS_LOST, "headers_lost")                       /* a header block was lost: fields unknown, none guessed */ \
  X(ENCODING_UNREADABLE, "encoding_unreadable")         /* content-encoding unknown or broken */ \
  X(RESULT_MATCHED_BY_ORDER, "result_matched_by_order") /* a tool result without id */ \
  X(STREAM_UNTERMINATED, "stream_unterminated")         /* the stream's own last event was not seen */ \
  X(ERROR_IN_STREAM, "error_in_stream") \
  X(RETRY, "retry")

/* confidence.missing */
#define OISP_MISSINGS(X) \
  X(CONTEXT, "context")       /* host, actor, process, app were not known */ \
  X(PROVIDER, "provider") \
  X(MODEL, "model") \
  X(MESSAGES, "messages") \
  X(RESPONSE, "response") \
  X(REQUEST, "request") \
  X(USAGE, "usage") \
  X(FINISH_REASON, "finish_reason") \
  X(PARENT, "parent")         /* a tool result whose call was never seen */ \
  X(ARGUMENTS, "arguments")   /* left out by policy, or not an object */ \
  X(CONTENT, "content") \
  X(TOOL_DESCRIPTION, "tools.description") \
  X(ERROR_MESSAGE, "error.message") \
  X(REASONING, "reasoning") \
  X(STOP, "parameters.stop") \
  X(QUERY, "query") \
  X(HEADERS, "headers") \
  X(LATENCY, "latency") \
  X(CALL_ID, "call_id") \
  X(PRICE, "price") \
  X(TEXT_FORM, "delta.content")

#define OISP_ENUM_BIT(name, word) OISP_REASON_##name,
enum oisp_reason { OISP_REASONS(OISP_ENUM_BIT) OISP_REASON_COUNT };
#undef OISP_ENUM_BIT
#define OISP_ENUM_BIT(name, word) OISP_MISSING_##name,
enum oisp_missing { OISP_MISSINGS(OISP_ENUM_BIT) OISP_MISSING_COUNT };
#undef OISP_ENUM_BIT

typedef struct oisp_confidence {
  uint64_t reasons; /* bit set of enum oisp_reason */
  uint64_t missing; /* bit set of enum oisp_missing */
  /* confidence.limitations: written as `request_bytes_lost=N` and so on, only where not 0 */
  uint64_t request_lost;
  uint64_t response_lost;
  uint64_t request_spared; /* not copied because of a verdict */
  uint64_t response_spared;
  uint64_t over_limit; /* bytes beyond a bound */
  uint8_t level;
  uint8_t completeness;
  uint8_t detection_method;
  uint8_t content_source;
  uint8_t process_attribution;
  uint8_t loss_undetectable; /* the producer gave no offsets: said in limitations when counts do not agree */
  uint8_t reserved[2];
} oisp_confidence;

#define OISP_REASON_BIT(name) (1ULL << OISP_REASON_##name)
#define OISP_MISSING_BIT(name) (1ULL << OISP_MISSING_##name)

_Static_assert(OISP_REASON_COUNT <= 64 && OISP_MISSING_COUNT <= 64, "one word each");

#endif
