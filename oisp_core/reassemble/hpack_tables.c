/* SPDX-License-Identifier: Apache-2.0
 *
 * The static table and the Huffman decoder. The code is canonical (codes of one length are consecutive, in order of their
 * symbols), so that the lengths of RFC 7541 appendix B are all of it. Twelve bits are looked up at a time and give one or two
 * symbols; longer codes, which header text hardly has, are found by comparing with the last code of each length.
 *
 * Bits are held inverted: the zeros that a shift brings in are then the ones that pad a string (section 5.2), and what would
 * reach beyond its end is seen once, there, instead of at every symbol.
 */
#include "oisp/hpack_tables.h"
#include <string.h>

#define S(name, value) {name, value, sizeof(name) - 1, sizeof(value) - 1}
const oisp_hpack_static oisp_hpack_statics[OISP_HPACK_STATIC + 1] = {
    {NULL, NULL, 0, 0},
    S(":authority", ""),
    S(":method", "GET"),
    S(":method", "POST"),
    S(":path", "/"),
    S(":path", "/index.html"),
    S(":scheme", "http"),
    S(":scheme", "https"),
    S(":status", "200"),
    S(":status", "204"),
    S(":status", "206"),
    S(":status", "304"),
    S(":status", "400"),
    S(":status", "404"),
    S(":status", "500"),
    S("accept-charset", ""),
    S("accept-encoding", "gzip, deflate"),
    S("accept-language", ""),
    S("accept-ranges", ""),
    S("accept", ""),
    S("access-control-allow-origin", ""),
    S("age", ""),
    S("allow", ""),
    S("authorization", ""),
    S("cache-control", ""),
    S("content-disposition", ""),
    S("content-encoding", ""),
    S("content-language", ""),
    S("content-length", ""),
    S("content-location", ""),
    S("content-range", ""),
    S("content-type", ""),
    S("cookie", ""),
    S("date", ""),
    S("etag", ""),
    S("expect", ""),
    S("expires", ""),
    S("from", ""),
    S("host", ""),
    S("if-match", ""),
    S("if-modified-since", ""),
    S("if-none-match", ""),
    S("if-range", ""),
    S("if-unmodified-since", ""),
    S("last-modified", ""),
    S("link", ""),
    S("location", ""),
    S("max-forwards", ""),
    S("proxy-authenticate", ""),
    S("proxy-authorization", ""),
    S("range", ""),
    S("referer", ""),
    S("refresh", ""),
    S("retry-after", ""),
    S("server", ""),
    S("set-cookie", ""),
    S("strict-transport-security", ""),
    S("transfer-encoding", ""),
    S("user-agent", ""),
    S("vary", ""),
    S("via", ""),
    S("www-authenticate", ""),
};

enum { SYMBOLS = 257, EOS = 256, LONGEST = 30, LOOK = 12 };

static const uint8_t lengths[SYMBOLS] = {
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6,  10, 10, 12, 13, 6,  8,  11, 10, 10, 8,  11, 8,  6,  6,  6,  5,  5,  5,  6,  6,  6,  6,  6,  6,  6,
    7,  8,  15, 6,  12, 10, 13, 6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,
    7,  8,  7,  8,  13, 19, 13, 14, 6,  15, 5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,  6,  7,  6,  5,
    5,  6,  7,  7,  7,  7,  7,  15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24,
    24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22,
    23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26,
    27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23,
    22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
};
typedef struct look {
  uint8_t symbols[2];
  uint8_t
      first; /* bits of the first symbol, and in the upper half how many symbols: 0 where the code is longer than LOOK */
  uint8_t bits; /* of all */
} look;

static inline int look_count(const look *l) { return l->first >> 4; }

static look looks[1 << LOOK]; /* by inverted bits */
static uint16_t by_code[SYMBOLS]; /* symbols in the order of their codes */
static uint32_t first[LONGEST + 1]; /* code of each length */
static uint32_t index_of[LONGEST + 1]; /* in by_code, of that code */
static uint64_t beyond[LONGEST + 1]; /* all codes up to that length are below it, in the top bits of 64 */

