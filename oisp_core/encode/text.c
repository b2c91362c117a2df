/* SPDX-License-Identifier: Apache-2.0
 *
 * Text of the wire: digested, copied, checked. See oisp/text.h.
 */
#include "oisp/text.h"
#include "oisp/exchange.h"
#include "oisp/simd.h"

#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

static const uint8_t REPLACEMENT[3] = {0xef, 0xbf, 0xbd};

/* ---- UTF-8 ---- */

/* Length of the well-formed sequence at `p` (RFC 3629), or 0; then *bad is the length of the maximal subpart of an
 * ill-formed one, the stretch that one U+FFFD stands for (Unicode, chapter 3, conformance to D93b). */
static size_t utf8_one(const uint8_t *p, size_t size, size_t *bad) {
  uint8_t c = p[0], low = 0x80, high = 0xbf;
  size_t need;
  *bad = 1;
  if (c < 0x80)
    return 1;
  if (c >= 0xc2 && c <= 0xdf)
    need = 2;
  else if (c >= 0xe0 && c <= 0xef) {
    need = 3;
    if (c == 0xe0)
      low = 0xa0;
    if (c == 0xed)
      high = 0x9f;
  } else if (c >= 0xf0 && c <= 0xf4) {
    need = 4;
    if (c == 0xf0)
      low = 0x90;
    if (c == 0xf4)
      high = 0x8f;
  } else
    return 0;
  for (size_t i = 1; i < need; i++) {
    if (i >= size || p[i] < low || p[i] > high) {
      *bad = i;
      return 0;
    }
    low = 0x80;
    high = 0xbf;
  }
  return need;
}

static size_t utf8_write(uint8_t *out, uint32_t c) {
  if (c < 0x80) {
    out[0] = (uint8_t)c;
    return 1;
  }
  if (c < 0x800) {
    out[0] = (uint8_t)(0xc0 | c >> 6);
    out[1] = (uint8_t)(0x80 | (c & 63));
    return 2;
  }
  if (c < 0x10000) {
    out[0] = (uint8_t)(0xe0 | c >> 12);
    out[1] = (uint8_t)(0x80 | (c >> 6 & 63));
    out[2] = (uint8_t)(0x80 | (c & 63));
    return 3;
  }
  out[0] = (uint8_t)(0xf0 | c >> 18);
  out[1] = (uint8_t)(0x80 | (c >> 12 & 63));
  out[2] = (uint8_t)(0x80 | (c >> 6 & 63));
  out[3] = (uint8_t)(0x80 | (c & 63));
  return 4;
}

/* ---- escapes ---- */

/* The character that a short escape stands for, 0 for what is none. */
static const uint8_t SHORT[256] = {['b'] = 8, ['f'] = 12,  ['n'] = 10,    ['r'] = 13,
                                   ['t'] = 9, ['"'] = '"', ['\\'] = '\\', ['/'] = '/'};

