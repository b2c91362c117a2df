/* SPDX-License-Identifier: Apache-2.0
 *
 * The pass of jsonscan.h. RFC 8259 grammar, one loop, an explicit stack: depth costs memory, never the C stack.
 */
#include "oisp/bytes.h"
#include "oisp/jsonscan.h"
#include "oisp/jsontext.h"
#include <stdlib.h>
#include <string.h>

void oisp_json_init(oisp_json *j, const oisp_scan *scan, uint32_t depth_max, uint32_t captures_max) {
  memset(j, 0, sizeof *j);
  j->scan = scan;
  j->depth_max = depth_max;
  j->captures_max = captures_max;
}

void oisp_json_free(oisp_json *j) {
  free(j->captures);
  free(j->frames);
  j->captures = NULL;
  j->frames = NULL;
  j->count = j->capacity = j->frames_capacity = 0;
}

/* ---- captures ---- */

static oisp_capture *capture_add(oisp_json *j) {
  if (OISP_UNLIKELY(j->count == j->capacity)) {
    uint32_t capacity = j->capacity ? j->capacity * 2 : 64;
    if (j->count >= j->captures_max)
      return NULL;
    oisp_capture *grown = realloc(j->captures, (size_t)capacity * sizeof *grown);
    if (grown == NULL)
      return NULL;
    j->captures = grown;
    j->capacity = capacity;
  }
  return &j->captures[j->count++];
}

static int has_condition_on(const oisp_json_table *t, const oisp_json_leaf *leaf, uint32_t node) {
  for (int k = 0; k < leaf->cond_count; k++)
    if (t->conds[leaf->conds + (uint32_t)k].node == node)
      return 1;
  return 0;
}

/* What is no object fulfils no selector, not even that something is absent. */
static uint32_t leaves_of_kind(const oisp_json_table *t, uint32_t node, int kind) {
  const oisp_json_node *n = t->nodes + node;
  const oisp_json_leaf *leaf = t->leaves + n->leaves;
  uint32_t alive = 0;
  for (int i = 0; i < n->leaf_count; i++)
    if (leaf[i].kinds >> kind & 1)
      alive |= 1u << i;
  if (OISP_UNLIKELY(n->selects && kind != OISP_JSON_OBJECT))
    for (int i = 0; i < n->leaf_count; i++)
      if (has_condition_on(t, leaf + i, node))
        alive &= ~(1u << i);
  return alive;
}

/* 0 when memory or the bound is exhausted. */
static int emit(oisp_json *j, const oisp_json_table *t, uint32_t node, int kind, int flags, size_t at, size_t size) {
  oisp_capture *c = capture_add(j);
  if (c == NULL)
    return 0;
  c->node = node;
  c->alive = leaves_of_kind(t, node, kind);
  c->at = (uint32_t)at;
  c->size = (uint32_t)size;
  c->next = j->count;
  c->count = 0;
  c->kind = (uint8_t)kind;
  c->flags = (uint8_t)flags;
  c->reserved = 0;
  return 1;
}

/* A key stands again: what its former value gave is void. */
static void forget(oisp_json *j, const oisp_json_table *t, oisp_json_frame *f, uint32_t node) {
  uint32_t end = t->nodes[node].end;
  for (uint32_t i = f->mark; i < j->count; i++)
    if (j->captures[i].node >= node && j->captures[i].node < end)
      j->captures[i].alive = 0;
  f->bits &= ~t->nodes[node].test_bits;
}

/* The object is known whole: captures whose conditions on it do not hold are dropped. */
static void select_captures(oisp_json *j, const oisp_json_table *t, const oisp_json_frame *f) {
  for (uint32_t i = f->mark; i < j->count; i++) {
    oisp_capture *c = &j->captures[i];
    const oisp_json_leaf *leaf = t->leaves + t->nodes[c->node].leaves;
    for (uint32_t left = c->alive; left; left &= left - 1) {
      int bit = __builtin_ctz(left);
      const oisp_json_cond *cond = t->conds + leaf[bit].conds;
      for (int k = 0; k < leaf[bit].cond_count; k++)
        if (cond[k].node == f->node &&
            (!f->object || (f->bits & cond[k].all) != cond[k].all || (f->bits & cond[k].none) != 0))
          c->alive &= ~(1u << bit);
    }
  }
  uint32_t i = f->mark;
  while (i < j->count && j->captures[i].alive == 0)
    i++;
  if (i == j->count) /* nothing of it is left: give the room back, so that a long array of strangers costs none */
    j->count = f->mark;
}

