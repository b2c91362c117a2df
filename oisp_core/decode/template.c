/* SPDX-License-Identifier: Apache-2.0
 *
 * See template.h.
 */
#include "oisp/template.h"

#define TOKENS 64

typedef struct token {
  uint32_t at, size;
  uint8_t kind;
} token;

static int token_add(token *out, int count, size_t at, size_t size, int kind) {
  if (count < 0 || count == TOKENS)
    return -1;
  out[count] = (token){(uint32_t)at, (uint32_t)size, (uint8_t)kind};
  return count + 1;
}

/* Where the blanks before the last brace begin. */
static size_t tail_blanks(const uint8_t *data, size_t size) {
  size_t at = size - 1;
  while (at && (data[at - 1] == ' ' || data[at - 1] == '\n' || data[at - 1] == '\r' || data[at - 1] == '\t'))
    at--;
  return at;
}

/* Values of a valid document that may change: strings that are no keys, numbers, the blanks at the end. -1: too many. */
static int tokenize(const oisp_scan *scan, const uint8_t *data, size_t size, token *out) {
  const uint8_t *p = data, *end = data + size;
  int count = 0;
  if (size < 2 || data[0] != '{' || data[size - 1] != '}')
    return -1;
  size_t tail = tail_blanks(data, size);
  while (p < data + tail && count >= 0) {
    int flags;
    if (*p == '"') {
      const uint8_t *q = oisp_string_end(scan, p + 1, end, &flags);
      const uint8_t *after = q + 1;
      while (after < end && (*after == ' ' || *after == '\n' || *after == '\r' || *after == '\t'))
        after++;
      if (after < end && *after != ':')
        count = token_add(out, count, (size_t)(p + 1 - data), (size_t)(q - p - 1), OISP_TEMPLATE_STRING);
      p = q + 1;
    } else if (*p == '-' || (uint8_t)(*p - '0') < 10) {
      const uint8_t *q = oisp_number_end(p, end, &flags);
      if (q == NULL)
        return -1;
      count = token_add(out, count, (size_t)(p - data), (size_t)(q - p), OISP_TEMPLATE_NUMBER);
      p = q;
    } else
      p++;
  }
  return token_add(out, count, tail, size - 1 - tail, OISP_TEMPLATE_BLANKS);
}

static int find_offset(const uint32_t *list, uint32_t count, uint32_t at) {
  for (uint32_t i = 0; i < count; i++)
    if (list[i] == at)
      return (int)i;
  return -1;
}

/* Which slot a value is that differs, or whose text is gathered; 0: it must not be one. */
static int slot_kind(const oisp_template_facts *f, const token *y, int text) {
  if (text >= 0)
    return OISP_TEMPLATE_TEXT;
  if (y->at >= f->counted && y->at < f->counted_end)
    return y->kind == OISP_TEMPLATE_NUMBER ? OISP_TEMPLATE_COUNTER : 0;
  return find_offset(f->fixed, f->fixed_count, y->at) >= 0 ? 0 : y->kind;
}

static int add_slot(oisp_template *t, const oisp_template_facts *f, const uint8_t *literal, uint32_t size,
                    const token *y, int text) {
  int kind = slot_kind(f, y, text);
  uint32_t target = kind == OISP_TEMPLATE_COUNTER ? f->text_count + t->counters++ : (uint32_t)(text < 0 ? 0 : text);
  if (t->slot_count == OISP_TEMPLATE_SLOTS || kind == 0)
    return 0;
  t->slots[t->slot_count++] = (oisp_template_slot){size, (uint8_t)kind, y->size != 0, (uint16_t)target};
  return oisp_buffer_append(&t->literals, literal, size);
}

int oisp_template_learn(oisp_template *t, const oisp_scan *scan, const uint8_t *a, size_t a_size, const uint8_t *b,
                        size_t b_size, const oisp_template_facts *f) {
  token one[TOKENS], two[TOKENS];
  uint32_t from_a = 0, from_b = 0, literal_from = 0, found = 0;
  int count = tokenize(scan, b, b_size, two);
  oisp_template_wipe(t);
  if (count < 0 || tokenize(scan, a, a_size, one) != count ||
      !oisp_buffer_append(&t->literals, f->before, f->before_size))
    return 0;
  t->before = f->before_size;
  for (int i = 0; i < count; i++) {
    const token *x = one + i, *y = two + i;
    if (x->kind != y->kind || x->at - from_a != y->at - from_b || memcmp(a + from_a, b + from_b, y->at - from_b) != 0)
      break;
    int text = y->kind == OISP_TEMPLATE_STRING ? find_offset(f->texts, f->text_count, y->at) : -1;
    int differs = x->size != y->size || memcmp(a + x->at, b + y->at, y->size) != 0;
    from_a = x->at + x->size;
    from_b = y->at + y->size;
    if (i + 1 == count)
      found++; /* none was left out */
    if (text < 0 && !differs)
      continue; /* stays part of the literal */
    if (!add_slot(t, f, b + literal_from, y->at - literal_from, y, text))
      break;
    literal_from = from_b;
    found += text >= 0;
  }
  t->tail = (uint32_t)b_size - literal_from;
  if (found != f->text_count + 1 || a_size - from_a != b_size - from_b ||
      !oisp_buffer_append(&t->literals, b + literal_from, t->tail)) {
    oisp_template_wipe(t);
    return 0;
  }
  return 1;
}

int oisp_template_remake(const oisp_template *t, const char counters[][16], oisp_buffer *out) {
  const uint8_t *literal = t->literals.data + t->before;
  uint32_t next = 0;
  for (uint32_t i = 0; i < t->slot_count; i++) {
    const oisp_template_slot *s = &t->slots[i];
    const char *value = s->kind == OISP_TEMPLATE_COUNTER             ? counters[next++]
                        : s->kind == OISP_TEMPLATE_NUMBER            ? "0"
                        : s->kind == OISP_TEMPLATE_TEXT && s->filled ? "x"
                                                                     : "";
    if (!oisp_buffer_append(out, literal, s->literal) || !oisp_buffer_append(out, value, strlen(value)))
      return 0;
    literal += s->literal;
  }
  return oisp_buffer_append(out, literal, t->tail);
}
