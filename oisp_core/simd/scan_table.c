/* SPDX-License-Identifier: Apache-2.0
 *
 * The scanning functions of oisp/scan.h: one scalar twin that is the definition, and vector forms that must equal it byte
 * for byte (tests/unit/simd runs them against each other over lengths, alignments and a guard page).
 *
 * The library is built for the baseline of its architecture; the AVX2 forms carry a target attribute and are only reached
 * when the processor says that it has them. SSE2 is part of x86-64, NEON of AArch64.
 *
 * Nothing reads outside [data, data + size): where at least one vector fits, the tail is one more vector that ends at the
 * last byte (it overlaps bytes already looked at, which cannot matter: they did not match); below that the narrower form.
 */
#include "oisp/scan.h"
#include "oisp/simd.h"
#include <string.h>

/* ---- the definition -------------------------------------------------------------------------------------------------- */

static inline int is_eol(uint8_t c) { return c == '\n' || c == '\r'; }
static inline int is_string_stop(uint8_t c) { return c == '"' || c == '\\' || c < 0x20 || c >= 0x80; }
static inline int is_quote(uint8_t c) { return c == '"' || c == '\\' || c < 0x20; }
static inline int is_structure(uint8_t c) { return c == '"' || c == '{' || c == '}' || c == '[' || c == ']'; }

static size_t scalar_find(const uint8_t *data, size_t size, uint8_t byte) {
  size_t i = 0;
  while (i < size && data[i] != byte)
    i++;
  return i;
}

#define SCALAR(name, predicate) \
  static size_t scalar_##name(const uint8_t *data, size_t size) { \
    size_t i = 0; \
    while (i < size && !predicate(data[i])) \
      i++; \
    return i; \
  }
SCALAR(find_eol, is_eol)
SCALAR(find_string_stop, is_string_stop)
SCALAR(find_quote, is_quote)
SCALAR(find_structure, is_structure)

/* What a backslash may stand before in an escape of two bytes. */
static const uint8_t short_escape[256] = {['"'] = 1, ['\\'] = 1, ['/'] = 1, ['b'] = 1,
                                          ['f'] = 1, ['n'] = 1,  ['r'] = 1, ['t'] = 1};

#define BREAK_BODY(FIND_STOP) \
  { \
    size_t i = 0; \
    for (;;) { \
      i += FIND_STOP(data + i, size - i); \
      if (size - i < 2 || data[i] != '\\' || !short_escape[data[i + 1]]) \
        return i; \
      *escaped = 1; \
      i += 2; \
    } \
  }
static size_t scalar_find_string_break(const uint8_t *data, size_t size, int *escaped)
    BREAK_BODY(scalar_find_string_stop)

    /* Length of the sequence that starts at `at` (a byte >= 0x80), 0 if it is not valid or not whole: RFC 3629 section 4. */
    static inline size_t utf8_sequence(const uint8_t *at, size_t size) {
  uint8_t lead = at[0];
  if (lead < 0xC2)
    return 0;
  if (lead < 0xE0)
    return size >= 2 && (at[1] & 0xC0) == 0x80 ? 2 : 0;
  if (lead < 0xF0) {
    if (size < 3 || (at[1] & 0xC0) != 0x80 || (at[2] & 0xC0) != 0x80)
      return 0;
    if (lead == 0xE0 && at[1] < 0xA0) /* overlong */
      return 0;
    return lead == 0xED && at[1] >= 0xA0 ? 0 : 3; /* surrogate */
  }
  if (lead > 0xF4 || size < 4 || (at[1] & 0xC0) != 0x80 || (at[2] & 0xC0) != 0x80 || (at[3] & 0xC0) != 0x80)
    return 0;
  if (lead == 0xF0 && at[1] < 0x90) /* overlong */
    return 0;
  return lead == 0xF4 && at[1] >= 0x90 ? 0 : 4; /* above U+10FFFF */
}

static size_t scalar_utf8_prefix(const uint8_t *data, size_t size) {
  size_t i = 0;
  while (i < size) {
    size_t n = data[i] < 0x80 ? 1 : utf8_sequence(data + i, size - i);
    if (n == 0)
      break;
    i += n;
  }
  return i;
}

static size_t scalar_utf8_count(const uint8_t *data, size_t size) {
  size_t count = 0;
  for (size_t i = 0; i < size; i++)
    count += (data[i] & 0xC0) != 0x80;
  return count;
}

