/* SPDX-License-Identifier: Apache-2.0
 *
 * The steady state of a stream. Events of one stream differ inside a few values only; what surrounds them is compared, not
 * parsed. A template is learned from two events that were scanned whole: the values in which they differ, and those whose text
 * is gathered, become slots (string, number, or blanks before the last brace); everything between is literal. What stands on
 * the wire before each event (the lines of a server-sent one) is part of the first literal, so that it is compared with it.
 *
 * Exact, not heuristic: when all literals are equal and each slot holds one whole valid value of its kind, the event has the
 * structure of the learned one, so a full pass would capture the same values at the same places. Values that a selector
 * looks at, or that go anywhere but to the end of a text, are never slots, but for counters: numbers of which only the last
 * counts (running usage). They are handed out, and the event that held the last ones can be made again (oisp_template_remake)
 * for a full pass, when it is asked for. Anything else takes the full pass.
 */
#ifndef OISP_TEMPLATE_H
#define OISP_TEMPLATE_H

#include "buffer.h"
#include "jsontext.h"
#include "scan.h"
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define OISP_TEMPLATE_SLOTS 12 /* values that may change; an event with more of them is scanned */

#define OISP_TEMPLATE_COUNTER_MAX 15 /* digits of a counter: it fits into an int64_t, and into one store */

enum oisp_template_slot_kind {
  OISP_TEMPLATE_TEXT = 1, /* string whose content is appended */
  OISP_TEMPLATE_STRING = 2,
  OISP_TEMPLATE_NUMBER = 3,
  OISP_TEMPLATE_COUNTER = 4, /* digits: only the last ones count */
  OISP_TEMPLATE_BLANKS = 5
};

typedef struct oisp_template_slot {
  uint32_t literal; /* bytes of the literal before it; of the first one, without what stands before the event */
  uint8_t kind;
  uint8_t filled;   /* TEXT: 1 when it was not empty; whether it is may decide between alternatives */
  uint16_t
      target; /* TEXT, COUNTER: index into the pieces that a match gives: texts as they were given to learn, then counters */
} oisp_template_slot;

typedef struct oisp_template {
  oisp_buffer literals; /* all of them, one after the other */
  uint32_t slot_count;
  uint32_t before; /* bytes of the first literal that stand before the event */
  uint32_t tail; /* bytes of the literal after the last slot */
  uint32_t counters; /* slots that are counters */
  oisp_template_slot slots[OISP_TEMPLATE_SLOTS];
} oisp_template;

/* What a full pass over the second of two events found. Places are offsets in it; of strings, inside their quotes. */
typedef struct oisp_template_facts {
  const uint8_t *before; /* on the wire, in front of each event */
  const uint32_t *texts; /* strings that are gathered, in the order of the document */
  const uint32_t *fixed; /* values that must not change */
  uint32_t before_size;
  uint32_t text_count;
  uint32_t fixed_count;
  uint32_t counted, counted_end; /* numbers in here are counters, and nothing else in here may change; 0, 0: nowhere */
} oisp_template_facts;

/* A piece of an event: where it stands. */
typedef struct oisp_span {
  uint32_t at;
  uint32_t size;
  uint32_t flags; /* of enum oisp_capture_flags */
} oisp_span;

/* From two events (valid JSON objects) of one shape. 0: no template can be made of them. */
int oisp_template_learn(oisp_template *t, const oisp_scan *scan, const uint8_t *a, size_t a_size, const uint8_t *b,
                        size_t b_size, const oisp_template_facts *facts);

/* An event that fits, with these counters, appended to `out`: texts that were not empty are one character, what nothing
 * captures is empty. 0: no memory. */
int oisp_template_remake(const oisp_template *t, const char counters[][16], oisp_buffer *out);

#ifdef __SSE2__
static inline __m128i oisp_template_differs(const uint8_t *a, const uint8_t *b) {
  return _mm_xor_si128(_mm_loadu_si128((const __m128i *)a), _mm_loadu_si128((const __m128i *)b));
}
#endif

/* Literals are nearly always equal, so there is nothing to gain from stopping at the first difference. */
static inline int oisp_template_same(const uint8_t *a, const uint8_t *b, size_t size) {
  uint64_t x, y, differs = 0;
  size_t i = 0;
#ifdef __SSE2__
  if (size >= 16) {
    __m128i all = oisp_template_differs(a + size - 16, b + size - 16);
    for (; i + 64 < size; i += 64)
      all = _mm_or_si128(all, _mm_or_si128(_mm_or_si128(oisp_template_differs(a + i, b + i),
                                                        oisp_template_differs(a + i + 16, b + i + 16)),
                                           _mm_or_si128(oisp_template_differs(a + i + 32, b + i + 32),
                                                        oisp_template_differs(a + i + 48, b + i + 48))));
    for (; i + 16 < size; i += 16)
      all = _mm_or_si128(all, oisp_template_differs(a + i, b + i));
    return _mm_movemask_epi8(_mm_cmpeq_epi8(all, _mm_setzero_si128())) == 0xffff;
  }
#endif
  if (size < 8) {
    for (; i < size; i++)
      differs |= a[i] ^ b[i];
    return differs == 0;
  }
  for (; i + 8 < size; i += 8) {
    memcpy(&x, a + i, 8);
    memcpy(&y, b + i, 8);
    differs |= x ^ y;
  }
  memcpy(&x, a + size - 8, 8);
  memcpy(&y, b + size - 8, 8);
  return (differs | (x ^ y)) == 0;
}