static void order_symbols(void) {
  uint32_t code = 0, n = 0;
  for (int length = 1; length <= LONGEST; length++) {
    code <<= 1;
    first[length] = code;
    index_of[length] = n;
    for (int s = 0; s < SYMBOLS; s++) {
      if (lengths[s] == length) {
        by_code[n++] = (uint16_t)s;
        code++;
      }
    }
    beyond[length] = (uint64_t)code << (64 - length);
  }
}

/* The symbol at the top of `bits`, and its length. */
static inline int symbol_at(uint64_t bits, int shortest, int *length) {
  int n = shortest;
  while (n < LONGEST && bits >= beyond[n])
    n++;
  *length = n;
  return by_code[index_of[n] + (uint32_t)(bits >> (64 - n)) - first[n]];
}

void oisp_huffman_build(void) {
  order_symbols();
  for (uint32_t i = 0; i < 1 << LOOK; i++) {
    uint64_t bits = (uint64_t)i << (64 - LOOK);
    look *l = &looks[(1 << LOOK) - 1 - i];
    int count = 0, first = 0;
    memset(l, 0, sizeof *l);
    while (count < 2) {
      int length;
      int symbol = symbol_at(bits << l->bits, 5, &length);
      if (l->bits + length > LOOK)
        break;
      first = count ? first : length;
      l->symbols[count++] = (uint8_t)symbol;
      l->bits = (uint8_t)(l->bits + length);
    }
    l->first = (uint8_t)(count << 4 | first);
  }
}

static inline uint64_t load(const uint8_t *from) {
  uint64_t word;
  memcpy(&word, from, 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  word = __builtin_bswap64(word);
#endif
  return word;
}

/* The last bytes from `at` on, eight at most, as the top of a word: inverted, and zeros behind them. */
static inline uint64_t load_last(const uint8_t *data, size_t size, size_t at) {
  uint64_t word = 0;
  if (size >= 8)
    return ~load(data + size - 8) << (8 * (at - (size - 8)));
  for (size_t i = at; i < size; i++)
    word |= (uint64_t)(uint8_t)~data[i] << (56 - 8 * (i - at));
  return word;
}

/* The end of a string: all of its bits from `pos` on, fewer than 64. */
static size_t decode_last(const uint8_t *data, size_t size, size_t pos, uint8_t *to) {
  uint8_t *out = to;
  int left = (int)(8 * size - pos), length;
  uint64_t bits = left ? load_last(data, size, pos >> 3) << (pos & 7) : 0;
  for (;;) {
    const look *l = &looks[bits >> (64 - LOOK)];
    if (look_count(l)) {
      memcpy(out, l->symbols, 2);
      out += look_count(l);
      bits <<= l->bits;
      left -= l->bits;
      continue;
    }
    if (left < 8) /* padding, all of it ones; below 0 where a symbol reached into it */
      return left < 0 || bits ? SIZE_MAX : (size_t)(out - to);
    int symbol = symbol_at(~bits, LOOK + 1, &length);
    if (symbol == EOS || length > left)
      return SIZE_MAX;
    *out++ = (uint8_t)symbol;
    bits <<= length;
    left -= length;
  }
}

size_t oisp_huffman_decode(const uint8_t *data, size_t size, uint8_t *to) {
  uint8_t *out = to;
  size_t pos = 0; /* in bits */
  while (8 * size - pos >= 64) {
    uint64_t bits = ~load(data + (pos >> 3)) << (pos & 7); /* 57 of them at least */
    const look *l = &looks[bits >> (64 - LOOK)];
    if (!look_count(l)) {
      int length, symbol = symbol_at(~bits, LOOK + 1, &length);
      if (symbol == EOS)
        return SIZE_MAX;
      *out++ = (uint8_t)symbol;
      pos += (size_t)length;
      continue;
    }
    for (int i = 0; i < 4 && look_count(l); i++) {
      memcpy(out, l->symbols, 2);
      out += look_count(l);
      bits <<= l->bits;
      pos += l->bits;
      l = &looks[bits >> (64 - LOOK)];
    }
  }
  size_t rest = decode_last(data, size, pos, out);
  return rest == SIZE_MAX ? SIZE_MAX : (size_t)(out - to) + rest;
}