static uint32_t run_tests(const oisp_json_table *t, uint32_t node, int kind, const uint8_t *value, size_t size) {
  const oisp_json_node *n = t->nodes + node;
  const oisp_json_test *test = t->tests + n->tests;
  uint32_t bits = 0;
  for (int i = 0; i < n->test_count; i++, test++) {
    if (test->kind == OISP_JSON_OBJECT)
      bits |= (uint32_t)(kind != OISP_JSON_NULL) << test->bit;
    else if (test->kind == OISP_JSON_PREFIX)
      bits |= (uint32_t)(kind == OISP_JSON_STRING && size >= test->size &&
                         memcmp(t->pool + test->value, value, test->size) == 0)
              << test->bit;
    else if ((test->kind == OISP_JSON_STRING) == (kind == OISP_JSON_STRING) && kind < OISP_JSON_ARRAY &&
             test->size == size && memcmp(t->pool + test->value, value, size) == 0)
      bits |= 1u << test->bit;
  }
  return bits;
}

uint32_t oisp_json_tests(const oisp_json_table *t, uint32_t node, const uint8_t *value, size_t size) {
  return run_tests(t, node, OISP_JSON_STRING, value, size);
}

#define SHORT_TEXT 128 /* keys and selector values beyond this are none of ours */

/* A string is compared as what it means: escapes are resolved first. */
static uint32_t string_tests(const oisp_json_table *t, uint32_t node, int flags, const uint8_t *p, size_t size) {
  uint8_t plain[SHORT_TEXT];
  if (OISP_UNLIKELY(flags & OISP_CAPTURE_ESCAPED)) {
    size = size <= SHORT_TEXT ? oisp_json_unescape(plain, p, size) : 0;
    p = plain;
  }
  return run_tests(t, node, OISP_JSON_STRING, p, size);
}

static inline uint32_t key_hash(const uint8_t *p, size_t size) {
  return size ? (uint32_t)(size * 7 + p[0] * 5u + p[size >> 1] * 3u + p[size - 1]) : 0;
}

static inline const oisp_json_edge *key_edge(const oisp_json_table *t, const oisp_json_node *n, const uint8_t *p,
                                             size_t size) {
  if (n->edge_mask == 0)
    return NULL;
  const oisp_json_edge *edges = t->edges + n->edges;
  for (uint32_t h = key_hash(p, size) & n->edge_mask;; h = (h + 1) & n->edge_mask) {
    const oisp_json_edge *e = edges + h;
    if (e->node == 0)
      return NULL;
    if (e->size == size && oisp_equal(t->pool + e->name, p, size))
      return e;
  }
}

/* The node of the member `key` of the object in `f`. */
static inline uint32_t key_node(oisp_json *j, const oisp_json_table *t, oisp_json_frame *f, int flags, const uint8_t *p,
                                size_t size) {
  const oisp_json_node *n = t->nodes + f->node;
  uint8_t plain[SHORT_TEXT];
  if (f->node == 0)
    return 0;
  if (OISP_UNLIKELY(flags & OISP_CAPTURE_ESCAPED)) {
    if (size > SHORT_TEXT)
      return n->member;
    size = oisp_json_unescape(plain, p, size);
    p = plain;
  }
  const oisp_json_edge *e = key_edge(t, n, p, size);
  if (e == NULL)
    return n->member;
  uint64_t bit = 1ULL << e->ordinal;
  if (OISP_UNLIKELY(f->seen & bit))
    forget(j, t, f, e->node);
  f->seen |= bit;
  return e->node;
}

/* ---- scalars ---- */

/* true, false, null. NULL: none of them. */
static const uint8_t *literal_end(const uint8_t *p, const uint8_t *end, int *kind, int *cut) {
  const char *word = *p == 't' ? "true" : *p == 'f' ? "false" : *p == 'n' ? "null" : NULL;
  if (word == NULL)
    return NULL;
  *kind = *p == 't' ? OISP_JSON_TRUE : *p == 'f' ? OISP_JSON_FALSE : OISP_JSON_NULL;
  size_t size = strlen(word), left = (size_t)(end - p);
  *cut = left < size;
  size = *cut ? left : size;
  return memcmp(p, word, size) == 0 ? p + size : NULL;
}

/* ---- the pass ---- */

static inline const uint8_t *blanks(const uint8_t *p, const uint8_t *end) {
  while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
    p++;
  return p;
}

typedef struct pass {
  oisp_json *j;
  const oisp_json_table *t;
  const uint8_t *data, *end;
  uint32_t depth;
} pass;

