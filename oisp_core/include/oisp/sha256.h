/* SPDX-License-Identifier: Apache-2.0
 *
 * SHA-256 (FIPS 180-4) and HMAC-SHA-256 (RFC 2104), streaming, without allocation. The compression function is chosen
 * once when the library is loaded: SHA-NI, ARMv8 crypto, or the portable twin that each of them must equal.
 * Not a password hash, and not constant-time with respect to lengths.
 */
#ifndef OISP_SHA256_H
#define OISP_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef void (*oisp_sha256_compress)(uint32_t state[8], const uint8_t *data, size_t blocks);

typedef struct oisp_sha256 {
  oisp_sha256_compress compress;
  uint64_t size;     /* bytes taken so far */
  uint32_t state[8];
  uint8_t block[64]; /* the last size % 64 bytes */
} oisp_sha256;

/* The compression of this processor by name ("portable", "sha-ni", "armv8"); NULL when it is not available. */
oisp_sha256_compress oisp_sha256_named(const char *name);
/* Two independent streams at once: where each round waits for the one before it, the other's fills the time. NULL where
 * the chosen compression has no such form. */
typedef void (*oisp_sha256_compress_two)(uint32_t a[8], const uint8_t *a_data, uint32_t b[8], const uint8_t *b_data,
                                         size_t blocks);
oisp_sha256_compress_two oisp_sha256_two(void);
/* The name of the one that was chosen. */
const char *oisp_sha256_backend(void);

void oisp_sha256_init(oisp_sha256 *h);
void oisp_sha256_init_with(oisp_sha256 *h, oisp_sha256_compress compress);
void oisp_sha256_update(oisp_sha256 *h, const void *data, size_t size);
/* Writes the digest and wipes the state. */
void oisp_sha256_final(oisp_sha256 *h, uint8_t digest[32]);

/* HMAC with a key already padded (or hashed, then padded) to 64 bytes, see oisp_hmac_key. */
void oisp_hmac_init(oisp_sha256 *h, const uint8_t key[64]);
void oisp_hmac_final(oisp_sha256 *h, const uint8_t key[64], uint8_t digest[32]);
void oisp_hmac_key(uint8_t out[64], const void *key, size_t size);

#endif
