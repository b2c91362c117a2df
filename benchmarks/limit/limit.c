/* SPDX-License-Identifier: Apache-2.0
 *
 * See limit.h. Both variants share the states and the table of connections; what they do differently is how a head is
 * split and how an event stream is cut, which is where the bytes are read.
 */
#include "limit.h"
#include "oisp/record.h"
#include <stdlib.h>
#include <string.h>

enum { HEAD, LENGTH, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER };
enum { HOSTS = 64, HEAD_ROOM = 65536 };

typedef struct side {
  uint64_t left;  /* bytes of the body or the chunk still to come */
  uint8_t state;
  uint8_t stream; /* the body is an event stream */
  uint8_t newline; /* the last byte of the stream so far was one */
  uint8_t response;
  uint32_t held_size; /* a head, or a line between chunks, that has not ended */
  uint8_t *held;
} side;

typedef struct slot {
  uint64_t conn;
  side sides[2];
} slot;

struct limit_state {
  slot *slots;
  size_t mask;
  uint64_t hosts[HOSTS];
};

/* --- the table --- */

struct limit_state *limit_new(size_t connections) {
  size_t size = 64;
  while (size < connections * 2)
    size *= 2;
  struct limit_state *s = calloc(1, sizeof *s);
  if (s == NULL || (s->slots = calloc(size, sizeof(slot))) == NULL) {
    free(s);
    return NULL;
  }
  s->mask = size - 1;
  return s;
}

void limit_reset(struct limit_state *s) {
  for (size_t i = 0; i <= s->mask; i++)
    for (int way = 0; way < 2; way++)
      free(s->slots[i].sides[way].held);
  memset(s->slots, 0, (s->mask + 1) * sizeof(slot));
}

void limit_free(struct limit_state *s) {
  if (s == NULL)
    return;
  limit_reset(s);
  free(s->slots);
  free(s);
}

static inline slot *find(struct limit_state *s, uint64_t conn) {
  size_t i = (conn * 0x9e3779b97f4a7c15u) >> 20 & s->mask;
  while (s->slots[i].conn != conn) {
    if (s->slots[i].conn == 0) {
      s->slots[i].conn = conn;
      s->slots[i].sides[1].response = 1;
      break;
    }
    i = (i + 1) & s->mask;
  }
  return &s->slots[i];
}

static inline uint64_t hash_name(const uint8_t *name, size_t size) {
  uint64_t h = size;
  for (; size >= 8; name += 8, size -= 8) {
    uint64_t word;
    memcpy(&word, name, 8);
    h = ((h ^ word) * 0x9e3779b97f4a7c15u) ^ (h >> 29);
  }
  for (; size; name++, size--)
    h = ((h ^ *name) * 0x9e3779b97f4a7c15u) ^ (h >> 29);
  return h | 1;
}

void limit_host(struct limit_state *s, const uint8_t *name, size_t size) {
  uint64_t h = hash_name(name, size);
  for (size_t i = h % HOSTS;; i = (i + 1) % HOSTS)
    if (s->hosts[i] == 0 || s->hosts[i] == h) {
      s->hosts[i] = h;
      return;
    }
}

static inline int is_known(const struct limit_state *s, const uint8_t *name, size_t size) {
  uint64_t h = hash_name(name, size);
  for (size_t i = h % HOSTS; s->hosts[i]; i = (i + 1) % HOSTS)
    if (s->hosts[i] == h)
      return 1;
  return 0;
}

/* --- heads --- */

static inline int same(const uint8_t *name, const char *lower, size_t size) {
  for (size_t i = 0; i < size; i++)
    if ((name[i] | 0x20) != (uint8_t)lower[i])
      return 0;
  return 1;
}

typedef struct framing {
  uint64_t length;
  uint8_t chunked, stream, known;
} framing;

/* Four fields matter; their lengths tell them from nearly all others. */
static inline void note_field(const struct limit_state *s, framing *f, const uint8_t *name, size_t name_size,
                              const uint8_t *value, size_t size) {
  switch (name_size) {
  case 4:
    if (same(name, "host", 4))
      f->known = (uint8_t)is_known(s, value, size);
    break;
  case 12:
    if (same(name, "content-type", 12))
      f->stream = size >= 17 && memcmp(value, "text/event-stream", 17) == 0;
    break;
  case 14:
    if (same(name, "content-length", 14))
      for (size_t i = 0; i < size; i++)
        f->length = f->length * 10 + (value[i] - '0');
    break;
  case 17:
    if (same(name, "transfer-encoding", 17))
      f->chunked = size == 7 && memcmp(value, "chunked", 7) == 0;
    break;
  default:;
  }
}

