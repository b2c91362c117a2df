/* SPDX-License-Identifier: Apache-2.0
 *
 * Scanning of short runs (a field name, a value, a line), inlined into the parsers: at these lengths the call through the
 * table of scan.h costs more than the search. Baseline vectors only (SSE2, NEON); nothing reads outside [data, data + size).
 */
#ifndef OISP_BYTES_H
#define OISP_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

/* tchar of RFC 9110 section 5.6.2, as two bitmaps of 64. */
static inline int oisp_is_token(uint8_t c) {
  static const uint64_t map[4] = {UINT64_C(0x03FF6CFA00000000), UINT64_C(0x57FFFFFFC7FFFFFE), 0, 0};
  return (int)(map[c >> 6] >> (c & 63)) & 1;
}

/* Length of the run of token characters. The vector knows letters, digits, '-' and '_', which names are made of; at
 * anything else the bitmap decides and goes on. Where the next colon stands is found first, by the shortest way, and that
 * nothing before it stops the run is checked beside: what follows need not wait for the check. */
static inline size_t oisp_token_run(const uint8_t *data, size_t size) {
  size_t i = 0;
#if defined(__x86_64__)
  const __m128i fold = _mm_set1_epi8(0x20), a = _mm_set1_epi8('a'), zero = _mm_set1_epi8('0');
  const __m128i letters = _mm_set1_epi8(25), digits = _mm_set1_epi8(9);
  const __m128i dash = _mm_set1_epi8('-'), low_line = _mm_set1_epi8('_'), stop = _mm_set1_epi8(':');
  for (; i + 16 <= size; i += 16) {
    __m128i v = _mm_loadu_si128((const __m128i *)(data + i));
    uint32_t colon = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(v, stop));
    __m128i letter = _mm_sub_epi8(_mm_or_si128(v, fold), a), digit = _mm_sub_epi8(v, zero);
    __m128i good = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(_mm_min_epu8(letter, letters), letter),
                                             _mm_cmpeq_epi8(_mm_min_epu8(digit, digits), digit)),
                                _mm_or_si128(_mm_cmpeq_epi8(v, dash), _mm_cmpeq_epi8(v, low_line)));
    uint32_t bits = (uint32_t)_mm_movemask_epi8(good) ^ 0xFFFF;
    if (colon && (bits & ((colon & -colon) - 1)) == 0)
      return i + (size_t)__builtin_ctz(colon);
    if (bits) {
      i += (size_t)__builtin_ctz(bits);
      break;
    }
  }
#endif
  while (i < size && oisp_is_token(data[i]))
    i++;
  return i;
}

static inline int oisp_is_value(uint8_t c) { return (c >= 0x20 && c != 0x7F) || c == '\t'; }
static inline int oisp_is_target(uint8_t c) { return c > 0x20 && c != 0x7F; }

/* Length of the run of bytes that a field value may hold: VCHAR, obs-text, space, tab (RFC 9110 section 5.5). As above, its
 * usual end, a CR, is found first and the check made beside. */
