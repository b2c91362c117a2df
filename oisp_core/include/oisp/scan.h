/* SPDX-License-Identifier: Apache-2.0
 *
 * Byte scanning, chosen once at import: AVX2, SSE2 or NEON, or the scalar twin that each of them must equal.
 * None of them reads a byte outside [data, data + size).
 */
#ifndef OISP_SCAN_H
#define OISP_SCAN_H

#include <stddef.h>
#include <stdint.h>

typedef struct oisp_scan {
  const char *name;
  /* index of the first `byte`, or size */
  size_t (*find)(const uint8_t *data, size_t size, uint8_t byte);
  /* index of the first CR or LF, or size */
  size_t (*find_eol)(const uint8_t *data, size_t size);
  /* index of the first byte that a JSON string cannot hold as plain ASCII: quote, backslash, < 0x20 or >= 0x80; or size */
  size_t (*find_string_stop)(const uint8_t *data, size_t size);
  /* the same, but escapes of two bytes (a backslash and one of "\/bfnrt) are passed over, and *escaped set where there was
   * one: long texts hold a line break every hundred bytes */
  size_t (*find_string_break)(const uint8_t *data, size_t size, int *escaped);
  /* index of the first quote, backslash or byte < 0x20, or size (bytes >= 0x80 are passed over) */
  size_t (*find_quote)(const uint8_t *data, size_t size);
  /* index of the first of " { } [ ] or size: for skipping */
  size_t (*find_structure)(const uint8_t *data, size_t size);
  /* length of the longest valid UTF-8 prefix (RFC 3629: no surrogates, no overlong forms, up to U+10FFFF) */
  size_t (*utf8_prefix)(const uint8_t *data, size_t size);
  /* code points in valid UTF-8 */
  size_t (*utf8_count)(const uint8_t *data, size_t size);
} oisp_scan;

/* scan.c: the best of this processor; by name ("scalar", "sse2", "avx2", "neon") NULL if it is not available. */
const oisp_scan *oisp_scan_best(void);
const oisp_scan *oisp_scan_named(const char *name);

#endif
