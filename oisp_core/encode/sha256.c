/* SPDX-License-Identifier: Apache-2.0
 *
 * SHA-256 in three forms: portable C as FIPS 180-4 writes it, the SHA extensions of x86, and those of ARMv8.
 */
#include "oisp/sha256.h"
#include "oisp/buffer.h"
#include "oisp/simd.h"

#include <string.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#include <immintrin.h>
#define OISP_SHA_NI 1
#elif defined(__aarch64__) && defined(__linux__)
#include <arm_neon.h>
#include <sys/auxv.h>
#define OISP_SHA_ARMV8 1
#ifndef HWCAP_SHA2
#define HWCAP_SHA2 (1 << 6)
#endif
#endif

static const uint32_t K[64] __attribute__((aligned(64))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static inline uint32_t load_be32(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void store_be32(uint8_t *p, uint32_t v) {
  p[0] = (uint8_t)(v >> 24);
  p[1] = (uint8_t)(v >> 16);
  p[2] = (uint8_t)(v >> 8);
  p[3] = (uint8_t)v;
}

static inline uint32_t rotr(uint32_t v, int n) { return v >> n | v << (32 - n); }

static void compress_portable(uint32_t state[8], const uint8_t *data, size_t blocks) {
  for (; blocks > 0; blocks--, data += 64) {
    uint32_t w[64];
    for (int i = 0; i < 16; i++)
      w[i] = load_be32(data + 4 * i);
    for (int i = 16; i < 64; i++) {
      uint32_t a = w[i - 15], b = w[i - 2];
      w[i] = w[i - 16] + (rotr(a, 7) ^ rotr(a, 18) ^ a >> 3) + w[i - 7] + (rotr(b, 17) ^ rotr(b, 19) ^ b >> 10);
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; i++) {
      uint32_t t1 = h + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i];
      uint32_t t2 = (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g;
      g = f;
      f = e;
      e = d + t1;
      d = c;
      c = b;
      b = a;
      a = t1 + t2;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
    oisp_wipe(w, sizeof w);
  }
}

#ifdef OISP_SHA_NI
/* The instructions want the state as ABEF and CDGH, and do two rounds each. */
#define SHA_NI __attribute__((target("sha,sse4.1,ssse3")))

typedef struct pair { /* of the state, as the instructions want it */
  __m128i abef, cdgh;
} pair;

SHA_NI static inline pair state_load(const uint32_t state[8]) {
  __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xb1);
  __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1b);
  return (pair){_mm_alignr_epi8(cdab, efgh, 8), _mm_blend_epi16(efgh, cdab, 0xf0)};
}

SHA_NI static inline void state_store(uint32_t state[8], pair s) {
  __m128i feba = _mm_shuffle_epi32(s.abef, 0x1b);
  __m128i dchg = _mm_shuffle_epi32(s.cdgh, 0xb1);
  _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(feba, dchg, 0xf0));
  _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

SHA_NI static inline void words_load(__m128i m[4], const uint8_t *data) {
  const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
  for (int i = 0; i < 4; i++)
    m[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data + 16 * i)), swap);
}

/* Rounds 4i to 4i+3. The words of rounds 4(i+4) to 4(i+4)+3 take the place of those just used. */
#define FOUR_ROUNDS(s, m, i) \
  { \
    __m128i wk = _mm_add_epi32(m[(i) & 3], _mm_load_si128((const __m128i *)(K + 4 * (i)))); \
    s.cdgh = _mm_sha256rnds2_epu32(s.cdgh, s.abef, wk); \
    if ((i) < 12) { \
      __m128i next = _mm_sha256msg1_epu32(m[(i) & 3], m[((i) + 1) & 3]); \
      next = _mm_add_epi32(next, _mm_alignr_epi8(m[((i) + 3) & 3], m[((i) + 2) & 3], 4)); \
      m[(i) & 3] = _mm_sha256msg2_epu32(next, m[((i) + 3) & 3]); \
    } \
    s.abef = _mm_sha256rnds2_epu32(s.abef, s.cdgh, _mm_shuffle_epi32(wk, 0x0e)); \
  }

SHA_NI static void compress_sha_ni(uint32_t state[8], const uint8_t *data, size_t blocks) {
  pair s = state_load(state);
  for (; blocks > 0; blocks--, data += 64) {
    const pair before = s;
    __m128i m[4];
    words_load(m, data);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
      FOUR_ROUNDS(s, m, i)
    s.abef = _mm_add_epi32(s.abef, before.abef);
    s.cdgh = _mm_add_epi32(s.cdgh, before.cdgh);
  }
  state_store(state, s);
}

SHA_NI static void compress_sha_ni_two(uint32_t a[8], const uint8_t *a_data, uint32_t b[8], const uint8_t *b_data,
                                       size_t blocks) {
  pair s = state_load(a), t = state_load(b);
  for (; blocks > 0; blocks--, a_data += 64, b_data += 64) {
    const pair s_before = s, t_before = t;
    __m128i m[4], n[4];
    words_load(m, a_data);
    words_load(n, b_data);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
      FOUR_ROUNDS(s, m, i)
      FOUR_ROUNDS(t, n, i)
    }
    s.abef = _mm_add_epi32(s.abef, s_before.abef);
    s.cdgh = _mm_add_epi32(s.cdgh, s_before.cdgh);
    t.abef = _mm_add_epi32(t.abef, t_before.abef);
    t.cdgh = _mm_add_epi32(t.cdgh, t_before.cdgh);
  }
  state_store(a, s);
  state_store(b, t);
}