static inline size_t oisp_value_run(const uint8_t *data, size_t size) {
  size_t i = 0;
#if defined(__x86_64__)
  const __m128i low = _mm_set1_epi8(0x1F), tab = _mm_set1_epi8('\t'), del = _mm_set1_epi8(0x7F),
                cr = _mm_set1_epi8('\r');
  for (; i + 32 <= size; i += 32) { /* two at a time: most values end in the first pair, which spares a wrong guess */
    __m128i v = _mm_loadu_si128((const __m128i *)(data + i)), w = _mm_loadu_si128((const __m128i *)(data + i + 16));
    uint32_t end = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(v, cr));
    end |= (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(w, cr)) << 16;
    __m128i control = _mm_andnot_si128(_mm_cmpeq_epi8(v, tab), _mm_cmpeq_epi8(_mm_min_epu8(v, low), v));
    __m128i other = _mm_andnot_si128(_mm_cmpeq_epi8(w, tab), _mm_cmpeq_epi8(_mm_min_epu8(w, low), w));
    uint32_t bits = (uint32_t)_mm_movemask_epi8(_mm_or_si128(control, _mm_cmpeq_epi8(v, del)));
    bits |= (uint32_t)_mm_movemask_epi8(_mm_or_si128(other, _mm_cmpeq_epi8(w, del))) << 16;
    if (end && (bits & ((end & -end) - 1)) == 0)
      return i + (size_t)__builtin_ctz(end);
    if (bits)
      return i + (size_t)__builtin_ctz(bits);
  }
  for (; i + 16 <= size; i += 16) {
    __m128i v = _mm_loadu_si128((const __m128i *)(data + i));
    __m128i control = _mm_andnot_si128(_mm_cmpeq_epi8(v, tab), _mm_cmpeq_epi8(_mm_min_epu8(v, low), v));
    uint32_t bits = (uint32_t)_mm_movemask_epi8(_mm_or_si128(control, _mm_cmpeq_epi8(v, del)));
    if (bits)
      return i + (size_t)__builtin_ctz(bits);
  }
#elif defined(__aarch64__)
  for (; i + 16 <= size; i += 16) {
    uint8x16_t v = vld1q_u8(data + i);
    uint8x16_t control = vbicq_u8(vcltq_u8(v, vdupq_n_u8(0x20)), vceqq_u8(v, vdupq_n_u8('\t')));
    uint8x16_t stop = vorrq_u8(control, vceqq_u8(v, vdupq_n_u8(0x7F)));
    uint64_t bits = vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(stop), 4)), 0);
    if (bits)
      return i + ((size_t)__builtin_ctzll(bits) >> 2);
  }
#endif
  while (i < size && oisp_is_value(data[i]))
    i++;
  return i;
}

/* Length of the run of bytes that a request target may hold: anything but controls and blank. */
static inline size_t oisp_target_run(const uint8_t *data, size_t size) {
  size_t i = 0;
#if defined(__x86_64__)
  const __m128i low = _mm_set1_epi8(0x20), del = _mm_set1_epi8(0x7F);
  for (; i + 16 <= size; i += 16) {
    __m128i v = _mm_loadu_si128((const __m128i *)(data + i));
    __m128i stop = _mm_or_si128(_mm_cmpeq_epi8(_mm_min_epu8(v, low), v), _mm_cmpeq_epi8(v, del));
    uint32_t bits = (uint32_t)_mm_movemask_epi8(stop);
    if (bits)
      return i + (size_t)__builtin_ctz(bits);
  }
#elif defined(__aarch64__)
  for (; i + 16 <= size; i += 16) {
    uint8x16_t v = vld1q_u8(data + i);
    uint8x16_t stop = vorrq_u8(vcleq_u8(v, vdupq_n_u8(0x20)), vceqq_u8(v, vdupq_n_u8(0x7F)));
    uint64_t bits = vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(stop), 4)), 0);
    if (bits)
      return i + ((size_t)__builtin_ctzll(bits) >> 2);
  }
#endif
  while (i < size && oisp_is_target(data[i]))
    i++;
  return i;
}

/* Index of the first CR or LF, or size: for lines of tens to hundreds of bytes. */
static inline size_t oisp_line_run(const uint8_t *data, size_t size) {
  size_t i = 0;
#if defined(__x86_64__)
  const __m128i cr = _mm_set1_epi8('\r'), lf = _mm_set1_epi8('\n');
  for (; i + 32 <= size; i += 32) {
    __m128i v = _mm_loadu_si128((const __m128i *)(data + i)), w = _mm_loadu_si128((const __m128i *)(data + i + 16));
    uint32_t bits = (uint32_t)_mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(v, cr), _mm_cmpeq_epi8(v, lf)));
    bits |= (uint32_t)_mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(w, cr), _mm_cmpeq_epi8(w, lf))) << 16;
    if (bits)
      return i + (size_t)__builtin_ctz(bits);
  }
