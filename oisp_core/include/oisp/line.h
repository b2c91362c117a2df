/* SPDX-License-Identifier: Apache-2.0
 *
 * One line of NDJSON while it is being written: a cursor on the writer's buffer that remembers failure, and what the line
 * has to say of itself. All inline; the words of the contract come from its X-macros. Not an API of other layers.
 */
#ifndef OISP_LINE_H
#define OISP_LINE_H

#include "confidence.h"
#include "contract.h"
#include "encode.h"
#include "exchange.h"
#include "models.h"
#include "policy.h"
#include "text.h"
#include <stdint.h>
#include <string.h>

typedef struct oisp_line {
  oisp_writer *w;
  const oisp_exchange *x;
  const oisp_facts *f;
  uint64_t reasons; /* besides those of the facts */
  uint64_t missing;
  const oisp_digest_job *digests; /* of the messages, by index; NULL: none were made */
  const oisp_text *known_of; /* whose model `known` is: family and cost ask for the same one */
  oisp_model_match known;
  uint32_t start;   /* of the line in w->out: a line that fails is cut off there */
  uint8_t failed;   /* memory is out */
  uint8_t partial;  /* a text in it is cut */
  uint8_t raw;      /* a call's arguments are not an object */
  uint8_t mask;     /* the text being written is masked */
} oisp_line;

__attribute__((noinline, cold)) static uint8_t *line_grow(oisp_line *l, size_t size) {
  oisp_buffer *o = &l->w->out;
  if (oisp_buffer_reserve(o, size))
    return o->data + o->size;
  l->failed = 1;
  return NULL;
}

/* Room for `size` bytes at the end of the line; NULL without memory. */
__attribute__((always_inline)) static inline uint8_t *line_room(oisp_line *l, size_t size) {
  oisp_buffer *o = &l->w->out;
  if (__builtin_expect((size_t)o->capacity - o->size < size, 0))
    return line_grow(l, size);
  return o->data + o->size;
}

/* Most of what a line is made of is shorter than the call of a copy is long. */
static inline void line_copy(uint8_t *to, const void *from, size_t size) {
  const uint8_t *p = (const uint8_t *)from;
  if (size > 32)
    memcpy(to, p, size);
  else if (size >= 16) {
    uint64_t v[4];
    memcpy(v, p, 16);
    memcpy(v + 2, p + size - 16, 16);
    memcpy(to, v, 16);
    memcpy(to + size - 16, v + 2, 16);
  } else if (size >= 8) {
    uint64_t v[2];
    memcpy(v, p, 8);
    memcpy(v + 1, p + size - 8, 8);
    memcpy(to, v, 8);
    memcpy(to + size - 8, v + 1, 8);
  } else if (size >= 4) {
    uint32_t v[2];
    memcpy(v, p, 4);
    memcpy(v + 1, p + size - 4, 4);
    memcpy(to, v, 4);
    memcpy(to + size - 4, v + 1, 4);
  } else
    for (size_t i = 0; i < size; i++)
      to[i] = p[i];
}

static inline void line_raw(oisp_line *l, const void *data, size_t size) {
  uint8_t *to = line_room(l, size);
  if (to == NULL)
    return;
  line_copy(to, data, size);
  l->w->out.size += (uint32_t)size;
}

/* A literal: its length is known to the compiler, which makes stores of it. */
__attribute__((always_inline)) static inline void line_put(oisp_line *l, const char *text) {
  const size_t size = __builtin_strlen(text);
  uint8_t *to = line_room(l, size);
  if (to == NULL)
    return;
  __builtin_memcpy(to, text, size);
  l->w->out.size += (uint32_t)size;
}

/* Whether the next member or element needs a comma: all but the first of its object or array. */
static inline uint32_t line_follows(const oisp_line *l) {
  uint8_t last = l->w->out.size ? l->w->out.data[l->w->out.size - 1] : (uint8_t)'{';
  return (last | 0x20) != '{'; /* '[' too, and nothing else */
}

static inline void line_comma(oisp_line *l) {
  uint8_t *to = line_room(l, 1);
  if (to == NULL)
    return;
  *to = ',';
  l->w->out.size += line_follows(l);
}

/* `key` is written as it stands, with its quotes and colon. */
__attribute__((always_inline)) static inline void line_key(oisp_line *l, const char *key) {
  const size_t size = __builtin_strlen(key);
  uint8_t *to = line_room(l, size + 1);
  if (to == NULL)
    return;
  uint32_t comma = line_follows(l);
  *to = ',';
  if (__builtin_constant_p(size))
    __builtin_memcpy(to + comma, key, size);
  else
    line_copy(to + comma, key, size);
  l->w->out.size += comma + (uint32_t)size;
}

#define OISP_DECIMAL 20 /* digits of the largest number */

/* In decimal at the end of `digits`; answers where it begins. */
static inline int oisp_decimal(char digits[OISP_DECIMAL], uint64_t v) {
  int at = OISP_DECIMAL;
  do {
    digits[--at] = (char)('0' + v % 10);
    v /= 10;
  } while (v);
  return at;
}

static inline void line_unsigned(oisp_line *l, uint64_t v) {
  char digits[OISP_DECIMAL];
  int at = oisp_decimal(digits, v);
  line_raw(l, digits + at, (size_t)(OISP_DECIMAL - at));
}