/* 1 + value of a hex digit, 0 for what is none. */
static const uint8_t HEX[256] = {['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,
                                 ['6'] = 7,  ['7'] = 8,  ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12,
                                 ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16, ['A'] = 11, ['B'] = 12,
                                 ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16};

static inline int hex4(const uint8_t *p, uint32_t *out) {
  uint32_t a = HEX[p[0]], b = HEX[p[1]], c = HEX[p[2]], d = HEX[p[3]];
  *out = (a - 1) << 12 | (b - 1) << 8 | (c - 1) << 4 | (d - 1);
  return a && b && c && d;
}

/* The escape at p[0] == '\\' -> its code point (U+FFFD for what names none); answers the bytes it takes. */
static inline size_t unescape_one(const uint8_t *p, size_t size, uint32_t *out) {
  uint32_t high, low;
  *out = 0xfffd;
  if (size < 2)
    return size;
  if (SHORT[p[1]]) {
    *out = SHORT[p[1]];
    return 2;
  }
  if (p[1] != 'u' || size < 6 || !hex4(p + 2, &high))
    return 2;
  if (high < 0xd800 || high > 0xdfff) {
    *out = high;
    return 6;
  }
  if (high < 0xdc00 && size >= 12 && p[6] == '\\' && p[7] == 'u' && hex4(p + 8, &low) && low >= 0xdc00 &&
      low <= 0xdfff) {
    *out = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    return 12;
  }
  return 6;
}

#if defined(__SSE2__)
static inline unsigned count_bits(unsigned v) { /* of 16; the baseline has no instruction for it */
  v = v - (v >> 1 & 0x5555);
  v = (v & 0x3333) + (v >> 2 & 0x3333);
  v = (v + (v >> 4)) & 0x0f0f;
  return (v + (v >> 8)) & 31;
}
#endif

/* Copies text up to a backslash, the end, or `room` bytes and at most 15 more; answers how many, and adds the code points
 * that begin in them. `out` has 16 bytes more than `room`. */
static inline size_t copy_until_escape(uint8_t *out, size_t room, const uint8_t *in, size_t size, uint64_t *chars) {
  size_t i = 0, n = 0;
#if defined(__SSE2__)
  const __m128i slash = _mm_set1_epi8('\\'), last_continuation = _mm_set1_epi8((char)0xbf);
  __m128i sums = _mm_setzero_si128();
  while (i + 16 <= size && i < room) {
    __m128i v = _mm_loadu_si128((const __m128i *)(in + i));
    __m128i begins = _mm_cmpgt_epi8(v, last_continuation); /* all but 0x80..0xbf begin a code point */
    unsigned found = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, slash));
    _mm_storeu_si128((__m128i *)(out + i), v);
    if (found) {
      unsigned before = (unsigned)__builtin_ctz(found);
      n += count_bits((unsigned)_mm_movemask_epi8(begins) & ((1u << before) - 1));
      size = i += before;
      break;
    }
    sums = _mm_add_epi64(sums, _mm_sad_epu8(_mm_sub_epi8(_mm_setzero_si128(), begins), _mm_setzero_si128()));
    i += 16;
  }
  n += (size_t)_mm_cvtsi128_si32(sums) + (size_t)_mm_cvtsi128_si32(_mm_srli_si128(sums, 8));
#endif
  for (; i < size && i < room && in[i] != '\\'; i++) {
    out[i] = in[i];
    n += (in[i] & 0xc0) != 0x80;
  }
  *chars += n;
  return i;
}

/* How many bytes below 0x80 stand at `p`. */
static inline size_t ascii_run(const uint8_t *p, size_t size) {
  size_t i = 0;
#if defined(__SSE2__)
  for (; i + 16 <= size; i += 16) {
    unsigned high = (unsigned)_mm_movemask_epi8(_mm_loadu_si128((const __m128i *)(p + i)));
    if (high)
      return i + (size_t)__builtin_ctz(high);
  }
#endif
  while (i < size && p[i] < 0x80)
    i++;
  return i;
}

/* What a JSON string holds as it is, but for UTF-8, which has to be looked at. */
static inline int is_clean(uint8_t c) { return c >= 0x20 && c < 0x80 && c != '"' && c != '\\'; }

#if defined(__SSE2__)
/* A bit for each byte that is not. */
static inline unsigned unclean(__m128i v) {
  __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')), _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
  return (unsigned)_mm_movemask_epi8(
      _mm_or_si128(hit, _mm_cmplt_epi8(v, _mm_set1_epi8(0x20)))); /* signed: >= 0x80 too */
}
#endif

/* Copies what is clean, at most `size`; answers how many bytes. */
static inline size_t copy_clean(uint8_t *out, const uint8_t *p, size_t size) {
  size_t i = 0;
#if defined(__SSE2__)
  while (size - i >= 8) { /* by eight where sixteen are too many: names are short */
    int wide = size - i >= 16;
    __m128i v = wide ? _mm_loadu_si128((const __m128i *)(p + i)) : _mm_loadl_epi64((const __m128i *)(p + i));
    unsigned mask = unclean(v);
    if (wide)
      _mm_storeu_si128((__m128i *)(out + i), v);
    else
      _mm_storel_epi64((__m128i *)(out + i), v), mask &= 0xff;
    if (mask)
      return i + (size_t)__builtin_ctz(mask);
    i += wide ? 16 : 8;
  }
#endif
  for (; i < size && is_clean(p[i]); i++)
    out[i] = p[i];
  return i;
}