/* As oisp_string_end; most strings of a delta are plain and short, and end in the first 16 bytes. `start`: no byte before it
 * may be read. */
static inline const uint8_t *oisp_template_string(const oisp_scan *scan, const uint8_t *start, const uint8_t *p,
                                                  const uint8_t *end, int *flags) {
#ifdef __SSE2__
  if (end - start >= 16) {
    int before = end - p < 16 ? (int)(16 - (end - p)) : 0;
    __m128i bytes = _mm_loadu_si128((const __m128i *)(p - before));
    __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
    __m128i quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'));
    __m128i special = _mm_or_si128(quote, _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')));
    /* the sign of bytes tells those >= 0x80 */
    unsigned stops = (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(control, special), bytes)) >> before;
    if (stops && p[__builtin_ctz(stops)] == '"') {
      *flags = 0;
      return p + __builtin_ctz(stops);
    }
  }
#endif
  return oisp_string_end(scan, p, end, flags);
}

/* A counter: 1 to 15 digits, without a zero in front. Its end, or NULL. */
static inline const uint8_t *oisp_template_counter(const uint8_t *p, const uint8_t *end) {
  const uint8_t *q = oisp_digits(p, end);
  return q != p && q != end && q - p <= OISP_TEMPLATE_COUNTER_MAX && (*p != '0' || q - p == 1) && *q != '.' &&
                 (*q | 32) != 'e'
             ? q
             : NULL;
}

/* The value at p. NULL: it is none of that kind. `line`: the event stands in one line, so that its blanks are none that end
 * one. */
static inline const uint8_t *oisp_template_value(const oisp_template_slot *s, const oisp_scan *scan,
                                                 const uint8_t *data, const uint8_t *p, const uint8_t *end, int line,
                                                 oisp_span *out) {
  const uint8_t *q = p;
  int flags = 0;
  if (OISP_LIKELY(s->kind <= OISP_TEMPLATE_STRING)) {
    q = oisp_template_string(scan, data, p, end, &flags);
    if (flags & ~OISP_CAPTURE_ESCAPED)
      return NULL;
    if (s->kind == OISP_TEMPLATE_TEXT) {
      if ((q != p) != s->filled)
        return NULL;
      out[s->target] = (oisp_span){(uint32_t)(p - data), (uint32_t)(q - p), (uint32_t)flags};
    }
  } else if (s->kind == OISP_TEMPLATE_NUMBER) {
    if (p == end || (*p != '-' && (uint8_t)(*p - '0') > 9) || (q = oisp_number_end(p, end, &flags)) == NULL || flags)
      return NULL;
  } else if (s->kind == OISP_TEMPLATE_COUNTER) {
    if ((q = oisp_template_counter(p, end)) == NULL)
      return NULL;
    out[s->target] = (oisp_span){(uint32_t)(p - data), (uint32_t)(q - p), 0};
  } else
    while (q < end && (*q == ' ' || *q == '\t' || (!line && (*q == '\n' || *q == '\r'))))
      q++;
  return q;
}

/* Where the event ends that begins at `data`, with (wire) or without what stands before it, if it fits; 0 if not. What
 * follows it is not looked at. out: the pieces of its texts and counters. */
static inline size_t oisp_template_prefix(const oisp_template *t, const oisp_scan *scan, const uint8_t *data,
                                          size_t size, int wire, int line, oisp_span *out) {
  const uint8_t *p = data, *end = data + size, *literal = t->literals.data;
  size_t more = wire ? t->before : 0;
  literal += t->before - more;
  for (uint32_t i = 0; i < t->slot_count; i++) {
    const oisp_template_slot *s = &t->slots[i];
    more += s->literal;
    if ((size_t)(end - p) < more || !oisp_template_same(p, literal, more))
      return 0;
    p = oisp_template_value(s, scan, data, p + more, end, line, out);
    if (p == NULL)
      return 0;
    literal += more;
    more = 0;
  }
  if ((size_t)(end - p) < t->tail || !oisp_template_same(p, literal, t->tail))
    return 0;
  return (size_t)(p + t->tail - data);
}

#define OISP_TEMPLATE_SHORT 16

/* A piece of up to 16 bytes to the end of a text: one load and one store for any length, zeros behind it. 16 bytes must be
 * readable at `from` and writable at `to`. */
static inline void oisp_template_store(uint8_t *to, const uint8_t *from, size_t size) {
#ifdef __SSE2__
  static const uint8_t masks[32] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  __m128i keep = _mm_loadu_si128((const __m128i *)(masks + OISP_TEMPLATE_SHORT - size));
  _mm_storeu_si128((__m128i *)to, _mm_and_si128(keep, _mm_loadu_si128((const __m128i *)from)));
#else
  memcpy(to, from, size);
#endif
}

static inline void oisp_template_wipe(oisp_template *t) {
  oisp_buffer_wipe(&t->literals);
  t->slot_count = t->counters = 0;
}

#endif