static inline void line_integer(oisp_line *l, int64_t v) {
  if (v < 0)
    line_put(l, "-");
  line_unsigned(l, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

/* US dollars, to a millionth of a millionth: fixed point, since a locale must not have a say in it. */
static inline void line_money(oisp_line *l, double usd) {
  uint64_t pico = (uint64_t)(usd * 1e12 + 0.5), whole = pico / 1000000000000u, rest = pico % 1000000000000u;
  char digits[12];
  int size = 12;
  line_unsigned(l, whole);
  for (int i = 11; i >= 0; i--, rest /= 10)
    digits[i] = (char)('0' + rest % 10);
  while (size && digits[size - 1] == '0')
    size--;
  if (size) {
    line_raw(l, ".", 1);
    line_raw(l, digits, (size_t)size);
  }
}

static inline void line_word(oisp_line *l, const char *word) {
  size_t size = strlen(word);
  uint8_t *to = line_room(l, size + 2);
  if (to == NULL)
    return;
  to[0] = '"';
  line_copy(to + 1, word, size);
  to[size + 1] = '"';
  l->w->out.size += (uint32_t)size + 2;
}

static inline void line_must(oisp_line *l, int done) {
  if (!done)
    l->failed = 1;
}

#define OISP_TIME_TEXT 29
#define OISP_TIME_FRACTION 21 /* where its six digits of microseconds stand */

static inline void oisp_fixed_digits(char *to, uint32_t width, uint32_t v) {
  for (uint32_t k = width; k > 0; k--, v /= 10)
    to[k - 1] = (char)('0' + v % 10);
}

/* `2025-12-22T20:15:05.123456Z` in quotes. Days to civil date: the year begins in March, so that the leap day is its last. */
static inline void oisp_time_text(char *t, uint64_t ns) {
  uint64_t us = ns / 1000, seconds = us / 1000000;
  uint32_t fraction = (uint32_t)(us % 1000000), of_day = (uint32_t)(seconds % 86400);
  uint64_t z = seconds / 86400 + 719468, era = z / 146097;
  uint32_t doe = (uint32_t)(z % 146097);
  uint32_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
  uint32_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
  uint32_t day = doy - (153 * mp + 2) / 5 + 1, month = mp < 10 ? mp + 3 : mp - 9;
  uint32_t year = (uint32_t)(yoe + era * 400) + (month <= 2);
  memcpy(t, "\"0000-00-00T00:00:00.000000Z\"", OISP_TIME_TEXT);
  const struct {
    uint32_t at, width, value;
  } parts[] = {{1, 4, year},
               {6, 2, month},
               {9, 2, day},
               {12, 2, of_day / 3600},
               {15, 2, of_day / 60 % 60},
               {18, 2, of_day % 60},
               {OISP_TIME_FRACTION, 6, fraction}};
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
    oisp_fixed_digits(t + parts[i].at, parts[i].width, parts[i].value);
}

static inline void line_time(oisp_line *l, uint64_t ns) {
  char t[OISP_TIME_TEXT];
  oisp_time_text(t, ns);
  line_raw(l, t, sizeof t);
}

/* The words of the contract by enum value; NULL for "absent" and for what is out of range. */
#define OISP_WORD(name, word) word,
#define OISP_WORDS(function, TABLE) \
  static inline const char *function(unsigned value) { \
    static const char *const words[] = {NULL, TABLE(OISP_WORD)}; \
    return value < sizeof words / sizeof words[0] ? words[value] : NULL; \
  }
OISP_WORDS(oisp_word_provider, OISP_PROVIDER_NAMES)
OISP_WORDS(oisp_word_auth, OISP_AUTH_TYPES)
OISP_WORDS(oisp_word_account, OISP_ACCOUNT_TYPES)
OISP_WORDS(oisp_word_request, OISP_REQUEST_TYPES)
OISP_WORDS(oisp_word_role, OISP_ROLES)
OISP_WORDS(oisp_word_tool, OISP_TOOL_TYPES)
OISP_WORDS(oisp_word_finish, OISP_FINISH_REASONS)
OISP_WORDS(oisp_word_agent_tool, OISP_AGENT_TOOL_TYPES)
OISP_WORDS(oisp_word_level, OISP_LEVELS)
OISP_WORDS(oisp_word_completeness, OISP_COMPLETENESSS)
OISP_WORDS(oisp_word_attribution, OISP_PROCESS_ATTRIBUTIONS)
OISP_WORDS(oisp_word_source, OISP_CONTENT_SOURCES)
OISP_WORDS(oisp_word_method, OISP_DETECTION_METHODS)
OISP_WORDS(oisp_word_trigger, OISP_TRIGGERED_BYS)

static inline const char *oisp_word_reason(unsigned bit) {
  static const char *const words[] = {OISP_REASONS(OISP_WORD)};
  return bit < sizeof words / sizeof words[0] ? words[bit] : NULL;
}

static inline const char *oisp_word_missing(unsigned bit) {
  static const char *const words[] = {OISP_MISSINGS(OISP_WORD)};
  return bit < sizeof words / sizeof words[0] ? words[bit] : NULL;
}

/* enum oisp_kind */
static inline const char *oisp_word_kind(unsigned kind) {
  static const char *const words[] = {NULL,         "chat",   "completion", "embedding", "image", "audio",
                                      "moderation", "rerank", "rag",        "mcp",       "count", "other"};
  return kind < sizeof words / sizeof words[0] ? words[kind] : NULL;
}

#undef OISP_WORDS
#undef OISP_WORD

#endif