/* How many clean bytes stand at `p`. */
static inline size_t clean_run(const uint8_t *p, size_t size) {
  size_t i = 0;
#if defined(__SSE2__)
  for (; i + 16 <= size; i += 16) {
    unsigned mask = unclean(_mm_loadu_si128((const __m128i *)(p + i)));
    if (mask)
      return i + (size_t)__builtin_ctz(mask);
  }
#endif
  while (i < size && is_clean(p[i]))
    i++;
  return i;
}

/* The inside of a JSON string as what it means, until `room` bytes are made (and at most 31 more, in a buffer that has 64
 * bytes more) or the text ends. Answers how many; *from moves on. */
#define UNESCAPE_BODY(COPY) \
  { \
    const uint8_t *p = *from; \
    size_t used = 0; \
    uint64_t n = 0; \
    while (p < end && used < room) { \
      size_t took = COPY(out + used, room - used, p, (size_t)(end - p), &n); \
      used += took; \
      p += took; \
      while (p < end && *p == '\\' && used < room) { /* line breaks and quotes come in crowds */ \
        n++; \
        if (end - p >= 2 && SHORT[p[1]]) { \
          out[used++] = SHORT[p[1]]; \
          p += 2; \
          continue; \
        } \
        uint32_t c; \
        p += unescape_one(p, (size_t)(end - p), &c); \
        used += utf8_write(out + used, c); \
      } \
    } \
    *from = p; \
    *chars += n; \
    return used; \
  }
typedef size_t unescape_form(uint8_t *out, size_t room, const uint8_t **from, const uint8_t *end, uint64_t *chars);

static size_t unescape_any(uint8_t *out, size_t room, const uint8_t **from, const uint8_t *end, uint64_t *chars)
    UNESCAPE_BODY(copy_until_escape)

#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2,bmi,popcnt")))

    /* As copy_until_escape, by 32 bytes. */
    AVX2 static inline size_t
    copy_until_escape_avx2(uint8_t *out, size_t room, const uint8_t *in, size_t size, uint64_t *chars) {
  const __m256i slash = _mm256_set1_epi8('\\'), last_continuation = _mm256_set1_epi8((char)0xbf);
  size_t i = 0;
  while (i + 32 <= size && i < room) {
    __m256i v = _mm256_loadu_si256((const __m256i *)(in + i));
    uint32_t begins = (uint32_t)_mm256_movemask_epi8(_mm256_cmpgt_epi8(v, last_continuation));
    uint32_t found = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(v, slash));
    _mm256_storeu_si256((__m256i *)(out + i), v);
    if (found) {
      *chars += (uint64_t)__builtin_popcount(begins & ((found ^ (found - 1)) >> 1));
      return i + (size_t)__builtin_ctz(found);
    }
    *chars += (uint64_t)__builtin_popcount(begins);
    i += 32;
  }
  for (; i < size && i < room && in[i] != '\\'; i++) {
    out[i] = in[i];
    *chars += (in[i] & 0xc0) != 0x80;
  }
  return i;
}

AVX2 static size_t unescape_avx2(uint8_t *out, size_t room, const uint8_t **from, const uint8_t *end, uint64_t *chars)
    UNESCAPE_BODY(copy_until_escape_avx2)
#endif

        static unescape_form *unescape = unescape_any;

