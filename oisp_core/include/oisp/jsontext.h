/* SPDX-License-Identifier: Apache-2.0
 *
 * Strings and numbers of JSON, as bytes: where they end and whether they are valid. Shared by the pass over a document and by
 * the template of a stream, so that both mean the same by "valid".
 */
#ifndef OISP_JSONTEXT_H
#define OISP_JSONTEXT_H

#include "jsonscan.h"
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define OISP_LIKELY(x) __builtin_expect(!!(x), 1)
#define OISP_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* What the string scanner says besides the flags of a capture. */
#define OISP_STRING_OPEN 0x100 /* the document ended before the closing quote */

/* Value of four hex digits, or -1. */
static inline int oisp_hex4(const uint8_t *p) {
  int v = 0;
  for (int i = 0; i < 4; i++) {
    uint8_t c = p[i];
    if (c >= '0' && c <= '9')
      v = v * 16 + (c - '0');
    else if ((c | 32) >= 'a' && (c | 32) <= 'f')
      v = v * 16 + ((c | 32) - 'a' + 10);
    else
      return -1;
  }
  return v;
}

/* Length of the UTF-8 sequence at p (RFC 3629), 0 if it is none, -1 if it is cut by `end`. For 0, *bad is the length of the
 * maximal subpart that one U+FFFD replaces (Unicode 15, 3.9). */
static inline int oisp_utf8_sequence(const uint8_t *p, const uint8_t *end, int *bad) {
  uint8_t c = p[0];
  int size = c < 0xC2 ? 0 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : c < 0xF5 ? 4 : 0;
  *bad = 1;
  if (size == 0)
    return 0;
  uint8_t low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
  uint8_t high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
  for (int i = 1; i < size; i++, low = 0x80, high = 0xBF) {
    if (p + i == end)
      return -1;
    if (p[i] < low || p[i] > high) {
      *bad = i;
      return 0;
    }
  }
  return size;
}

/* One escape at p (a backslash). Returns its length; 0 if it is cut by `end`. */
static inline size_t oisp_escape(const uint8_t *start, const uint8_t *p, const uint8_t *end, int *flags) {
  if (p + 1 >= end)
    return 0;
  switch (p[1]) {
  case '"':
  case '\\':
  case '/':
  case 'b':
  case 'f':
  case 'n':
  case 'r':
  case 't':
    return 2;
  case 'u':
    break;
  default: /* an unknown escape; what follows the backslash may be anything, also a byte that needs a look of its own */
    *flags |= OISP_CAPTURE_DIRTY;
    return p[1] < 0x20 || p[1] >= 0x80 ? 1 : 2;
  }
  if (end - p < 6) {
    for (const uint8_t *q = p + 2; q < end; q++)
      if (*q == '"') {
        *flags |= OISP_CAPTURE_DIRTY;
        return 2;
      }
    return 0;
  }
  int v = oisp_hex4(p + 2);
  if (v < 0) {
    *flags |= OISP_CAPTURE_DIRTY;
    return 2;
  }
  if (OISP_LIKELY(v < 0xD800 || v > 0xDFFF))
    return 6;
  if (v >= 0xDC00) { /* a low surrogate without a high one before it */
    *flags |= p == start ? OISP_CAPTURE_LOW : OISP_CAPTURE_DIRTY;
    return 6;
  }
  if (end - p >= 12 && p[6] == '\\' && p[7] == 'u') {
    int w = oisp_hex4(p + 8);
    if (w >= 0xDC00 && w <= 0xDFFF)
      return 12;
  }
  if (p + 6 == end) /* cannot be told yet */
    return 0;
  if (p[6] == '"') {
    *flags |= OISP_CAPTURE_HIGH;
    return 6;
  }
  if (end - p < 12 && memchr(p + 6, '"', (size_t)(end - p - 6)) == NULL)
    return 0;
  *flags |= OISP_CAPTURE_DIRTY;
  return 6;
}

#define OISP_ONES 0x0101010101010101ULL
#define OISP_HIGHS 0x8080808080808080ULL

/* First of quote, backslash, < 0x20, >= 0x80: the first bytes here, since most strings and most runs between two escapes
 * are short, the rest by the table. */