static const oisp_scan scalar_table = {
    "scalar",          scalar_find,           scalar_find_eol,    scalar_find_string_stop, scalar_find_string_break,
    scalar_find_quote, scalar_find_structure, scalar_utf8_prefix, scalar_utf8_count,
};

/* ---- vector forms: one body, given a vector type by macros ------------------------------------------------------------- */

/* The index of the first byte for which MASK (an expression in v, a vector) is set. Vectors are looked at in pairs, and where
 * the pair has one it is found without a branch: which of the two it was is as good as random, and a wrong guess costs more
 * than both. The last pair overlaps the one before it. */
#define LOOK_AT(ISA, MASK, at, gap) \
  { \
    ISA##_vector v = ISA##_load(data + (at)), low = MASK; \
    v = ISA##_load(data + (at) + (gap)); \
    ISA##_vector high = MASK; \
    if (ISA##_mask(ISA##_or(low, high))) \
      return (at) + ISA##_either(ISA##_mask(low), ISA##_mask(high), gap); \
  }
#define FINDER_BODY(ISA, NARROW, MASK) \
  { \
    if (size < ISA##_WIDTH) \
      return NARROW; \
    size_t gap = size < 2 * ISA##_WIDTH ? size - ISA##_WIDTH : ISA##_WIDTH, last = size - ISA##_WIDTH - gap; \
    for (size_t i = 0; i < last; i += 2 * ISA##_WIDTH) \
      LOOK_AT(ISA, MASK, i, ISA##_WIDTH) \
    LOOK_AT(ISA, MASK, last, gap) \
    return size; \
  }

#define EOL_MASK(ISA) ISA##_or(ISA##_eq(v, '\n'), ISA##_eq(v, '\r'))
#define QUOTE_MASK(ISA) ISA##_or(ISA##_or(ISA##_eq(v, '"'), ISA##_eq(v, '\\')), ISA##_below(v, 0x20))
#define STOP_MASK(ISA) ISA##_or(QUOTE_MASK(ISA), ISA##_high(v))
/* '[' | 0x20 is '{', ']' | 0x20 is '}': two compares for four bytes, exact because no other byte folds onto them. */
#define STRUCTURE_MASK(ISA) \
  ISA##_or(ISA##_eq(v, '"'), ISA##_or(ISA##_eq(ISA##_fold(v), '{'), ISA##_eq(ISA##_fold(v), '}')))

/* The ASCII runs by vectors, each other sequence by the twin. */
#define PREFIX_BODY(ISA, FIND_HIGH) \
  { \
    size_t i = 0; \
    for (;;) { \
      i += FIND_HIGH(data + i, size - i); \
      while (i < size && data[i] >= 0x80) { \
        size_t n = utf8_sequence(data + i, size - i); \
        if (n == 0) \
          return i; \
        i += n; \
      } \
      if (i == size) \
        return i; \
    } \
  }

static inline size_t scalar_find_high(const uint8_t *data, size_t size) {
  size_t i = 0;
  while (i < size && data[i] < 0x80)
    i++;
  return i;
}

#define FINDERS(ISA, TARGET, NARROW) \
  TARGET static size_t ISA##_find(const uint8_t *data, size_t size, uint8_t byte) \
      FINDER_BODY(ISA, NARROW##_find(data, size, byte), ISA##_eq(v, (char)byte)) \
          TARGET static size_t ISA##_find_eol(const uint8_t *data, size_t size) \
              FINDER_BODY(ISA, NARROW##_find_eol(data, size), EOL_MASK(ISA)) \
                  TARGET static size_t ISA##_find_string_stop(const uint8_t *data, size_t size) \
                      FINDER_BODY(ISA, NARROW##_find_string_stop(data, size), STOP_MASK(ISA)) \
                          TARGET static size_t ISA##_find_quote(const uint8_t *data, size_t size) \
                              FINDER_BODY(ISA, NARROW##_find_quote(data, size), QUOTE_MASK(ISA)) \
                                  TARGET static size_t ISA##_find_structure(const uint8_t *data, size_t size) \
                                      FINDER_BODY(ISA, NARROW##_find_structure(data, size), STRUCTURE_MASK(ISA)) \
                                          TARGET static size_t ISA##_find_high(const uint8_t *data, size_t size) \
                                              FINDER_BODY(ISA, NARROW##_find_high(data, size), ISA##_high(v))

#define TABLE(ISA) \
  static const oisp_scan ISA##_table = { \
      #ISA, \
      ISA##_find, \
      ISA##_find_eol, \
      ISA##_find_string_stop, \
      ISA##_find_string_break, \
      ISA##_find_quote, \
      ISA##_find_structure, \
      ISA##_utf8_prefix, \
      ISA##_utf8_count, \
  };

#if defined(__x86_64__)
#include <immintrin.h>

#define sse2_WIDTH 16
typedef __m128i sse2_vector;
#define sse2_load(at) _mm_loadu_si128((const __m128i *)(at))
#define sse2_eq(v, c) _mm_cmpeq_epi8(v, _mm_set1_epi8(c))
#define sse2_or(a, b) _mm_or_si128(a, b)
#define sse2_below(v, c) _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8((c) - 1)), v)
#define sse2_high(v) (v) /* movemask takes the top bits, and only those */
#define sse2_fold(v) _mm_or_si128(v, _mm_set1_epi8(0x20))
#define sse2_mask(m) (uint32_t)_mm_movemask_epi8(m)
#define sse2_either(low, high, gap) (size_t)__builtin_ctz((low) | (high) << (gap))
FINDERS(sse2, , scalar)

static size_t sse2_find_string_break(const uint8_t *data, size_t size, int *escaped) BREAK_BODY(sse2_find_string_stop)

    static size_t sse2_utf8_prefix(const uint8_t *data, size_t size) PREFIX_BODY(sse2, sse2_find_high)

        static size_t sse2_utf8_count(const uint8_t *data, size_t size) {
  size_t count = 0, i = 0;
  const __m128i last = _mm_set1_epi8((char)0xBF); /* as signed bytes a continuation is <= 0xBF = -65 */
  for (; i + 16 <= size; i += 16)
    count += (size_t)__builtin_popcount((uint32_t)_mm_movemask_epi8(_mm_cmpgt_epi8(sse2_load(data + i), last)));
  return count + scalar_utf8_count(data + i, size - i);
}
TABLE(sse2)

#define AVX2 __attribute__((target("avx2,bmi,popcnt")))
#define avx2_WIDTH 32
typedef __m256i avx2_vector;
#define avx2_load(at) _mm256_loadu_si256((const __m256i *)(at))
#define avx2_eq(v, c) _mm256_cmpeq_epi8(v, _mm256_set1_epi8(c))
#define avx2_or(a, b) _mm256_or_si256(a, b)
#define avx2_below(v, c) _mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8((c) - 1)), v)
#define avx2_high(v) (v)
#define avx2_fold(v) _mm256_or_si256(v, _mm256_set1_epi8(0x20))
#define avx2_mask(m) (uint32_t)_mm256_movemask_epi8(m)
#define avx2_either(low, high, gap) (size_t)__builtin_ctzll((low) | (uint64_t)(high) << (gap))
FINDERS(avx2, AVX2, sse2)

/* What a backslash may stand before, by the classes of both halves of a byte: of 2x, 5x, 6x, 7x the bits 1, 2, 4, 8. */
AVX2 static inline uint32_t avx2_short_escapes(avx2_vector v) {
  const __m256i low = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, 13, 0, 8, 0, 4, 0, 0, 0, 0, 0, 2, 0, 4, 1));
  const __m256i high = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, 1, 0, 0, 2, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0));
  __m256i upper = _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15));
  __m256i both = _mm256_and_si256(_mm256_shuffle_epi8(low, v), _mm256_shuffle_epi8(high, upper));
  return ~(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(both, _mm256_setzero_si256()));
}

/* 64 bytes at a time as bits, and no branch for an escape: where they stand no predictor knows, and a wrong guess costs as
 * much as the whole block. */
AVX2 static size_t avx2_find_string_break(const uint8_t *data, size_t size, int *escaped) {
  const uint64_t even = 0x5555555555555555ULL;
  uint64_t pending = 0, any = 0; /* 1: the byte before this block is a backslash that waits; escapes so far */
  size_t i = 0;
  for (; size - i > 64; i += 64) {
    avx2_vector v = avx2_load(data + i), w = avx2_load(data + i + 32);
    uint64_t slashes = avx2_mask(avx2_eq(v, '\\')) | (uint64_t)avx2_mask(avx2_eq(w, '\\')) << 32;
    uint64_t plain = avx2_short_escapes(v) | (uint64_t)avx2_short_escapes(w) << 32;
    avx2_vector low = avx2_or(avx2_or(avx2_eq(v, '"'), avx2_below(v, 0x20)), v);
    avx2_vector high = avx2_or(avx2_or(avx2_eq(w, '"'), avx2_below(w, 0x20)), w);
    uint64_t stops = avx2_mask(low) | (uint64_t)avx2_mask(high) << 32;
    /* Behind each backslash that is not escaped itself: runs of them by an addition, from odd places and from even ones. */
    uint64_t begin = slashes & ~pending, behind = begin << 1 | pending, odd = begin & ~even & ~behind, runs;
    pending = __builtin_add_overflow(odd, begin, &runs);
    uint64_t after = (even ^ runs << 1) & behind;
    uint64_t bad = after & ~plain;
    stops = (stops & ~after) | bad >> 1;
    if ((stops | (bad & 1)) == 0) {
      any |= after;
      continue;
    }
    if (bad & 1) {
      *escaped |= any != 0;
      return i - 1;
    }
    size_t at = (size_t)__builtin_ctzll(stops);
    *escaped |= (any | (after & (((uint64_t)1 << at) - 1))) != 0;
    return i + at;
  }
  i -= pending; /* from its backslash on */
  *escaped |= any != 0;
  for (;;) {
    i += avx2_find_string_stop(data + i, size - i);
    if (size - i < 2 || data[i] != '\\' || !short_escape[data[i + 1]])
      return i;
    *escaped = 1;
    i += 2;
  }
}

AVX2 static size_t avx2_utf8_prefix(const uint8_t *data, size_t size) PREFIX_BODY(avx2, avx2_find_high)

    AVX2 static size_t avx2_utf8_count(const uint8_t *data, size_t size) {
  size_t count = 0, i = 0;
  const __m256i last = _mm256_set1_epi8((char)0xBF);
  for (; i + 32 <= size; i += 32)
    count += (size_t)__builtin_popcount((uint32_t)_mm256_movemask_epi8(_mm256_cmpgt_epi8(avx2_load(data + i), last)));
  return count + scalar_utf8_count(data + i, size - i);
}
TABLE(avx2)

#elif defined(__aarch64__)
#include <arm_neon.h>

#define neon_WIDTH 16
typedef uint8x16_t neon_vector;
#define neon_load(at) vld1q_u8(at)
#define neon_eq(v, c) vceqq_u8(v, vdupq_n_u8((uint8_t)(c)))
#define neon_or(a, b) vorrq_u8(a, b)
#define neon_below(v, c) vcltq_u8(v, vdupq_n_u8(c))
#define neon_high(v) vcgeq_u8(v, vdupq_n_u8(0x80))
#define neon_fold(v) vorrq_u8(v, vdupq_n_u8(0x20))
/* Four bits a byte: AArch64 has no movemask, the narrowing shift is its short form. */
#define neon_mask(m) vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(m), 4)), 0)
static inline size_t neon_either(uint64_t low, uint64_t high, size_t gap) {
  return low ? (size_t)__builtin_ctzll(low) >> 2 : gap + ((size_t)__builtin_ctzll(high) >> 2);
}
FINDERS(neon, , scalar)

static size_t neon_find_string_break(const uint8_t *data, size_t size, int *escaped) BREAK_BODY(neon_find_string_stop)

    static size_t neon_utf8_prefix(const uint8_t *data, size_t size) PREFIX_BODY(neon, neon_find_high)

        static size_t neon_utf8_count(const uint8_t *data, size_t size) {
  size_t count = 0, i = 0;
  for (; i + 16 <= size; i += 16) {
    int8x16_t v = vreinterpretq_s8_u8(neon_load(data + i));
    count += vaddvq_u8(vshrq_n_u8(vcgtq_s8(v, vdupq_n_s8(-65)), 7));
  }
  return count + scalar_utf8_count(data + i, size - i);
}
TABLE(neon)
#endif

/* ---- the choice ---------------------------------------------------------------------------------------------------------- */

const oisp_scan *oisp_scan_named(const char *name) {
  if (strcmp(name, "scalar") == 0)
    return &scalar_table;
#if defined(__x86_64__)
  if (strcmp(name, "sse2") == 0)
    return &sse2_table;
  __builtin_cpu_init();
  if (strcmp(name, "avx2") == 0 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi"))
    return &avx2_table;
#elif defined(__aarch64__)
  if (strcmp(name, "neon") == 0)
    return &neon_table;
#endif
  return NULL;
}

const oisp_scan *oisp_scan_best(void) {
  static const char *const order[] = {"avx2", "neon", "sse2", "scalar"};
  const char *asked = oisp_simd_asked();
  if (asked != NULL && oisp_scan_named(asked) != NULL)
    return oisp_scan_named(asked);
  for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
    const oisp_scan *table = oisp_scan_named(order[i]);
    if (table != NULL)
      return table;
  }
  return &scalar_table;
}