/* Runs when the library is loaded, before any other thread can see it; read-only from then on. */
__attribute__((constructor)) static void choose_unescape(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (oisp_simd_allows("avx2") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi"))
    unescape = unescape_avx2;
#endif
}

/* ---- digest ---- */

/* Text is unescaped a few blocks ahead of the hash, whose rounds wait for each other: with this little between them the
 * processor does both at once. */
enum { BLOCK = 128 };

typedef struct block {
  size_t used;
  uint8_t bytes[BLOCK + 64];
} block;

static inline void block_flush(oisp_digest *d, block *b) {
  oisp_sha256_update(&d->hash, b->bytes, b->used);
  d->bytes += b->used;
  b->used = 0;
}

/* Whole blocks of the hash leave, the rest moves to the front. */
static inline void block_pass(oisp_digest *d, block *b) {
  size_t whole = b->used & ~(size_t)63;
  oisp_sha256_update(&d->hash, b->bytes, whole);
  d->bytes += whole;
  memcpy(b->bytes, b->bytes + whole, 64);
  b->used -= whole;
}

static inline void block_room(oisp_digest *d, block *b, size_t need) {
  if (BLOCK + 32 - b->used < need)
    block_pass(d, b);
}

static void digest_string(oisp_digest *d, block *b, const uint8_t *p, size_t size) {
  const uint8_t *end = p + size;
  while (p < end) {
    if (b->used >= BLOCK)
      block_pass(d, b);
    b->used += unescape(b->bytes + b->used, BLOCK - b->used, &p, end, &d->chars);
  }
}

static void digest_plain(oisp_digest *d, block *b, const uint8_t *p, size_t size) {
  while (size > 0) {
    size_t bad, took = ascii_run(p, size);
    if (took >= 64) {
      block_flush(d, b);
      oisp_sha256_update(&d->hash, p, took);
      d->bytes += took;
      d->chars += took;
      p += took;
      size -= took;
      continue;
    }
    block_room(d, b, 64);
    if (took) {
      memcpy(b->bytes + b->used, p, took);
      b->used += took;
      d->chars += took - 1; /* and one below */
    } else if ((took = utf8_one(p, size, &bad)) != 0) {
      memcpy(b->bytes + b->used, p, took);
      b->used += took;
    } else {
      memcpy(b->bytes + b->used, REPLACEMENT, 3);
      b->used += 3;
      took = bad;
    }
    d->chars++;
    p += took;
    size -= took;
  }
}

static inline int is_blank(uint8_t c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

/* Length of the JSON string at `p` with its quotes; what is cut off ends with the input. */
static size_t string_length(const uint8_t *p, size_t size) {
  size_t i = 1;
  for (;;) {
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    for (; i + 16 <= size; i += 16) {
      __m128i v = _mm_loadu_si128((const __m128i *)(p + i));
      int found = _mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)));
      if (found) {
        i += (size_t)__builtin_ctz((unsigned)found);
        break;
      }
    }
#endif
    while (i < size && p[i] != '"' && p[i] != '\\')
      i++;
    if (i >= size)
      return size;
    if (p[i] == '"')
      return i + 1;
    i += 2;
    if (i >= size)
      return size;
  }
}

/* The next run of a JSON value without blanks between tokens: a whole string, or characters up to a string or blank. */
static size_t compact_run(const uint8_t *p, size_t size) {
  if (p[0] == '"')
    return string_length(p, size);
  size_t i = 0;
  while (i < size && p[i] != '"' && !is_blank(p[i]))
    i++;
  return i;
}

static void digest_json(oisp_digest *d, block *b, const uint8_t *p, size_t size) {
  while (size > 0) {
    if (is_blank(*p)) {
      p++;
      size--;
      continue;
    }
    size_t run = compact_run(p, size);
    digest_plain(d, b, p, run);
    p += run;
    size -= run;
  }
}

void oisp_digest_begin(oisp_digest *d, const uint8_t *key) {
  d->key = key;
  d->chars = d->bytes = 0;
  if (key != NULL)
    oisp_hmac_init(&d->hash, key);
  else
    oisp_sha256_init(&d->hash);
}

void oisp_digest_text(oisp_digest *d, int form, const uint8_t *data, size_t size) {
  block b;
  if (size == 0)
    return;
  b.used = 0;
  if (form == OISP_TEXT_STRING)
    digest_string(d, &b, data, size);
  else if (form == OISP_TEXT_JSON)
    digest_json(d, &b, data, size);
  else
    digest_plain(d, &b, data, size);
  block_flush(d, &b);
  oisp_wipe(b.bytes, sizeof b.bytes); /* content does not stay on the stack */
}

/* The first eight bytes of a digest, as events show them. */
static void put_hex(char hex[16], uint32_t first, uint32_t second) {
  static const char digits[] = "0123456789abcdef";
  for (int i = 0; i < 8; i++) {
    hex[i] = digits[first >> (28 - 4 * i) & 15];
    hex[8 + i] = digits[second >> (28 - 4 * i) & 15];
  }
}

