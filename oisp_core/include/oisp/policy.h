/* SPDX-License-Identifier: Apache-2.0
 *
 * What content may leave the engine: one table, field x policy. The writer runs it, docs/PRIVACY.md is printed from it.
 * A field of an event that is not in the table holds no content (names, ids, counts, words of the contract) and stays.
 *
 * X(name, event types, path, under metadata, under redacted, under full, what stands in its place)
 */
#ifndef OISP_POLICY_H
#define OISP_POLICY_H

#include <stdint.h>

enum oisp_action {
  OISP_KEEP = 0, /* as it came */
  OISP_MARK = 1, /* $redacted{reason, original_length, hash} in its place */
  OISP_DROP = 2, /* left out; confidence says so */
  OISP_HIDE = 3, /* never, under no policy */
  OISP_MASK = 4  /* kept, but for secrets and personal data of a known form: see mask.h */
};

#define OISP_POLICY_TABLE(X) \
  X(CREDENTIAL, "ai.request", "data.auth", HIDE, HIDE, HIDE, \
    "type, at most 8 characters (never more than half) as key_prefix, and key_hash") \
  X(URL_QUERY, "ai.request, ai.response, ai.embedding", "data.provider.endpoint", HIDE, HIDE, HIDE, \
    "scheme, authority and path; the query and user information are left out") \
  X(MESSAGE, "ai.request", "data.messages[].content", MARK, MASK, KEEP, "content_hash, content_length") \
  X(SYSTEM_PROMPT, "ai.request", "ext.oisp.system_prompt", DROP, MASK, KEEP, \
    "data.system_prompt_hash (under every policy), ext.oisp.system_prompt_length") \
  X(TOOL_DESCRIPTION, "ai.request", "data.tools[].description", DROP, MASK, KEEP, "") \
  X(TOOL_CHOICE, "ai.request", "data.tool_choice", KEEP, KEEP, KEEP, "a word, or names of tools") \
  X(STOP, "ai.request", "data.parameters.stop", DROP, MASK, KEEP, "") \
  X(OTHER_MESSAGE, "ai.request", "ext.oisp.other_messages[].content", MARK, MASK, KEEP, \
    "content_hash, content_length") \
  X(CHOICE, "ai.response", "data.choices[].message.content", MARK, MASK, KEEP, "content_hash, content_length") \
  X(CALL_ARGUMENTS, "ai.response", "data.tool_calls[].arguments", MARK, MASK, KEEP, \
    "arguments_hash (under every policy)") \
  X(REASONING, "ai.response", "ext.oisp.reasoning", DROP, MASK, KEEP, "ext.oisp.reasoning_length") \
  X(REFUSAL, "ai.response", "ext.oisp.refusal", DROP, MASK, KEEP, "ext.oisp.refusal_length") \
  X(ERROR_MESSAGE, "ai.response", "data.error.message", DROP, MASK, KEEP, "data.error.type, data.error.code") \
  X(CHUNK, "ai.streaming_chunk", "data.delta.content", DROP, DROP, KEEP, "ext.oisp.content_length") \
  X(CHUNK_ARGUMENTS, "ai.streaming_chunk", "data.delta.tool_calls[].arguments", MARK, MARK, KEEP, "") \
  X(TOOL_ARGUMENTS, "agent.tool_call", "data.arguments", DROP, MASK, KEEP, "arguments_hash (under every policy)") \
  X(RAW_ARGUMENTS, "ai.response, agent.tool_call", "ext.oisp.raw.arguments", DROP, MASK, KEEP, \
    "arguments that are not a JSON object") \
  X(TOOL_RESULT, "agent.tool_result", "data.result", MARK, MASK, KEEP, "result_hash, result_size_bytes") \
  X(TOOL_ERROR, "agent.tool_result", "data.error.message", DROP, MASK, KEEP, "data.error.type") \
  X(QUERY, "rag.retrieve", "data.query", DROP, MASK, KEEP, \
    "data.query_hash (under every policy), ext.oisp.query_length") \
  X(HIT, "rag.retrieve", "data.results[].content_preview", DROP, MASK, KEEP, "content_hash (under every policy)")

#define OISP_POLICY_ENUM(name, events, path, metadata, redacted, full, stays) OISP_FIELD_##name,
enum oisp_policy_field { OISP_POLICY_TABLE(OISP_POLICY_ENUM) OISP_POLICY_FIELDS };
#undef OISP_POLICY_ENUM

static inline uint8_t oisp_policy_action(int field, int policy) {
#define OISP_POLICY_ROW(name, events, path, metadata, redacted, full, stays) \
  {OISP_##metadata, OISP_##redacted, OISP_##full},
  static const uint8_t table[OISP_POLICY_FIELDS][3] = {OISP_POLICY_TABLE(OISP_POLICY_ROW)};
#undef OISP_POLICY_ROW
  return table[field][policy];
}

#endif