/* 0: beyond the bounds. */
static int frame_open(pass *s, uint32_t node, int object, const uint8_t *at, uint32_t bits) {
  oisp_json *j = s->j;
  if (OISP_UNLIKELY(s->depth == j->frames_capacity)) {
    uint32_t capacity = j->frames_capacity ? j->frames_capacity * 2 : 32;
    oisp_json_frame *grown = realloc(j->frames, (size_t)capacity * sizeof *grown);
    if (grown == NULL)
      return 0;
    j->frames = grown;
    j->frames_capacity = capacity;
  }
  if (s->depth >= j->depth_max)
    return 0;
  oisp_json_frame *f = &j->frames[s->depth++];
  f->seen = 0;
  f->node = node;
  f->mark = j->count;
  f->own = 0;
  f->count = 0;
  f->bits = bits;
  f->object = (uint32_t)object;
  f->dirty = j->dirty;
  int kind = object ? OISP_JSON_OBJECT : OISP_JSON_ARRAY;
  if (node && s->t->nodes[node].kinds >> kind & 1) {
    if (!emit(j, s->t, node, kind, 0, (size_t)(at - s->data), 0))
      return 0;
    f->own = j->count;
  }
  return 1;
}

/* `p`: one past the closing bracket, or where the document was cut. */
static void frame_close(pass *s, const uint8_t *p, int cut) {
  oisp_json *j = s->j;
  oisp_json_frame *f = &j->frames[--s->depth];
  if (f->own) {
    oisp_capture *c = &j->captures[f->own - 1];
    c->size = (uint32_t)(p - s->data) - c->at;
    c->count = f->count;
    c->next = j->count;
    c->flags = (uint8_t)((f->dirty != j->dirty ? OISP_CAPTURE_DIRTY : 0) | (cut ? OISP_CAPTURE_CUT : 0));
  }
  if (f->node && s->t->nodes[f->node].selects) {
    select_captures(j, s->t, f);
    if (f->own && f->own <= j->count)
      j->captures[f->own - 1].next = j->count;
  }
}

static void note_test(oisp_json *j, uint32_t at) {
  if (j->tested_count < OISP_JSON_TESTED)
    j->tested[j->tested_count] = at;
  j->tested_count++;
}

/* A scalar of a node that somebody asked for. */
static int scalar(pass *s, uint32_t node, int kind, int flags, const uint8_t *p, size_t size) {
  const oisp_json_node *n = s->t->nodes + node;
  int cut = flags & OISP_STRING_OPEN;
  if (n->test_count && !cut && s->depth) {
    oisp_json_frame *f = &s->j->frames[s->depth - 1];
    note_test(s->j, (uint32_t)(p - s->data));
    f->bits |=
        kind == OISP_JSON_STRING ? string_tests(s->t, node, flags, p, size) : run_tests(s->t, node, kind, p, size);
  }
  if ((n->kinds >> kind & 1) == 0)
    return 1;
  flags = (flags & 0xFF) | (cut ? OISP_CAPTURE_CUT : 0);
  return emit(s->j, s->t, node, kind, flags, (size_t)(p - s->data), size);
}

enum step { STEP_VALUE, STEP_KEY, STEP_AFTER, STEP_DONE };

/* A container begins: its own tests (a selector may ask whether a key is there at all), then its frame. */
static int container(pass *s, uint32_t node, int object, const uint8_t *at, uint32_t bits) {
  if (node && s->t->nodes[node].test_count && s->depth)
    s->j->frames[s->depth - 1].bits |= run_tests(s->t, node, object ? OISP_JSON_OBJECT : OISP_JSON_ARRAY, at, 1);
  return frame_open(s, node, object, at, bits);
}