static uint32_t word(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

void oisp_digest_end(oisp_digest *d, char hex[16]) {
  uint8_t digest[32];
  if (d->key != NULL)
    oisp_hmac_final(&d->hash, d->key, digest);
  else
    oisp_sha256_final(&d->hash, digest);
  put_hex(hex, word(digest), word(digest + 4));
}

/* ---- many digests: two lanes, each a text that is unescaped into a buffer while that is in the nearest cache ---- */

enum { LANE = 2048 };

typedef struct lane {
  oisp_digest d;
  oisp_digest_job *job; /* NULL: there was no more */
  const uint8_t *p, *end;
  size_t at, used; /* of the buffer: hashed, filled */
  int last; /* the text is in it to the end */
  uint8_t bytes[LANE + 256];
} lane;

/* The strings that no lane has begun: their `chars` is WAITS. Of a few the longest comes first, so that the lanes end
 * together; of many, any. */
#define WAITS UINT64_MAX
enum { FEW = 32 };

typedef struct queue {
  oisp_digest_job *jobs;
  uint32_t count, next;
  const uint8_t *key;
} queue;

static oisp_digest_job *queue_take(queue *q) {
  oisp_digest_job *best = NULL;
  uint32_t from = q->count <= FEW ? 0 : q->next;
  for (uint32_t i = from; i < q->count; i++) {
    oisp_digest_job *job = q->jobs + i;
    if (job->chars != WAITS || (best != NULL && job->size <= best->size))
      continue;
    best = job;
    q->next = i + 1;
    if (q->count > FEW)
      break;
  }
  if (best != NULL)
    best->chars = 0;
  return best;
}

static void digest_one(oisp_digest_job *job, const uint8_t *key) {
  oisp_digest d;
  oisp_digest_begin(&d, key);
  oisp_digest_text(&d, (int)job->form, job->data, job->size);
  job->chars = d.chars;
  job->bytes = d.bytes;
  oisp_digest_end(&d, job->hex);
}

static void lane_next(lane *l, queue *q) {
  l->job = queue_take(q);
  if (l->job == NULL)
    return;
  oisp_digest_begin(&l->d, q->key);
  l->p = l->job->data;
  l->end = l->p + l->job->size;
  l->at = l->used = 0;
  l->last = 0;
}

static void lane_fill(lane *l) {
  size_t rest = l->used - l->at;
  memmove(l->bytes, l->bytes + l->at, rest);
  l->at = 0;
  l->used = rest;
  if (l->p < l->end)
    l->used += unescape(l->bytes + rest, LANE - rest, &l->p, l->end, &l->d.chars);
  l->d.bytes += l->used - rest;
  if (l->p < l->end)
    return;
  l->last = 1;
  if (l->d.key != NULL)
    return;
  /* The end of SHA-256 stands in the buffer, so that it is not a block of its own that the other lane waits for. */
  uint64_t bits = l->d.bytes * 8;
  l->bytes[l->used++] = 0x80;
  while ((l->used & 63) != 56)
    l->bytes[l->used++] = 0;
  for (int i = 56; i >= 0; i -= 8)
    l->bytes[l->used++] = (uint8_t)(bits >> i);
}

static void lane_end(lane *l) {
  l->job->chars = l->d.chars;
  l->job->bytes = l->d.bytes;
  if (l->d.key != NULL) {
    oisp_sha256_update(&l->d.hash, l->bytes + l->at, l->used - l->at);
    oisp_digest_end(&l->d, l->job->hex);
    return;
  }
  put_hex(l->job->hex, l->d.hash.state[0], l->d.hash.state[1]);
  oisp_wipe(&l->d.hash, sizeof l->d.hash);
}

/* Whole blocks of this lane that wait, of its text or of the next one's. */
static size_t lane_ready(lane *l, queue *q) {
  while (l->job != NULL && l->used - l->at < 64) {
    if (!l->last)
      lane_fill(l);
    else {
      lane_end(l);
      lane_next(l, q);
    }
  }
  return l->job != NULL ? (l->used - l->at) / 64 : 0;
}

static inline const uint8_t *lane_take(lane *l, size_t blocks) {
  const uint8_t *data = l->bytes + l->at;
  l->at += blocks * 64;
  l->d.hash.size += blocks * 64;
  return data;
}

void oisp_digest_jobs(oisp_digest_job *jobs, uint32_t count, const uint8_t *key) {
  oisp_sha256_compress_two two = oisp_sha256_two();
  queue q = {jobs, count, 0, key};
  lane a, b;
  for (uint32_t i = 0; i < count; i++) {
    jobs[i].chars = jobs[i].form == OISP_TEXT_STRING ? WAITS : 0;
    if (jobs[i].form == OISP_TEXT_JSON || jobs[i].form == OISP_TEXT_PLAIN)
      digest_one(jobs + i, key);
  }
  b.job = NULL;
  lane_next(&a, &q);
  if (two != NULL)
    lane_next(&b, &q);
  for (;;) {
    size_t n = lane_ready(&a, &q), m = lane_ready(&b, &q);
    if (n && m) {
      size_t k = n < m ? n : m;
      two(a.d.hash.state, lane_take(&a, k), b.d.hash.state, lane_take(&b, k), k);
    } else if (n)
      a.d.hash.compress(a.d.hash.state, lane_take(&a, n), n);
    else if (m)
      b.d.hash.compress(b.d.hash.state, lane_take(&b, m), m);
    else
      break;
  }
  oisp_wipe(a.bytes, sizeof a.bytes); /* content does not stay on the stack */
  oisp_wipe(b.bytes, sizeof b.bytes);
}

/* ---- into a line ---- */

/* What a byte below 0x80 needs inside a JSON string: 0 nothing, 'u' the long form, else its short form. */
static inline uint8_t escape_of(uint8_t c) {
  switch (c) {
  case '"':
  case '\\':
    return c;
  case '\b':
    return 'b';
  case '\f':
    return 'f';
  case '\n':
    return 'n';
  case '\r':
    return 'r';
  case '\t':
    return 't';
  default:
    return c < 0x20 ? 'u' : 0;
  }
}

int oisp_put_plain(oisp_buffer *out, const uint8_t *data, size_t size) {
  static const char digits[] = "0123456789abcdef";
  if (!oisp_buffer_reserve(out, 6 * size))
    return 0;
  uint8_t *o = out->data + out->size;
  while (size > 0) {
    size_t bad, took = copy_clean(o, data, size);
    o += took;
    data += took;
    size -= took;
    if (size == 0)
      break;
    took = 1;
    uint8_t c = *data, escape;
    if (c >= 0x80) {
      took = utf8_one(data, size, &bad);
      const uint8_t *from = took ? data : REPLACEMENT;
      size_t length = took ? took : 3;
      memcpy(o, from, length);
      o += length;
      took = took ? took : bad;
    } else if ((escape = escape_of(c)) == 0)
      *o++ = c;
    else {
      *o++ = '\\';
      *o++ = escape;
      if (escape == 'u') {
        o[0] = '0';
        o[1] = '0';
        o[2] = (uint8_t)digits[c >> 4];
        o[3] = (uint8_t)digits[c & 15];
        o += 4;
      }
    }
    data += took;
    size -= took;
  }
  out->size = (uint32_t)(o - out->data);
  return 1;
}

int oisp_put_json(oisp_buffer *out, const uint8_t *data, size_t size) {
  if (!oisp_buffer_reserve(out, size))
    return 0;
  uint8_t *o = out->data + out->size;
  for (size_t i = 0; i < size; i++)
    o[i] = data[i] < 0x20 ? 0x20 : data[i];
  out->size += (uint32_t)size;
  return 1;
}

int oisp_put_compact(oisp_buffer *out, const uint8_t *data, size_t size) {
  while (size > 0) {
    if (is_blank(*data)) {
      data++;
      size--;
      continue;
    }
    size_t run = compact_run(data, size);
    if (!oisp_put_plain(out, data, run))
      return 0;
    data += run;
    size -= run;
  }
  return 1;
}

int oisp_put_unescaped(oisp_buffer *out, const uint8_t *data, size_t size) {
  const uint8_t *end = data + size;
  uint64_t chars = 0;
  if (!oisp_buffer_reserve(out,
                           size + 16 + 3)) /* an escape is never shorter than what it stands for, but for a cut one */
    return 0;
  uint8_t *o = out->data + out->size;
  while (data < end) {
    size_t took = copy_until_escape(o, (size_t)(end - data), data, (size_t)(end - data), &chars);
    o += took;
    data += took;
    if (data < end) {
      uint32_t c;
      size_t used = unescape_one(data, (size_t)(end - data), &c);
      /* `\x` and a cut escape are 1 or 2 bytes that become the 3 of U+FFFD: room may run short, so ask again */
      if ((size_t)(out->data + out->capacity - o) < (size_t)(end - data) + 16 + 4) {
        out->size = (uint32_t)(o - out->data);
        if (!oisp_buffer_reserve(out, (size_t)(end - data) * 2 + 32))
          return 0;
        o = out->data + out->size;
      }
      data += used;
      o += utf8_write(o, c);
    }
  }
  out->size = (uint32_t)(o - out->data);
  return 1;
}

/* ---- check ---- */

typedef struct check {
  const uint8_t *at, *end;
} check;

static void skip_blanks(check *c) {
  while (c->at < c->end && is_blank(*c->at))
    c->at++;
}

static int check_escape(check *c) {
  uint32_t code;
  size_t left = (size_t)(c->end - c->at);
  if (left < 2 || strchr("\"\\/bfnrtu", c->at[1]) == NULL || c->at[1] == 0)
    return 0;
  if (c->at[1] == 'u' && (left < 6 || !hex4(c->at + 2, &code)))
    return 0;
  size_t used = unescape_one(c->at, left, &code);
  if (code == 0xfffd) { /* an unpaired surrogate, unless U+FFFD itself is written */
    uint32_t written = 0;
    if (c->at[1] == 'u')
      hex4(c->at + 2, &written);
    if (written != 0xfffd)
      return 0;
  }
  c->at += used;
  return 1;
}

static int check_string(check *c) {
  for (c->at++; c->at < c->end;) {
    c->at += clean_run(c->at, (size_t)(c->end - c->at));
    if (c->at == c->end)
      return 0;
    uint8_t b = *c->at;
    size_t bad, took;
    if (b == '"') {
      c->at++;
      return 1;
    }
    if (b == '\\') {
      if (!check_escape(c))
        return 0;
      continue;
    }
    if (b < 0x20 || (took = utf8_one(c->at, (size_t)(c->end - c->at), &bad)) == 0)
      return 0;
    c->at += took;
  }
  return 0;
}

static size_t digits(check *c) {
  const uint8_t *from = c->at;
  while (c->at < c->end && *c->at >= '0' && *c->at <= '9')
    c->at++;
  return (size_t)(c->at - from);
}

/* Digits of the mantissa at `p`, the first 17 of them as one number; the largest double begins with 17976931348623157. */
static uint64_t leading_digits(const uint8_t *p, const uint8_t *end) {
  uint64_t v = 0;
  int n = 0;
  for (; n < 17; n++, p++) {
    if (p < end && *p == '.')
      p++;
    v = v * 10 + (p < end && *p >= '0' && *p <= '9' ? (uint64_t)(*p - '0') : 0);
  }
  return v;
}

/* `e` or `E`, a sign, digits; 0 when it is malformed. */
static int check_exponent(check *c, int64_t *exponent) {
  int negative = 0;
  c->at++;
  if (c->at < c->end && (*c->at == '+' || *c->at == '-'))
    negative = *c->at++ == '-';
  const uint8_t *from = c->at;
  if (digits(c) == 0)
    return 0;
  for (; from < c->at && *exponent < 100000; from++)
    *exponent = *exponent * 10 + (*from - '0');
  if (negative)
    *exponent = -*exponent;
  return 1;
}

/* A number beyond a double is refused by most parsers: digits before the point plus exponent say how large it is (a little
 * too large when it begins with zeros). */
static int check_number(check *c) {
  int64_t exponent = 0;
  size_t whole;
  if (*c->at == '-')
    c->at++;
  const uint8_t *from = c->at;
  if (c->at < c->end && *c->at == '0') {
    c->at++;
    whole = 1;
  } else if ((whole = digits(c)) == 0)
    return 0;
  if (c->at < c->end && *c->at == '.') {
    c->at++;
    if (digits(c) == 0)
      return 0;
  }
  const uint8_t *end = c->at;
  if (c->at < c->end && (*c->at | 0x20) == 'e' && !check_exponent(c, &exponent))
    return 0;
  if (whole > 309)
    return 0;
  int64_t size = (int64_t)whole + exponent;
  return size < 309 || (size == 309 && *from != '0' && leading_digits(from, end) <= 17976931348623157ULL);
}

static int check_word(check *c, const char *word) {
  size_t n = strlen(word);
  if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0)
    return 0;
  c->at += n;
  return 1;
}