static inline const uint8_t *oisp_string_stop(const oisp_scan *scan, const uint8_t *p, const uint8_t *end) {
#ifdef __SSE2__
  const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'), blank = _mm_set1_epi8(0x20);
  for (int i = 0; i < 6 && end - p >= 16; i++, p += 16) {
    __m128i v = _mm_loadu_si128((const __m128i *)p);
    __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash));
    int mask = _mm_movemask_epi8(_mm_or_si128(hit, _mm_cmplt_epi8(v, blank))); /* signed: >= 0x80 is below too */
    if (mask)
      return p + __builtin_ctz((unsigned)mask);
  }
#elif __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  for (int i = 0; i < 3 && end - p >= 8; i++, p += 8) {
    uint64_t w;
    memcpy(&w, p, 8);
    uint64_t quote = w ^ (OISP_ONES * '"');
    uint64_t slash = w ^ (OISP_ONES * '\\');
    uint64_t hit =
        (((quote - OISP_ONES) & ~quote) | ((slash - OISP_ONES) & ~slash) | ((w - OISP_ONES * 0x20) & ~w) | w) &
        OISP_HIGHS;
    if (hit)
      return p + (__builtin_ctzll(hit) >> 3); /* the lowest hit is exact: borrows only run upwards */
  }
#endif
  while (p < end && end - p < 16) { /* the tail of a document: no call for it */
    if (*p == '"' || *p == '\\' || *p < 0x20 || *p >= 0x80)
      return p;
    p++;
  }
  return p == end ? p : p + scan->find_string_stop(p, (size_t)(end - p));
}

/* A string that went on for so long is a text, and goes on. */
#define OISP_LONG_STRING 96

/* From the byte after the opening quote to the closing one. When the document is cut: the last whole character. */
static inline const uint8_t *oisp_string_end(const oisp_scan *scan, const uint8_t *p, const uint8_t *end, int *flags) {
  const uint8_t *start = p;
  int f = 0, escaped = 0;
  for (;;) {
    if (OISP_LIKELY(p - start < OISP_LONG_STRING))
      p = oisp_string_stop(scan, p, end);
    else if (p < end) {
      p += scan->find_string_break(p, (size_t)(end - p), &escaped);
      f |= escaped * OISP_CAPTURE_ESCAPED;
    }
    if (p >= end)
      break;
    uint8_t c = *p;
    if (OISP_LIKELY(c == '"')) {
      *flags = f;
      return p;
    }
    if (c == '\\') {
      f |= OISP_CAPTURE_ESCAPED;
      size_t size = oisp_escape(start, p, end, &f);
      if (size == 0)
        break;
      p += size;
    } else if (c < 0x20) {
      f |= OISP_CAPTURE_DIRTY;
      p++;
    } else {
      int bad, size = 0;
      while (p < end && *p >= 0x80 && (size = oisp_utf8_sequence(p, end, &bad)) > 0)
        p += size;
      if (p < end && size < 0)
        break;
      if (p < end && *p >= 0x80) {
        f |= OISP_CAPTURE_DIRTY;
        p += bad;
      }
    }
  }
  *flags = f | OISP_STRING_OPEN;
  return p;
}

static inline const uint8_t *oisp_digits(const uint8_t *p, const uint8_t *end) {
  while (p < end && (uint8_t)(*p - '0') < 10)
    p++;
  return p;
}

/* RFC 8259, section 6. NULL: not a number. *cut: the document ends where it could still go on. */
static inline const uint8_t *oisp_number_end(const uint8_t *p, const uint8_t *end, int *cut) {
  *cut = 1;
  if (*p == '-' && ++p == end)
    return end;
  if (*p == '0')
    p++;
  else if ((uint8_t)(*p - '1') < 9)
    p = oisp_digits(p, end);
  else
    return NULL;
  if (p < end && *p == '.') {
    if (++p == end)
      return end;
    if ((uint8_t)(*p - '0') > 9)
      return NULL;
    p = oisp_digits(p, end);
  }
  if (p < end && (*p | 32) == 'e') {
    if (++p < end && (*p == '+' || *p == '-'))
      p++;
    if (p == end)
      return end;
    if ((uint8_t)(*p - '0') > 9)
      return NULL;
    p = oisp_digits(p, end);
  }
  *cut = p == end;
  return p;
}

#endif