#elif defined(__aarch64__)
  for (; i + 16 <= size; i += 16) {
    uint8x16_t v = vld1q_u8(data + i);
    uint8x16_t stop = vorrq_u8(vceqq_u8(v, vdupq_n_u8('\r')), vceqq_u8(v, vdupq_n_u8('\n')));
    uint64_t bits = vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(stop), 4)), 0);
    if (bits)
      return i + ((size_t)__builtin_ctzll(bits) >> 2);
  }
#endif
  while (i < size && data[i] != '\r' && data[i] != '\n')
    i++;
  return i;
}

/* Index of the first LF, or size. */
static inline size_t oisp_find_lf(const uint8_t *data, size_t size) {
  const uint8_t *at = size ? (const uint8_t *)memchr(data, '\n', size) : NULL;
  return at ? (size_t)(at - data) : size;
}

/* Equal but for ASCII case; `lower` is given in lower case. */
static inline int oisp_equal_nocase(const uint8_t *data, const char *lower, size_t size) {
  for (size_t i = 0; i < size; i++) {
    uint8_t c = data[i];
    if ((uint8_t)(c - 'A') < 26)
      c |= 0x20;
    if (c != (uint8_t)lower[i])
      return 0;
  }
  return 1;
}

static inline uint64_t oisp_differ8(const uint8_t *a, const uint8_t *b) {
  uint64_t x, y;
  memcpy(&x, a, 8);
  memcpy(&y, b, 8);
  return x ^ y;
}

static inline uint32_t oisp_differ4(const uint8_t *a, const uint8_t *b) {
  uint32_t x, y;
  memcpy(&x, a, 4);
  memcpy(&y, b, 4);
  return x ^ y;
}

/* Whether they are equal. Up to 32 bytes without a call: what is compared with what came before it, or found by its hash, is
 * short and nearly always equal, and then nothing waits for the answer. */
static inline int oisp_equal(const uint8_t *a, const uint8_t *b, size_t size) {
  if (size > 32)
    return memcmp(a, b, size) == 0;
  if (size > 16)
    return (oisp_differ8(a, b) | oisp_differ8(a + 8, b + 8) | oisp_differ8(a + size - 16, b + size - 16) |
            oisp_differ8(a + size - 8, b + size - 8)) == 0;
  if (size >= 8)
    return (oisp_differ8(a, b) | oisp_differ8(a + size - 8, b + size - 8)) == 0;
  if (size >= 4)
    return (oisp_differ4(a, b) | oisp_differ4(a + size - 4, b + size - 4)) == 0;
  for (size_t i = 0; i < size; i++)
    if (a[i] != b[i])
      return 0;
  return 1;
}

/* What lies there will soon be read. Any address may be given. */
static inline void oisp_prefetch(const void *at) { __builtin_prefetch(at); }

/* Value of a hexadecimal digit, or -1, without a branch: whether it is a letter is what no predictor knows. */
static inline int oisp_hex(uint8_t c) {
  static const uint8_t above[256] = {['0'] = 1, 2,  3,  4,  5,  6,          7,  8,  9,  10, ['A'] = 11,
                                     12,        13, 14, 15, 16, ['a'] = 11, 12, 13, 14, 15, 16};
  return above[c] - 1;
}

/* What percent-encoding stands for (RFC 3986 section 2.1), at most `room` bytes; a sign that begins none stays. Answers how many
 * bytes; `out` may be `from`. */
static inline size_t oisp_percent_decode(uint8_t *out, size_t room, const uint8_t *from, size_t size) {
  size_t n = 0;
  for (size_t i = 0; i < size && n < room; i++, n++) {
    int value = -1;
    if (from[i] == '%' && i + 2 < size)
      value = oisp_hex(from[i + 1]) * 16 | oisp_hex(from[i + 2]); /* below 0 where one of them is */
    out[n] = value < 0 ? from[i] : (uint8_t)value;
    i += value < 0 ? 0 : 2;
  }
  return n;
}

#endif