static size_t head_fast(const struct limit_state *s, const uint8_t *data, size_t size, framing *f, limit_counts *c) {
  const uint8_t *at = data, *end = data + size;
  const uint8_t *line = memchr(at, '\n', size);
  uint64_t fields = 0;
  if (line == NULL)
    return 0;
  for (at = line + 1; at < end; at = line + 1) {
    if (*at == '\r') {
      if (at + 1 == end)
        return 0;
      c->fields += fields;
      return (size_t)(at + 2 - data);
    }
    line = memchr(at, '\n', (size_t)(end - at));
    if (line == NULL)
      return 0;
    const uint8_t *colon = at + 1;
    while (*colon != ':' && colon < line)
      colon++;
    const uint8_t *value = colon + 1;
    while (*value == ' ' && value < line)
      value++;
    fields++;
    note_field(s, f, at, (size_t)(colon - at), value, (size_t)(line - 1 - value));
  }
  return 0;
}

static const uint8_t token[256] = {['!'] = 1,         ['#'] = 1,         ['$'] = 1,        ['%'] = 1, ['&'] = 1,
                                   ['\''] = 1,        ['*'] = 1,         ['+'] = 1,        ['-'] = 1, ['.'] = 1,
                                   ['^'] = 1,         ['_'] = 1,         ['`'] = 1,        ['|'] = 1, ['~'] = 1,
                                   ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1};

static size_t head_plain(const struct limit_state *s, const uint8_t *data, size_t size, framing *f, limit_counts *c) {
  const uint8_t *at = data, *end = data + size;
  uint64_t fields = 0;
  while (at < end && *at != '\n')
    at++;
  for (at++; at < end;) {
    if (*at == '\r') {
      if (at + 1 >= end)
        return 0;
      c->fields += fields;
      return (size_t)(at + 2 - data);
    }
    const uint8_t *name = at;
    while (at < end && token[*at])
      at++;
    size_t name_size = (size_t)(at - name);
    at++;
    while (at < end && *at == ' ')
      at++;
    const uint8_t *value = at;
    while (at < end && (*at >= 0x20 || *at == '\t'))
      at++;
    size_t value_size = (size_t)(at - value);
    while (at < end && *at != '\n')
      at++;
    if (at >= end)
      return 0;
    at++;
    fields++;
    note_field(s, f, name, name_size, value, value_size);
  }
  return 0;
}

/* --- event streams: an event ends where a line is empty --- */

static uint64_t events_fast(side *d, const uint8_t *data, size_t size) {
  uint64_t events = 0;
  const uint8_t *at = data, *end = data + size;
  if (size == 0)
    return 0;
  if (d->newline && (*at == '\n' || (*at == '\r' && size > 1 && at[1] == '\n')))
    events++;
  while (at < end && (at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
    at++;
    if (at < end && *at == '\n') {
      events++;
      at++;
    } else if (at + 1 < end && *at == '\r' && at[1] == '\n') {
      events++;
      at += 2;
    }
  }
  d->newline = end[-1] == '\n';
  return events;
}

static uint64_t events_plain(side *d, const uint8_t *data, size_t size) {
  uint64_t events = 0;
  const uint8_t *at = data, *end = data + size;
  int empty = d->newline;
  while (at < end) {
    const uint8_t *line = memchr(at, '\n', (size_t)(end - at));
    if (line == NULL) {
      empty = 0;
      break;
    }
    size_t length = (size_t)(line - at);
    if (length && at[length - 1] == '\r')
      length--;
    if (length == 0 && empty)
      events++;
    empty = length != 0 || !empty;
    at = line + 1;
  }
  d->newline = (uint8_t)empty;
  return events;
}

/* --- framing: the same for both --- */

#define DEFINE_RUN(NAME, EVENTS_OF) \
  static void NAME##_piece(struct limit_state *s, side *d, const uint8_t *data, size_t size, limit_counts *c) { \
    while (size) { \
      size_t used = 0; \
      if (d->state == LENGTH || d->state == CHUNK_DATA) { \
        used = size < d->left ? size : d->left; \
        c->body_bytes += used; \
        if (d->stream) \
          c->events += EVENTS_OF(d, data, used); \
        d->left -= used; \
        if (d->left == 0) \
          d->state = d->state == LENGTH ? HEAD : CHUNK_END; \
      } else if (d->held_size) { \
        used = take_held(d, data, size, c); \
        if (used == 0) \
          return; \
        if (complete_line(d)) { \
          uint32_t held = d->held_size; \
          d->held_size = 0; \
          if (NAME##_line(s, d, d->held, held, c) == 0) \
            d->held_size = held; \
        } \
      } else { \
        used = NAME##_line(s, d, data, size, c); \
        if (used == 0) { \
          hold(d, data, size, c); \
          return; \
        } \
      } \
      data += used; \
      size -= used; \
    } \
  } \
  void limit_##NAME(struct limit_state *s, const uint8_t *records, size_t size, limit_counts *c) { \
    for (size_t at = 0; at < size; at += ((const oisp_record *)(records + at))->size) { \
      const oisp_record_data *r = (const oisp_record_data *)(records + at); \
      if (r->head.kind != OISP_RECORD_DATA) \
        continue; \
      c->segments++; \
      slot *one = find(s, r->conn); \
      NAME##_piece(s, &one->sides[r->direction], records + at + r->header_size, r->captured, c); \
    } \
  }

