/* SPDX-License-Identifier: Apache-2.0
 *
 * SipHash-1-3 (keyed, so that a peer cannot aim at one bucket) and an open-addressing map from 64-bit keys to pointers with
 * backward-shift deletion. Header-only; not thread-safe; a NULL value means an empty slot.
 */
#ifndef OISP_HASH_H
#define OISP_HASH_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define OISP_ROTATE(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

static inline void oisp_sip_round(uint64_t v[4]) {
  v[0] += v[1], v[1] = OISP_ROTATE(v[1], 13), v[1] ^= v[0], v[0] = OISP_ROTATE(v[0], 32);
  v[2] += v[3], v[3] = OISP_ROTATE(v[3], 16), v[3] ^= v[2];
  v[0] += v[3], v[3] = OISP_ROTATE(v[3], 21), v[3] ^= v[0];
  v[2] += v[1], v[1] = OISP_ROTATE(v[1], 17), v[1] ^= v[2], v[2] = OISP_ROTATE(v[2], 32);
}

static inline uint64_t oisp_hash(const uint64_t key[2], const uint8_t *data, size_t size) {
  uint64_t v[4] = {key[0] ^ 0x736f6d6570736575ULL, key[1] ^ 0x646f72616e646f6dULL, key[0] ^ 0x6c7967656e657261ULL,
                   key[1] ^ 0x7465646279746573ULL};
  size_t whole = size & ~(size_t)7;
  uint64_t word;
  for (size_t i = 0; i < whole; i += 8) {
    memcpy(&word, data + i, 8);
    v[3] ^= word;
    oisp_sip_round(v);
    v[0] ^= word;
  }
  word = (uint64_t)size << 56;
  for (size_t i = whole; i < size; i++)
    word |= (uint64_t)data[i] << (8 * (i - whole));
  v[3] ^= word;
  oisp_sip_round(v);
  v[0] ^= word;
  v[2] ^= 0xff;
  for (int i = 0; i < 3; i++)
    oisp_sip_round(v);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

typedef struct oisp_table {
  uint64_t *keys;
  void **values;
  uint32_t mask; /* slots - 1; slots is a power of two, or 0 before the first put */
  uint32_t count;
} oisp_table;

static inline uint32_t oisp_table_slot(const oisp_table *m, uint64_t key) {
  uint64_t h = key * 0x9e3779b97f4a7c15ULL;
  return (uint32_t)(h >> 32) & m->mask;
}

static inline void *oisp_table_get(const oisp_table *m, uint64_t key) {
  if (m->values == NULL)
    return NULL;
  for (uint32_t i = oisp_table_slot(m, key);; i = (i + 1) & m->mask) {
    if (m->values[i] == NULL)
      return NULL;
    if (m->keys[i] == key)
      return m->values[i];
  }
}

static inline int oisp_table_grow(oisp_table *m) {
  uint32_t slots = m->values == NULL ? 64 : (m->mask + 1) * 2;
  oisp_table to = {malloc(slots * sizeof(uint64_t)), calloc(slots, sizeof(void *)), slots - 1, m->count};
  if (to.keys == NULL || to.values == NULL) {
    free(to.keys);
    free(to.values);
    return 0;
  }
  for (uint32_t i = 0; m->values != NULL && i <= m->mask; i++) {
    if (m->values[i] == NULL)
      continue;
    uint32_t j = oisp_table_slot(&to, m->keys[i]);
    while (to.values[j] != NULL)
      j = (j + 1) & to.mask;
    to.keys[j] = m->keys[i];
    to.values[j] = m->values[i];
  }
  free(m->keys);
  free(m->values);
  *m = to;
  return 1;
}

/* 1 on success. The key must not be in the map. */
static inline int oisp_table_put(oisp_table *m, uint64_t key, void *value) {
  if ((m->values == NULL || (m->count + 1) * 4 > (m->mask + 1) * 3) && !oisp_table_grow(m))
    return 0;
  uint32_t i = oisp_table_slot(m, key);
  while (m->values[i] != NULL)
    i = (i + 1) & m->mask;
  m->keys[i] = key;
  m->values[i] = value;
  m->count++;
  return 1;
}

static inline void oisp_table_remove(oisp_table *m, uint64_t key) {
  if (m->values == NULL)
    return;
  uint32_t i = oisp_table_slot(m, key);
  while (m->values[i] != NULL && m->keys[i] != key)
    i = (i + 1) & m->mask;
  if (m->values[i] == NULL)
    return;
  m->count--;
  for (uint32_t j = i;;) {
    j = (j + 1) & m->mask;
    if (m->values[j] == NULL)
      break;
    uint32_t home = oisp_table_slot(m, m->keys[j]);
    if (((j - home) & m->mask) < ((j - i) & m->mask))
      continue;
    m->keys[i] = m->keys[j];
    m->values[i] = m->values[j];
    i = j;
  }
  m->values[i] = NULL;
}

static inline void oisp_table_free(oisp_table *m) {
  free(m->keys);
  free(m->values);
  memset(m, 0, sizeof *m);
}

#endif