static oisp_status walk(pass *s, uint32_t node, const uint8_t **at, uint32_t bits) {
  const uint8_t *p = *at, *end = s->end;
  oisp_json *j = s->j;
  enum step step = STEP_VALUE;
  for (;;) {
    p = blanks(p, end);
    if (OISP_UNLIKELY(p == end)) {
      *at = p;
      return step == STEP_AFTER && s->depth == 0 ? OISP_OK : OISP_MORE;
    }
    *at = p;
    uint8_t c = *p;
    if (step == STEP_KEY) {
      int flags;
      oisp_json_frame *f = &j->frames[s->depth - 1];
      if (OISP_UNLIKELY(c != '"'))
        return OISP_BAD;
      const uint8_t *q = oisp_string_end(j->scan, p + 1, end, &flags);
      if (OISP_UNLIKELY(flags & OISP_STRING_OPEN))
        return OISP_MORE;
      if (OISP_UNLIKELY(flags & (OISP_CAPTURE_DIRTY | OISP_CAPTURE_HIGH | OISP_CAPTURE_LOW)))
        j->dirty++;
      node = key_node(j, s->t, f, flags, p + 1, (size_t)(q - p - 1));
      f->count++;
      p = blanks(q + 1, end);
      if (OISP_UNLIKELY(p == end))
        return OISP_MORE;
      if (OISP_UNLIKELY(*p != ':'))
        return OISP_BAD;
      p++;
      step = STEP_VALUE;
      continue;
    }
    if (step == STEP_AFTER) {
      if (OISP_UNLIKELY(s->depth == 0))
        return OISP_BAD; /* something after the document */
      oisp_json_frame *f = &j->frames[s->depth - 1];
      p++;
      if (c == ',') {
        step = f->object ? STEP_KEY : STEP_VALUE;
        if (!f->object) {
          node = f->node ? s->t->nodes[f->node].element : 0;
          f->count++;
        }
      } else if (OISP_LIKELY(c == (f->object ? '}' : ']')))
        frame_close(s, p, 0);
      else
        return OISP_BAD;
      continue;
    }
    step = STEP_AFTER;
    if (c == '"') {
      int flags;
      const uint8_t *q = oisp_string_end(j->scan, p + 1, end, &flags);
      if (OISP_UNLIKELY(flags & (OISP_CAPTURE_DIRTY | OISP_CAPTURE_HIGH | OISP_CAPTURE_LOW)))
        j->dirty++;
      if (node && !scalar(s, node, OISP_JSON_STRING, flags, p + 1, (size_t)(q - p - 1)))
        return OISP_LIMIT;
      if (OISP_UNLIKELY(flags & OISP_STRING_OPEN))
        return OISP_MORE;
      p = q + 1;
    } else if (c == '{' || c == '[') {
      int object = c == '{';
      if (!container(s, node, object, p, bits))
        return OISP_LIMIT;
      bits = 0;
      p = blanks(p + 1, end);
      if (p < end && *p == (object ? '}' : ']')) {
        p++;
        frame_close(s, p, 0);
        continue;
      }
      step = object ? STEP_KEY : STEP_VALUE;
      if (!object) {
        node = node ? s->t->nodes[node].element : 0;
        j->frames[s->depth - 1].count = p < end;
      }
    } else {
      int kind = OISP_JSON_NUMBER, cut;
      const uint8_t *q =
          c == '-' || (uint8_t)(c - '0') < 10 ? oisp_number_end(p, end, &cut) : literal_end(p, end, &kind, &cut);
      if (OISP_UNLIKELY(q == NULL))
        return OISP_BAD;
      if (OISP_UNLIKELY(cut && (s->depth || kind != OISP_JSON_NUMBER)))
        return OISP_MORE; /* half a number is no number */
      if (node && !scalar(s, node, kind, 0, p, (size_t)(q - p)))
        return OISP_LIMIT;
      p = q;
    }
  }
}

oisp_status oisp_json_scan(oisp_json *j, const oisp_json_table *t, uint32_t root, const uint8_t *data, size_t size,
                           uint32_t bits) {
  pass s = {j, t, data, data + size, 0};
  const uint8_t *p = data;
  j->count = 0;
  j->dirty = 0;
  j->used = 0;
  j->tested_count = 0;
  if (size > UINT32_MAX)
    return OISP_LIMIT;
  if (size >= 3 && memcmp(p, "\xEF\xBB\xBF", 3) == 0)
    p += 3; /* a byte order mark is no JSON, but some servers send it */
  oisp_status status = walk(&s, root, &p, bits);
  while (s.depth)
    frame_close(&s, p, 1);
  j->used = (uint32_t)(p - data);
  return status;
}

/* ---- rewriting ---- */

static size_t put_replacement(uint8_t *out) {
  memcpy(out, "\xEF\xBF\xBD", 3);
  return 3;
}

/* An escape at p, for the rewriter: how long it is, and whether it may stay. */
static size_t escape_whole(const uint8_t *start, const uint8_t *p, const uint8_t *end, int keep, int *stays) {
  *stays = 1;
  if (end - p >= 2 && p[1] != 'u') {
    int flags = 0;
    size_t size = oisp_escape(start, p, end, &flags);
    *stays = flags == 0;
    return size;
  }
  int v = end - p >= 6 ? oisp_hex4(p + 2) : -1;
  if (v < 0) {
    *stays = 0;
    return end - p >= 2 ? 2 : 1;
  }
  if (v >= 0xD800 && v <= 0xDBFF && end - p >= 12 && p[6] == '\\' && p[7] == 'u') {
    int w = oisp_hex4(p + 8);
    if (w >= 0xDC00 && w <= 0xDFFF)
      return 12;
  }
  if (v >= 0xD800 && v <= 0xDBFF)
    *stays = (keep & OISP_CAPTURE_HIGH) && p + 6 == end;
  else if (v >= 0xDC00 && v <= 0xDFFF)
    *stays = (keep & OISP_CAPTURE_LOW) && p == start;
  return 6;
}