static int check_scalar(check *c) {
  switch (*c->at) {
  case '"':
    return check_string(c);
  case 't':
    return check_word(c, "true");
  case 'f':
    return check_word(c, "false");
  case 'n':
    return check_word(c, "null");
  default:
    return check_number(c);
  }
}

static int check_key(check *c) {
  skip_blanks(c);
  if (c->at >= c->end || *c->at != '"' || !check_string(c))
    return 0;
  skip_blanks(c);
  if (c->at >= c->end || *c->at != ':')
    return 0;
  c->at++;
  return 1;
}

/* After a value: commas and closing brackets, until another value is due (1), the end (2), or an error (0). */
static int check_after(check *c, uint8_t *stack, size_t *depth) {
  while (*depth > 0) {
    uint8_t open = stack[*depth - 1];
    skip_blanks(c);
    if (c->at >= c->end)
      return 0;
    uint8_t b = *c->at++;
    if (b == ',')
      return open == '{' ? check_key(c) : 1;
    if (b != (open == '{' ? '}' : ']'))
      return 0;
    (*depth)--;
  }
  return 2;
}

/* The value at c->at, which then stands behind it; its first character, or 0. */
static int check_value(check *c) {
  uint8_t stack[OISP_CHECK_DEPTH];
  size_t depth = 0;
  int first = 0, state = 1;
  while (state == 1) {
    skip_blanks(c);
    if (c->at >= c->end)
      return 0;
    uint8_t b = *c->at;
    if (!first)
      first = b;
    if (b != '{' && b != '[') {
      if (!check_scalar(c))
        return 0;
      state = check_after(c, stack, &depth);
      continue;
    }
    if (depth == OISP_CHECK_DEPTH)
      return 0;
    c->at++;
    skip_blanks(c);
    if (c->at < c->end && *c->at == (b == '{' ? '}' : ']')) {
      c->at++;
      state = check_after(c, stack, &depth);
      continue;
    }
    stack[depth++] = b;
    if (b == '{' && !check_key(c))
      return 0;
  }
  return state == 2 ? first : 0;
}