static void hold(side *d, const uint8_t *data, size_t size, limit_counts *c) {
  if (d->held == NULL)
    d->held = malloc(HEAD_ROOM);
  if (d->held == NULL || size > HEAD_ROOM) {
    c->failed++;
    return;
  }
  memcpy(d->held, data, size);
  d->held_size = (uint32_t)size;
}

/* Up to the end of the line that is held; a head is more lines. */
static size_t take_held(side *d, const uint8_t *data, size_t size, limit_counts *c) {
  const uint8_t *line = memchr(data, '\n', size);
  size_t used = line == NULL ? size : (size_t)(line + 1 - data);
  if (d->held_size + used > HEAD_ROOM) {
    c->failed++;
    return 0;
  }
  memcpy(d->held + d->held_size, data, used);
  d->held_size += (uint32_t)used;
  return used;
}

static int complete_line(const side *d) { return d->held[d->held_size - 1] == '\n'; }

static void begin_body(side *d, const framing *f, limit_counts *c) {
  c->messages++;
  c->known_hosts += f->known;
  d->stream = f->stream;
  d->newline = 0;
  if (f->chunked) {
    d->state = CHUNK_SIZE;
  } else if (f->length) {
    d->state = LENGTH;
    d->left = f->length;
  }
}

static size_t chunk_line(side *d, const uint8_t *data, size_t size) {
  uint64_t length = 0;
  size_t i = 0;
  for (; i < size; i++) {
    uint8_t b = data[i];
    if (b >= '0' && b <= '9')
      length = length << 4 | (b - '0');
    else if ((b | 0x20) >= 'a' && (b | 0x20) <= 'f')
      length = length << 4 | ((b | 0x20) - 'a' + 10);
    else
      break;
  }
  while (i < size && data[i] != '\n')
    i++;
  if (i == size)
    return 0;
  d->left = length;
  d->state = length ? CHUNK_DATA : TRAILER;
  return i + 1;
}

static size_t end_line(side *d, const uint8_t *data, size_t size) {
  const uint8_t *line = memchr(data, '\n', size);
  if (line == NULL)
    return 0;
  if (d->state == CHUNK_END)
    d->state = CHUNK_SIZE;
  else if (line == data || (line == data + 1 && *data == '\r'))
    d->state = HEAD;
  return (size_t)(line + 1 - data);
}

#define DEFINE_LINE(NAME, HEAD_OF) \
  static size_t NAME##_line(struct limit_state *s, side *d, const uint8_t *data, size_t size, limit_counts *c) { \
    if (d->state == CHUNK_SIZE) \
      return chunk_line(d, data, size); \
    if (d->state != HEAD) \
      return end_line(d, data, size); \
    framing f = {0, 0, 0, 0}; \
    size_t used = HEAD_OF(s, data, size, &f, c); \
    if (used) \
      begin_body(d, &f, c); \
    return used; \
  }

DEFINE_LINE(fast, head_fast)
DEFINE_LINE(plain, head_plain)
DEFINE_RUN(fast, events_fast)
DEFINE_RUN(plain, events_plain)
