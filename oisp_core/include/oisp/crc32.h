/* SPDX-License-Identifier: Apache-2.0
 *
 * CRC-32 of IEEE 802.3 (zlib's), eight bytes a step. The tables are filled once, at import, and never change after.
 */
#ifndef OISP_CRC32_H
#define OISP_CRC32_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static uint32_t oisp_crc32_table[8][256];

static inline void oisp_crc32_prepare(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t c = i;
    for (int k = 0; k < 8; k++)
      c = c & 1 ? c >> 1 ^ UINT32_C(0xEDB88320) : c >> 1;
    oisp_crc32_table[0][i] = c;
  }
  for (uint32_t i = 0; i < 256; i++)
    for (int k = 1; k < 8; k++)
      oisp_crc32_table[k][i] = oisp_crc32_table[k - 1][i] >> 8 ^ oisp_crc32_table[0][oisp_crc32_table[k - 1][i] & 0xFF];
}

/* Of more bytes, after those that gave `crc` (0 at the start). */
static inline uint32_t oisp_crc32(uint32_t crc, const uint8_t *data, size_t size) {
  uint32_t c = ~crc;
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