int oisp_json_check(const uint8_t *data, size_t size) {
  check c = {data, data + size};
  int first = check_value(&c);
  skip_blanks(&c);
  return c.at == c.end ? first : 0;
}

static int context_member(const uint8_t *key, size_t size) {
  static const char *const members[] = {"source",      "host",  "actor",   "process",      "app",
                                        "web_context", "attrs", "ts_mono", "trace_context"};
  for (int i = 0; i < 9; i++)
    if (strlen(members[i]) == size && memcmp(members[i], key, size) == 0)
      return i;
  return -1;
}

int oisp_context_check(const uint8_t *data, size_t size) {
  check c = {data, data + size};
  uint32_t seen = 0;
  for (size_t i = 0; i < size; i++)
    if (data[i] < 0x20)
      return -1; /* a line of NDJSON has no line break */
  for (;;) {
    skip_blanks(&c);
    const uint8_t *from = c.at;
    if (!check_key(&c))
      return -1;
    const uint8_t *quote = memchr(from + 1, '"', (size_t)(c.at - from - 1));
    int member = context_member(from + 1, (size_t)(quote - from - 1));
    if (member < 0 || (seen >> member & 1) || !check_value(&c))
      return -1;
    seen |= 1u << member;
    skip_blanks(&c);
    if (c.at == c.end)
      return (int)(seen & 1);
    if (*c.at++ != ',')
      return -1;
  }
}