static int have_sha_ni(void) {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_1) || !(c & bit_SSSE3))
    return 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & 1u << 29);
}
#endif

#ifdef OISP_SHA_ARMV8
__attribute__((target("+crypto"))) static void compress_armv8(uint32_t state[8], const uint8_t *data, size_t blocks) {
  uint32x4_t abcd = vld1q_u32(state), efgh = vld1q_u32(state + 4);
  for (; blocks > 0; blocks--, data += 64) {
    const uint32x4_t abcd_before = abcd, efgh_before = efgh;
    uint32x4_t m[4];
    for (int i = 0; i < 4; i++)
      m[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(data + 16 * i)));
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
      uint32x4_t wk = vaddq_u32(m[i & 3], vld1q_u32(K + 4 * i));
      if (i < 12)
        m[i & 3] = vsha256su1q_u32(vsha256su0q_u32(m[i & 3], m[(i + 1) & 3]), m[(i + 2) & 3], m[(i + 3) & 3]);
      uint32x4_t abcd_now = abcd;
      abcd = vsha256hq_u32(abcd, efgh, wk);
      efgh = vsha256h2q_u32(efgh, abcd_now, wk);
    }
    abcd = vaddq_u32(abcd, abcd_before);
    efgh = vaddq_u32(efgh, efgh_before);
  }
  vst1q_u32(state, abcd);
  vst1q_u32(state + 4, efgh);
}
#endif

static oisp_sha256_compress chosen = compress_portable;
static const char *chosen_name = "portable";

/* Runs when the library is loaded, before any other thread can see it; read-only from then on. */
__attribute__((constructor)) static void choose(void) {
  static const char *const names[] = {"sha-ni", "armv8"};
  if (!oisp_simd_any())
    return;
  for (int i = 0; i < 2; i++) {
    oisp_sha256_compress found = oisp_sha256_named(names[i]);
    if (found != NULL) {
      chosen = found;
      chosen_name = names[i];
    }
  }
}

oisp_sha256_compress oisp_sha256_named(const char *name) {
  if (strcmp(name, "portable") == 0)
    return compress_portable;
#ifdef OISP_SHA_NI
  if (strcmp(name, "sha-ni") == 0 && have_sha_ni())
    return compress_sha_ni;
#endif
#ifdef OISP_SHA_ARMV8
  if (strcmp(name, "armv8") == 0 && (getauxval(AT_HWCAP) & HWCAP_SHA2))
    return compress_armv8;
#endif
  return NULL;
}

oisp_sha256_compress_two oisp_sha256_two(void) {
#ifdef OISP_SHA_NI
  if (chosen == compress_sha_ni)
    return compress_sha_ni_two;
#endif
  return NULL;
}

const char *oisp_sha256_backend(void) { return chosen_name; }

void oisp_sha256_init_with(oisp_sha256 *h, oisp_sha256_compress compress) {
  static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  h->compress = compress;
  h->size = 0;
  memcpy(h->state, start, sizeof start);
}

void oisp_sha256_init(oisp_sha256 *h) { oisp_sha256_init_with(h, chosen); }

void oisp_sha256_update(oisp_sha256 *h, const void *data, size_t size) {
  const uint8_t *p = (const uint8_t *)data;
  size_t held = h->size & 63;
  if (size == 0)
    return;
  h->size += size;
  if (held) {
    size_t room = 64 - held, take = size < room ? size : room;
    memcpy(h->block + held, p, take);
    if (take < room)
      return;
    h->compress(h->state, h->block, 1);
    p += take;
    size -= take;
  }
  if (size >= 64)
    h->compress(h->state, p, size / 64);
  if (size & 63)
    memcpy(h->block, p + (size & ~(size_t)63), size & 63);
}

void oisp_sha256_final(oisp_sha256 *h, uint8_t digest[32]) {
  size_t held = h->size & 63;
  uint64_t bits = h->size * 8;
  h->block[held++] = 0x80;
  if (held > 56) {
    memset(h->block + held, 0, 64 - held);
    h->compress(h->state, h->block, 1);
    held = 0;
  }
  memset(h->block + held, 0, 56 - held);
  store_be32(h->block + 56, (uint32_t)(bits >> 32));
  store_be32(h->block + 60, (uint32_t)bits);
  h->compress(h->state, h->block, 1);
  for (int i = 0; i < 8; i++)
    store_be32(digest + 4 * i, h->state[i]);
  oisp_wipe(h, sizeof *h);
}

static void hmac_pad(oisp_sha256 *h, const uint8_t key[64], uint8_t with) {
  uint8_t pad[64];
  for (int i = 0; i < 64; i++)
    pad[i] = key[i] ^ with;
  oisp_sha256_init(h);
  oisp_sha256_update(h, pad, sizeof pad);
  oisp_wipe(pad, sizeof pad);
}

void oisp_hmac_init(oisp_sha256 *h, const uint8_t key[64]) { hmac_pad(h, key, 0x36); }

void oisp_hmac_final(oisp_sha256 *h, const uint8_t key[64], uint8_t digest[32]) {
  uint8_t inner[32];
  oisp_sha256_final(h, inner);
  hmac_pad(h, key, 0x5c);
  oisp_sha256_update(h, inner, sizeof inner);
  oisp_sha256_final(h, digest);
}

void oisp_hmac_key(uint8_t out[64], const void *key, size_t size) {
  memset(out, 0, 64);
  if (size <= 64) {
    if (size)
      memcpy(out, key, size);
    return;
  }
  oisp_sha256 h;
  oisp_sha256_init(&h);
  oisp_sha256_update(&h, key, size);
  oisp_sha256_final(&h, out);
}
