/* SPDX-License-Identifier: Apache-2.0
 *
 * The constants of RFC 7541: the static table (appendix A) and the Huffman code (appendix B). Immutable once
 * oisp_huffman_build() has run, which the module does when it is imported.
 */
#ifndef OISP_HPACK_TABLES_H
#define OISP_HPACK_TABLES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { OISP_HPACK_STATIC = 61 };

typedef struct oisp_hpack_static {
  const char *name;
  const char *value;
  uint8_t name_size;
  uint8_t value_size;
} oisp_hpack_static;

/* By index; the first is unused, as index 0 is. */
extern const oisp_hpack_static oisp_hpack_statics[OISP_HPACK_STATIC + 1];

void oisp_huffman_build(void);

/* Names and values are short: a call for each copy would cost more than the copy. The first and the last bytes, which
 * overlap where there are fewer than both. */
static inline void oisp_copy_short(uint8_t *to, const uint8_t *from, size_t size) {
  uint64_t a[4], b[4];
  if (size > 64) {
    memcpy(to, from, size);
  } else if (size >= 32) {
    memcpy(a, from, 32);
    memcpy(b, from + size - 32, 32);
    memcpy(to, a, 32);
    memcpy(to + size - 32, b, 32);
  } else if (size >= 16) {
    memcpy(a, from, 16);
    memcpy(b, from + size - 16, 16);
    memcpy(to, a, 16);
    memcpy(to + size - 16, b, 16);
  } else if (size >= 8) {
    memcpy(a, from, 8);
    memcpy(b, from + size - 8, 8);
    memcpy(to, a, 8);
    memcpy(to + size - 8, b, 8);
  } else if (size >= 4) {
    memcpy(a, from, 4);
    memcpy(b, from + size - 4, 4);
    memcpy(to, a, 4);
    memcpy(to + size - 4, b, 4);
  } else {
    for (size_t i = 0; i < size; i++)
      to[i] = from[i];
  }
}

/* Bytes that `to` must have for `size` coded ones: codes have 5 bits at least, and writes are made two bytes at a time. */
static inline size_t oisp_huffman_room(size_t size) { return size * 8 / 5 + 16; }

/* Number of bytes decoded, or SIZE_MAX where the input is not valid (EOS in it, or padding that is none: section 5.2). */
size_t oisp_huffman_decode(const uint8_t *data, size_t size, uint8_t *to);

#endif
