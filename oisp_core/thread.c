/* SPDX-License-Identifier: Apache-2.0
 *
 * See include/oisp/thread.h. The hash multiplies 64 by 64 bits and folds the product; with a secret key nobody outside can
 * aim at a collision, and a collision joins two conversations, no more.
 */
#include "oisp/thread.h"
#include "oisp/bytes.h"
#include "oisp/contract.h"
#include <string.h>

static inline uint64_t fold(uint64_t a, uint64_t b) {
  __uint128_t product = (__uint128_t)a * b;
  return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t load64(const uint8_t *p) {
  uint64_t v;
  memcpy(&v, p, 8);
  return v;
}

#define ODD 0x9e3779b97f4a7c15ULL

static inline uint64_t mix(uint64_t h, uint64_t v) { return fold(h ^ ODD, v ^ 0xd6e8feb86659fd93ULL) ^ h; }

uint64_t oisp_fast_hash(const uint64_t key[2], const uint8_t *data, size_t size) {
  uint64_t a = key[0] ^ ODD, b = key[1], c = key[0] ^ key[1], rest[4] = {0};
  size_t i = 0;
  for (; i + 48 <= size; i += 48) { /* three chains, so that multiplications overlap */
    a = fold(load64(data + i) ^ key[0], load64(data + i + 8) ^ a);
    b = fold(load64(data + i + 16) ^ key[1], load64(data + i + 24) ^ b);
    c = fold(load64(data + i + 32) ^ key[0] ^ ODD, load64(data + i + 40) ^ c);
  }
  a ^= b ^ c;
  for (; i + 16 <= size; i += 16)
    a = fold(load64(data + i) ^ key[1], load64(data + i + 8) ^ a);
  if (size > i)
    memcpy(rest, data + i, size - i);
  return fold(fold(rest[0] ^ key[0], rest[1] ^ a) ^ ODD, (uint64_t)size ^ key[1] ^ ODD);
}

/* --- texts: of one client they are escaped alike; an answer and its repetition may be not --- */

static size_t put_scalar(uint8_t *out, uint32_t v) {
  if (v < 0x80) {
    out[0] = (uint8_t)v;
    return 1;
  }
  size_t size = v < 0x800 ? 2 : v < 0x10000 ? 3 : 4;
  static const uint8_t lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
  for (size_t i = size - 1; i > 0; i--, v >>= 6)
    out[i] = (uint8_t)(0x80 | (v & 63));
  out[0] = (uint8_t)(lead[size] | v);
  return size;
}

static uint32_t unit(const uint8_t *p) {
  uint32_t v = 0;
  for (int i = 0; i < 4; i++)
    v = v << 4 | (uint32_t)(oisp_hex(p[i]) & 15);
  return v;
}

/* One escape of checked text at p: what it means, and how long it is. */
static size_t escape(const uint8_t *p, size_t left, uint8_t *out, size_t *size) {
  static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
  *size = 1;
  if (left < 2) {
    out[0] = p[0];
    return 1;
  }
  const char *at = p[1] ? strchr(from, p[1]) : NULL;
  out[0] = at ? (uint8_t)to[at - from] : p[1];
  if (p[1] != 'u' || left < 6)
    return 2;
  uint32_t v = unit(p + 2);
  size_t used = 6;
  if (v >= 0xD800 && v < 0xDC00 && left >= 12 && p[6] == '\\') {
    v = 0x10000 + ((v & 0x3FF) << 10) + (unit(p + 8) & 0x3FF);
    used = 12;
  }
  *size = put_scalar(out, v);
  return used;
}

/* The inside of a JSON string as what it means, whatever its escapes: by blocks of what it means. */
static uint64_t meaning_hash(const uint64_t key[2], const uint8_t *data, size_t size) {
  uint8_t block[1024 + 4];
  size_t held = 0, i = 0;
  uint64_t h = key[0];
  while (i < size) {
    const uint8_t *next = memchr(data + i, '\\', size - i);
    size_t run = next ? (size_t)(next - data) - i : size - i;
    while (run) {
      size_t room = 1024 - held, part = run < room ? run : room;
      memcpy(block + held, data + i, part);
      held += part, i += part, run -= part;
      if (held == 1024) {
        h = mix(h, oisp_fast_hash(key, block, held));
        held = 0;
      }
    }
    if (i >= size)
      break;
    size_t put;
    i += escape(data + i, size - i, block + held, &put);
    held += put;
    if (held >= 1024) {
      h = mix(h, oisp_fast_hash(key, block, 1024));
      memmove(block, block + 1024, held - 1024);
      held -= 1024;
    }
  }
  h = mix(h, oisp_fast_hash(key, block, held));
  oisp_wipe(block, sizeof block); /* content does not stay on the stack */
  return h;
}

static uint64_t text_hash(const oisp_exchange *x, const uint64_t key[2], const oisp_text *t) {
  return t->size ? oisp_fast_hash(key, oisp_text_data(x, t), t->size) : 0;
}

/* --- messages --- */

typedef struct cursor {
  uint32_t call, answer; /* next ones of the history: both stand in the order of the messages */
} cursor;

static uint64_t call_hash(const oisp_exchange *x, const uint64_t key[2], const oisp_call *c) {
  return text_hash(x, key, c->id.size ? &c->id : &c->name);
}

/* Ids of the calls in message i (names, where there are none). */
static uint64_t calls_hash(const oisp_exchange *x, const uint64_t key[2], uint32_t i, cursor *at) {
  uint64_t h = 0;
  while (at->call < x->history_count && (uint32_t)x->history[at->call].choice < i)
    at->call++;
  for (; at->call < x->history_count && (uint32_t)x->history[at->call].choice == i; at->call++)
    if (!x->history[at->call].server)
      h = mix(h, call_hash(x, key, &x->history[at->call]));
  return h;
}

static uint64_t answers_hash(const oisp_exchange *x, const uint64_t key[2], uint32_t i, cursor *at) {
  uint64_t h = 0;
  while (at->answer < x->answers_count && x->answers[at->answer].message < i)
    at->answer++;
  for (; at->answer < x->answers_count && x->answers[at->answer].message == i; at->answer++)
    h = mix(h, text_hash(x, key, &x->answers[at->answer].call_id));
  return h;
}

static int instructs(const oisp_message_part *m) {
  return m->role == OISP_ROLE_SYSTEM || (m->flags & OISP_PART_SYSTEM) != 0;
}

static uint64_t answer_hash(uint64_t prefix, uint64_t meaning, uint64_t calls) {
  return mix(mix(prefix ^ ODD, meaning), calls) | 1; /* 0 is "none" */
}

static uint64_t meaning_of(const oisp_exchange *x, const uint64_t key[2], const oisp_text *t) {
  return t->size ? meaning_hash(key, oisp_text_data(x, t), t->size) : 0;
}

void oisp_history_read(const oisp_exchange *x, const uint64_t key[2], oisp_history *h) {
  cursor at = {0, 0};
  uint64_t prefix = mix(key[0], key[1]);
  h->count = 0;
  h->prefix[0] = prefix;
  h->answer[0] = 0;
  for (uint32_t i = 0; i < x->messages_count; i++) {
    const oisp_message_part *m = &x->messages[i];
    uint64_t calls = calls_hash(x, key, i, &at), answers = answers_hash(x, key, i, &at);
    if (instructs(m) || (m->content.size == 0 && calls == 0 && answers == 0 && m->images == 0))
      continue;
    uint64_t content = text_hash(x, key, &m->content);
    prefix = mix(mix(mix(prefix, content), calls), mix(answers, (uint64_t)m->role << 32 | m->images));
    h->count++;
    uint32_t slot = h->count % OISP_THREAD_WINDOW;
    h->prefix[slot] = prefix;
    h->calls[slot] = calls;
    /* Only what a request may add is looked at: the answer that came last is near the end. */
    h->answer[slot] = m->role == OISP_ROLE_ASSISTANT && x->messages_count - i <= OISP_THREAD_WINDOW / 4 ? i + 1 : 0;
  }
}

uint64_t oisp_history_answered(const oisp_exchange *x, const uint64_t key[2], const oisp_history *h, uint32_t n) {
  uint32_t slot = n % OISP_THREAD_WINDOW, message = n ? h->answer[slot] : 0;
  if (message == 0)
    return 0;
  return answer_hash(h->prefix[(n - 1) % OISP_THREAD_WINDOW], meaning_of(x, key, &x->messages[message - 1].content),
                     h->calls[slot]);
}

uint64_t oisp_history_answer(const oisp_exchange *x, const uint64_t key[2], uint64_t prefix) {
  uint64_t calls = 0, meaning = 0;
  for (uint32_t i = 0; i < x->calls_count; i++)
    if (!x->calls[i].server)
      calls = mix(calls, call_hash(x, key, &x->calls[i]));
  if (x->choices_count)
    meaning = meaning_of(x, key, &x->choices[0].content);
  return answer_hash(prefix, meaning, calls);
}