size_t oisp_json_clean(uint8_t *out, const uint8_t *data, size_t size, int keep) {
  const uint8_t *p = data, *end = data + size;
  uint8_t *o = out;
  while (p < end) {
    int stays = 1, bad = 1;
    size_t step = 1;
    if (*p == '\\')
      step = escape_whole(data, p, end, keep, &stays);
    else if (*p < 0x20 || *p == '"')
      stays = 0;
    else if (*p >= 0x80) {
      int length = oisp_utf8_sequence(p, end, &bad);
      stays = length > 0;
      step = length > 0 ? (size_t)length : length < 0 ? (size_t)(end - p) : (size_t)bad;
    }
    if (stays) {
      memcpy(o, p, step);
      o += step;
    } else
      o += put_replacement(o);
    p += step;
  }
  return (size_t)(o - out);
}

size_t oisp_json_clean_value(uint8_t *out, const uint8_t *data, size_t size) {
  const uint8_t *p = data, *end = data + size;
  uint8_t *o = out;
  while (p < end) {
    if (*p != '"') {
      *o++ = *p < 0x20 ? ' ' : *p;
      p++;
      continue;
    }
    const uint8_t *q = p + 1;
    while (q < end && *q != '"') /* an escaped quote does not end it; a backslash at the very end cannot be there */
      q += *q == '\\' && q + 1 < end && q[1] >= 0x20 && q[1] < 0x80 ? 2 : 1;
    *o++ = '"';
    o += oisp_json_clean(o, p + 1, (size_t)((q < end ? q : end) - p - 1), 0);
    *o++ = '"';
    p = q < end ? q + 1 : end;
  }
  return (size_t)(o - out);
}

static size_t put_utf8(uint8_t *out, uint32_t c) {
  if (c < 0x80) {
    out[0] = (uint8_t)c;
    return 1;
  }
  if (c < 0x800) {
    out[0] = (uint8_t)(0xC0 | c >> 6);
    out[1] = (uint8_t)(0x80 | (c & 63));
    return 2;
  }
  if (c < 0x10000) {
    out[0] = (uint8_t)(0xE0 | c >> 12);
    out[1] = (uint8_t)(0x80 | (c >> 6 & 63));
    out[2] = (uint8_t)(0x80 | (c & 63));
    return 3;
  }
  out[0] = (uint8_t)(0xF0 | c >> 18);
  out[1] = (uint8_t)(0x80 | (c >> 12 & 63));
  out[2] = (uint8_t)(0x80 | (c >> 6 & 63));
  out[3] = (uint8_t)(0x80 | (c & 63));
  return 4;
}

/* \uXXXX at p, perhaps a pair. Returns how many bytes it takes. */
static size_t unescape_unicode(uint8_t **out, const uint8_t *p, const uint8_t *end) {
  int v = end - p >= 6 ? oisp_hex4(p + 2) : -1;
  if (v < 0) {
    *out += put_replacement(*out);
    return end - p >= 3 ? 3 : (size_t)(end - p);
  }
  if (v >= 0xD800 && v <= 0xDBFF && end - p >= 12 && p[6] == '\\' && p[7] == 'u') {
    int w = oisp_hex4(p + 8);
    if (w >= 0xDC00 && w <= 0xDFFF) {
      *out += put_utf8(*out, 0x10000 + ((uint32_t)(v & 0x3FF) << 10 | (uint32_t)(w & 0x3FF)));
      return 12;
    }
  }
  *out += put_utf8(*out, v >= 0xD800 && v <= 0xDFFF ? 0xFFFD : (uint32_t)v);
  return 6;
}

size_t oisp_json_unescape(uint8_t *out, const uint8_t *data, size_t size) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  const uint8_t *p = data, *end = data + size;
  uint8_t *o = out;
  while (p < end) {
    if (*p != '\\' || p + 1 == end) {
      *o++ = *p++;
      continue;
    }
    const char *known = p[1] == 'u' || p[1] == 0 ? NULL : strchr(from, p[1]);
    if (p[1] == 'u')
      p += unescape_unicode(&o, p, end);
    else {
      *o++ = known ? (uint8_t)to[known - from] : p[1];
      p += 2;
    }
  }
  return (size_t)(o - out);
}
