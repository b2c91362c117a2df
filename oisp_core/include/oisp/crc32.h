/* SPDX-License-Identifier: Apache-2.0
 *
 * CRC-32 of IEEE 802.3 (zlib's): eight bytes a step by tables, which are filled once, at import, and never change after; where
 * the processor multiplies without carries, 64 bytes a step (Gopal et al., "Fast CRC Computation for Generic Polynomials
 * Using PCLMULQDQ Instruction", Intel 2009, with the constants of the bit-reflected polynomial).
 */
#ifndef OISP_CRC32_H
#define OISP_CRC32_H

#include "simd.h"
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define OISP_CRC32_FOLDS 1
#include <immintrin.h>
#endif

static uint32_t oisp_crc32_table[8][256];
static int oisp_crc32_folds; /* the processor can */

static inline void oisp_crc32_prepare(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t c = i;
    for (int k = 0; k < 8; k++)
      c = c & 1 ? c >> 1 ^ UINT32_C(0xEDB88320) : c >> 1;
    oisp_crc32_table[0][i] = c;
  }
#ifdef OISP_CRC32_FOLDS
  __builtin_cpu_init();
  oisp_crc32_folds = oisp_simd_any() && __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
#endif
  for (uint32_t i = 0; i < 256; i++)
    for (int k = 1; k < 8; k++)
      oisp_crc32_table[k][i] = oisp_crc32_table[k - 1][i] >> 8 ^ oisp_crc32_table[0][oisp_crc32_table[k - 1][i] & 0xFF];
}

#ifdef OISP_CRC32_FOLDS
#define OISP_CRC32_TARGET __attribute__((target("pclmul,sse4.1")))

OISP_CRC32_TARGET static inline __m128i oisp_crc32_fold(__m128i x, __m128i k, const uint8_t *next) {
  __m128i y = _mm_xor_si128(_mm_clmulepi64_si128(x, k, 0x00), _mm_clmulepi64_si128(x, k, 0x11));
  return _mm_xor_si128(y, _mm_loadu_si128((const __m128i *)next));
}

/* 128 bits to 32: x^96, x^64 modulo the polynomial, then Barrett. */
OISP_CRC32_TARGET static inline uint32_t oisp_crc32_reduce(__m128i x) {
  const __m128i near = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0), k = _mm_set_epi64x(0, 0x0163cd6124);
  const __m128i poly = _mm_set_epi64x(0x01f7011641, 0x01db710641), low = _mm_setr_epi32(-1, 0, -1, 0);
  x = _mm_xor_si128(_mm_srli_si128(x, 8), _mm_clmulepi64_si128(x, near, 0x10));
  x = _mm_xor_si128(_mm_srli_si128(x, 4), _mm_clmulepi64_si128(_mm_and_si128(x, low), k, 0x00));
  __m128i q = _mm_clmulepi64_si128(_mm_and_si128(x, low), poly, 0x10);
  q = _mm_clmulepi64_si128(_mm_and_si128(q, low), poly, 0x00);
  return (uint32_t)_mm_extract_epi32(_mm_xor_si128(x, q), 1);
}

/* Of a multiple of 16 bytes, at least 64. `c`: inverted, as in the loops below. */
OISP_CRC32_TARGET static inline uint32_t oisp_crc32_many(uint32_t c, const uint8_t *data, size_t size) {
  const __m128i far = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4), near = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
  const uint8_t *end = data + size;
  __m128i x[4];
  for (int i = 0; i < 4; i++)
    x[i] = _mm_loadu_si128((const __m128i *)(data + 16 * i));
  x[0] = _mm_xor_si128(x[0], _mm_cvtsi32_si128((int)c));
  for (data += 64; end - data >= 64; data += 64)
    for (int i = 0; i < 4; i++)
      x[i] = oisp_crc32_fold(x[i], far, data + 16 * i);
  for (int i = 1; i < 4; i++) {
    __m128i y = _mm_xor_si128(_mm_clmulepi64_si128(x[0], near, 0x00), _mm_clmulepi64_si128(x[0], near, 0x11));
    x[0] = _mm_xor_si128(y, x[i]);
  }
  for (; data < end; data += 16)
    x[0] = oisp_crc32_fold(x[0], near, data);
  return oisp_crc32_reduce(x[0]);
}
#endif

/* Of more bytes, after those that gave `crc` (0 at the start). */
static inline uint32_t oisp_crc32(uint32_t crc, const uint8_t *data, size_t size) {
  uint32_t c = ~crc;
#ifdef OISP_CRC32_FOLDS
  if (size >= 64 && oisp_crc32_folds) {
    size_t many = size & ~(size_t)15;
    c = oisp_crc32_many(c, data, many);
    data += many;
    size -= many;
  }
#endif
  for (; size >= 8; data += 8, size -= 8) {
    uint32_t low = (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
    low ^= c;
    c = oisp_crc32_table[7][low & 0xFF] ^ oisp_crc32_table[6][low >> 8 & 0xFF] ^ oisp_crc32_table[5][low >> 16 & 0xFF] ^
        oisp_crc32_table[4][low >> 24] ^ oisp_crc32_table[3][data[4]] ^ oisp_crc32_table[2][data[5]] ^
        oisp_crc32_table[1][data[6]] ^ oisp_crc32_table[0][data[7]];
  }
  for (; size; data++, size--)
    c = c >> 8 ^ oisp_crc32_table[0][(c ^ *data) & 0xFF];
  return ~c;
}

#endif
