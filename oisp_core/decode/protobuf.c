/* SPDX-License-Identifier: Apache-2.0
 *
 * Wire format: https://protobuf.dev/programming-guides/encoding/. The contract stands in oisp/protobuf.h.
 *
 * A message is walked twice: once to note where each field that has a name begins and ends, then field by field, since the
 * elements of one list may stand apart on the wire. Recursion is as deep as messages stand in each other, and bounded.
 */
#include "oisp/protobuf.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VARINT = 0, I64 = 1, LEN = 2, I32 = 5 };

typedef struct {
  const oisp_protos *t;
  oisp_buffer *out;
  size_t out_max;
  const uint8_t *end; /* of everything: what reaches beyond it is cut, what reaches beyond its own message is wrong */
} pass;

/* One field of the wire. */
typedef struct {
  uint32_t number;
  uint32_t wire;
  uint64_t value;      /* of a number, as its bits */
  const uint8_t *data; /* of LEN */
  size_t size;
  int cut; /* LEN: the message ends inside it */
} field;

static int put(pass *p, const void *data, size_t size) {
  return p->out->size + size <= p->out_max && oisp_buffer_append(p->out, data, size);
}

static const uint8_t *read_varint(const uint8_t *at, const uint8_t *end, uint64_t *value) {
  uint64_t n = 0;
  for (int shift = 0; shift < 70 && at < end; shift += 7) {
    n |= shift < 64 ? (uint64_t)(*at & 0x7F) << shift : 0;
    if (!(*at++ & 0x80)) {
      *value = n;
      return at;
    }
  }
  return NULL;
}

/* Why a value could not be read: there is no more of the input, or what is there is none. */
static oisp_status fault(const pass *p, const uint8_t *at, const uint8_t *end, size_t most) {
  return end == p->end && (size_t)(end - at) < most ? OISP_MORE : OISP_BAD;
}

/* The field at *at, which moves behind it. A cut LEN is OISP_OK, with `cut` set and what is there of it. */
static oisp_status next_field(const pass *p, const uint8_t **at, const uint8_t *end, field *f) {
  uint64_t n;
  const uint8_t *next = read_varint(*at, end, &n);
  if (next == NULL)
    return fault(p, *at, end, 10);
  if (n >> 3 == 0 || n >> 32)
    return OISP_BAD;
  f->number = (uint32_t)n >> 3;
  f->wire = (uint32_t)n & 7;
  f->cut = 0;
  size_t left = (size_t)(end - next);
  size_t width = f->wire == I64 ? 8 : 4;
  if (f->wire == VARINT) {
    const uint8_t *behind = read_varint(next, end, &f->value);
    if (behind == NULL)
      return fault(p, next, end, 10);
    *at = behind;
  } else if (f->wire == I64 || f->wire == I32) {
    if (left < width)
      return fault(p, next, end, width);
    f->value = 0;
    for (size_t i = 0; i < width; i++)
      f->value |= (uint64_t)next[i] << (8 * i);
    *at = next + width;
  } else if (f->wire == LEN) {
    const uint8_t *body = read_varint(next, end, &n);
    if (body == NULL)
      return fault(p, next, end, 10);
    left = (size_t)(end - body);
    if (n > left) {
      if (end != p->end || n > UINT32_MAX)
        return OISP_BAD;
      f->cut = 1;
    }
    f->data = body;
    f->size = n > left ? left : (size_t)n;
    *at = body + f->size;
  } else {
    return OISP_BAD; /* groups: no service that is read here has them */
  }
  return OISP_OK;
}

/* --- values --- */

static int put_text(pass *p, const uint8_t *data, size_t size, int cut) {
  static const char hex[] = "0123456789abcdef";
  size_t from = 0;
  if (!put(p, "\"", 1))
    return 0;
  for (size_t i = 0; i < size; i++) {
    uint8_t c = data[i];
    if (c >= 32 && c != '"' && c != '\\')
      continue;
    char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    char plain[2] = {'\\', (char)(c == '\n' ? 'n' : c)};
    int shorter = c == '"' || c == '\\' || c == '\n';
    if (!put(p, data + from, i - from) || !put(p, shorter ? plain : escape, shorter ? 2 : 6))
      return 0;
    from = i + 1;
  }
  return put(p, data + from, size - from) && (cut || put(p, "\"", 1));
}

static int put_base64(pass *p, const uint8_t *data, size_t size, int cut) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (!put(p, "\"", 1))
    return 0;
  for (size_t i = 0; i < size; i += 3) {
    uint32_t n = (uint32_t)data[i] << 16;
    n |= i + 1 < size ? (uint32_t)data[i + 1] << 8 : 0;
    n |= i + 2 < size ? data[i + 2] : 0;
    char four[4] = {digits[n >> 18], digits[n >> 12 & 63], i + 1 < size ? digits[n >> 6 & 63] : '=',
                    i + 2 < size ? digits[n & 63] : '='};
    if (!put(p, four, 4))
      return 0;
  }
  return cut || put(p, "\"", 1);
}

/* The shortest decimal that reads back as the same number; what JSON has no number for is null. */
static int put_real(pass *p, double d, int single) {
  char text[40];
  if (!isfinite(d))
    return put(p, "null", 4);
  for (int digits = single ? 6 : 15; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, d);
    if (single ? strtof(text, NULL) == (float)d : strtod(text, NULL) == d)
      break;
  }
  for (char *c = text; *c; c++)
    if (*c == ',') /* the decimal point of the process's locale */
      *c = '.';
  return put(p, text, strlen(text));
}

static int put_enum(pass *p, const oisp_proto_enum *e, uint64_t value) {
  char text[24];
  for (uint32_t i = 0; i < e->count; i++) {
    const oisp_proto_word *w = p->t->words + e->first + i;
    if (w->number == value)
      return put(p, "\"", 1) && put(p, p->t->pool + w->at, w->size) && put(p, "\"", 1);
  }
  if (value == 0)
    return put(p, "null", 4); /* the word for "not said" */
  return put(p, text, (size_t)snprintf(text, sizeof text, "%" PRId32, (int32_t)value));
}

static int put_number(pass *p, const oisp_proto_field *d, uint32_t wire, uint64_t value) {
  char text[24];
  int64_t n = (int64_t)value;
  if (d->type == OISP_PROTO_BOOL)
    return value ? put(p, "true", 4) : put(p, "false", 5);
  if (d->type == OISP_PROTO_ENUM)
    return put_enum(p, p->t->enums + d->ref - 1, value);
  if (d->type == OISP_PROTO_FLOAT) {
    float f;
    uint32_t bits = (uint32_t)value;
    memcpy(&f, &bits, 4);
    return put_real(p, f, 1);
  }
  if (d->type == OISP_PROTO_DOUBLE) {
    double f;
    memcpy(&f, &value, 8);
    return put_real(p, f, 0);
  }
  if (d->type == OISP_PROTO_UINT)
    return put(p, text, (size_t)snprintf(text, sizeof text, "%" PRIu64, value));
  if (d->type == OISP_PROTO_SINT)
    n = (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
  if (d->type == OISP_PROTO_FIXED && wire == I32)
    n = (int32_t)value;
  return put(p, text, (size_t)snprintf(text, sizeof text, "%" PRId64, n));
}

/* How a value of this type is written on the wire. */
static uint32_t wire_of(const oisp_proto_field *d, uint32_t seen) {
  switch (d->type) {
  case OISP_PROTO_BOOL:
  case OISP_PROTO_INT:
  case OISP_PROTO_UINT:
  case OISP_PROTO_SINT:
  case OISP_PROTO_ENUM:
    return VARINT;
  case OISP_PROTO_FLOAT:
    return I32;
  case OISP_PROTO_DOUBLE:
    return I64;
  case OISP_PROTO_FIXED:
    return seen == I32 ? I32 : I64;
  case OISP_PROTO_PRESENT:
    return seen;
  default:
    return LEN;
  }
}

static oisp_status put_message(pass *p, uint32_t message, const uint8_t *data, size_t size, int depth, int bare,
                               int *some);
static oisp_status put_struct(pass *p, int type, const uint8_t *data, size_t size, int depth);

#define TRY(done) \
  do { \
    if (!(done)) \
      return OISP_LIMIT; \
  } while (0)

static oisp_status put_value(pass *p, const oisp_proto_field *d, const field *f, int depth) {
  int some = 0;
  oisp_status status;
  switch (d->type) {
  case OISP_PROTO_STRING:
    TRY(put_text(p, f->data, f->size, f->cut));
    break;
  case OISP_PROTO_BYTES:
    TRY(put_base64(p, f->data, f->size, f->cut));
    break;
  case OISP_PROTO_PRESENT:
    TRY(put(p, "true", 4));
    return OISP_OK;
  case OISP_PROTO_MESSAGE:
    TRY(put(p, "{", 1));
    status = put_message(p, d->ref, f->data, f->size, depth + 1, 0, &some);
    return status != OISP_OK ? status : f->cut ? OISP_MORE : OISP_OK;
  case OISP_PROTO_STRUCT:
  case OISP_PROTO_VALUE:
  case OISP_PROTO_LIST:
    status = put_struct(p, d->type, f->data, f->size, depth + 1);
    return status != OISP_OK ? status : f->cut ? OISP_MORE : OISP_OK;
  default:
    TRY(put_number(p, d, f->wire, f->value));
    return OISP_OK;
  }
  return f->cut ? OISP_MORE : OISP_OK;
}

/* Numbers of a list that lie in one field, without a key of their own. */
static oisp_status put_packed(pass *p, const oisp_proto_field *d, const field *f, int *some) {
  const uint8_t *at = f->data, *end = f->data + f->size;
  uint32_t wire = wire_of(d, f->size % 8 ? I32 : I64);
  size_t width = wire == I32 ? 4 : 8;
  while (at < end) {
    uint64_t value = 0;
    if (wire == VARINT) {
      const uint8_t *next = read_varint(at, end, &value);
      if (next == NULL)
        return fault(p, at, end, 10);
      at = next;
    } else {
      if ((size_t)(end - at) < width)
        return fault(p, at, end, width);
      for (size_t i = 0; i < width; i++)
        value |= (uint64_t)at[i] << (8 * i);
      at += width;
    }
    TRY((!*some || put(p, ",", 1)) && put_number(p, d, wire, value));
    *some = 1;
  }
  return f->cut ? OISP_MORE : OISP_OK;
}

static int is_number(const oisp_proto_field *d) { return d->type >= OISP_PROTO_BOOL && d->type <= OISP_PROTO_ENUM; }

/* --- Struct, Value, ListValue: JSON as messages --- */

static oisp_status put_entry(pass *p, const field *f, int depth, int *some) {
  const uint8_t *at = f->data, *end = f->data + f->size;
  field key = {0}, value = {0}, next;
  while (at < end) {
    oisp_status status = next_field(p, &at, end, &next);
    if (status != OISP_OK)
      return status;
    if (next.wire == LEN && next.number == 1)
      key = next;
    if (next.wire == LEN && next.number == 2)
      value = next;
  }
  TRY((!*some || put(p, ",", 1)) && put_text(p, key.data, key.size, key.cut));
  *some = 1;
  if (key.cut)
    return OISP_MORE;
  TRY(put(p, ":", 1));
  if (value.data == NULL) {
    TRY(put(p, "null", 4));
    return f->cut ? OISP_MORE : OISP_OK;
  }
  oisp_status status = put_struct(p, OISP_PROTO_VALUE, value.data, value.size, depth + 1);
  return status != OISP_OK ? status : f->cut || value.cut ? OISP_MORE : OISP_OK;
}

static oisp_status put_one_value(pass *p, const field *f, int depth) {
  static const oisp_proto_field real = {.type = OISP_PROTO_DOUBLE}, flag = {.type = OISP_PROTO_BOOL};
  if (f->number == 2 && f->wire == I64)
    TRY(put_number(p, &real, I64, f->value));
  else if (f->number == 3 && f->wire == LEN)
    TRY(put_text(p, f->data, f->size, f->cut));
  else if (f->number == 4 && f->wire == VARINT)
    TRY(put_number(p, &flag, VARINT, f->value));
  else if ((f->number == 5 || f->number == 6) && f->wire == LEN)
    return put_struct(p, f->number == 5 ? OISP_PROTO_STRUCT : OISP_PROTO_LIST, f->data, f->size, depth + 1);
  else
    TRY(put(p, "null", 4));
  return f->cut ? OISP_MORE : OISP_OK;
}

static oisp_status put_struct(pass *p, int type, const uint8_t *data, size_t size, int depth) {
  const uint8_t *at = data, *end = data + size;
  field f, last = {0};
  int some = 0;
  if (depth > OISP_PROTO_DEPTH)
    return OISP_LIMIT;
  if (type != OISP_PROTO_VALUE)
    TRY(put(p, type == OISP_PROTO_STRUCT ? "{" : "[", 1));
  while (at < end) {
    oisp_status status = next_field(p, &at, end, &f);
    if (status == OISP_OK && type == OISP_PROTO_VALUE) {
      last = f;
    } else if (status == OISP_OK && f.number == 1 && f.wire == LEN && type == OISP_PROTO_STRUCT) {
      status = put_entry(p, &f, depth, &some);
    } else if (status == OISP_OK && f.number == 1 && f.wire == LEN) {
      TRY(!some || put(p, ",", 1));
      some = 1;
      status = put_struct(p, OISP_PROTO_VALUE, f.data, f.size, depth + 1);
      status = status == OISP_OK && f.cut ? OISP_MORE : status;
    }
    if (status != OISP_OK)
      return status;
  }
  if (type == OISP_PROTO_VALUE)
    return put_one_value(p, &last, depth);
  TRY(put(p, type == OISP_PROTO_STRUCT ? "}" : "]", 1));
  return OISP_OK;
}

/* --- messages --- */

/* Where a field of the table stands on the wire. */
typedef struct {
  const uint8_t *first; /* NULL: it does not */
  const uint8_t *last;  /* begin of the last one */
  int cut;              /* the last one is */
} place;

static int fits(const oisp_proto_field *d, uint32_t wire) {
  return wire == wire_of(d, wire) || (wire == LEN && d->flags & OISP_PROTO_REPEATED && is_number(d));
}

static oisp_status find_places(const pass *p, const oisp_proto_message *m, const uint8_t *data, size_t size,
                               place *places) {
  const uint8_t *at = data, *end = data + size;
  field f;
  while (at < end) {
    const uint8_t *from = at;
    oisp_status status = next_field(p, &at, end, &f);
    if (status != OISP_OK)
      return status;
    for (uint32_t i = 0; i < m->count; i++) {
      const oisp_proto_field *d = p->t->fields + m->first + i;
      if (d->number != f.number || !fits(d, f.wire))
        continue;
      if (places[i].first == NULL)
        places[i].first = from;
      places[i].last = from;
      places[i].cut = f.cut;
    }
    if (f.cut)
      return OISP_MORE;
  }
  return OISP_OK;
}

static oisp_status put_name(pass *p, const oisp_proto_field *d, int *some) {
  TRY((!*some || put(p, ",", 1)) && put(p, "\"", 1) && put(p, p->t->pool + d->name, d->name_size) && put(p, "\":", 2));
  *some = 1;
  return OISP_OK;
}

static oisp_status put_list(pass *p, const oisp_proto_field *d, const place *where, const uint8_t *end, int depth) {
  const uint8_t *at = where->first;
  int some = 0;
  field f;
  TRY(put(p, "[", 1));
  while (at <= where->last) {
    oisp_status status = next_field(p, &at, end, &f);
    if (status == OISP_OK && f.number == d->number && fits(d, f.wire)) {
      if (f.wire == LEN && is_number(d)) {
        status = put_packed(p, d, &f, &some);
      } else {
        TRY(!some || put(p, ",", 1));
        some = 1;
        status = put_value(p, d, &f, depth);
      }
    }
    if (status != OISP_OK)
      return status;
  }
  TRY(put(p, "]", 1));
  return OISP_OK;
}

static oisp_status put_field(pass *p, const oisp_proto_field *d, const place *where, const uint8_t *end, int depth,
                             int *some) {
  const uint8_t *at = where->last;
  field f;
  oisp_status status;
  if (d->flags & OISP_PROTO_REPEATED) {
    status = put_name(p, d, some);
    return status != OISP_OK ? status : put_list(p, d, where, end, depth);
  }
  status = next_field(p, &at, end, &f);
  if (status != OISP_OK)
    return status;
  if (d->flags & OISP_PROTO_INLINE) {
    status = put_message(p, d->ref, f.data, f.size, depth + 1, 1, some);
    return status != OISP_OK ? status : f.cut ? OISP_MORE : OISP_OK;
  }
  status = put_name(p, d, some);
  return status != OISP_OK ? status : put_value(p, d, &f, depth);
}

static oisp_status put_zero(pass *p, const oisp_proto_field *d, int *some) {
  oisp_status status = put_name(p, d, some);
  if (status != OISP_OK)
    return status;
  if (d->flags & OISP_PROTO_REPEATED)
    TRY(put(p, "[]", 2));
  else if (d->type == OISP_PROTO_STRING || d->type == OISP_PROTO_BYTES)
    TRY(put(p, "\"\"", 2));
  else
    TRY(put_number(p, d, wire_of(d, I32), 0));
  return OISP_OK;
}

/* The members of a message, and what closes it unless it is `bare`. What is cut comes last: nothing can stand behind it. */
static oisp_status put_message(pass *p, uint32_t message, const uint8_t *data, size_t size, int depth, int bare,
                               int *some) {
  const oisp_proto_message *m = p->t->messages + message - 1;
  const uint8_t *end = data + size;
  place places[OISP_PROTO_FIELDS];
  oisp_status found, status;
  if (depth > OISP_PROTO_DEPTH)
    return OISP_LIMIT;
  memset(places, 0, m->count * sizeof(place));
  found = find_places(p, m, data, size, places);
  for (uint32_t i = 0; i < m->count; i++) {
    const oisp_proto_field *d = p->t->fields + m->first + i;
    status = OISP_OK;
    if (places[i].first && !places[i].cut)
      status = put_field(p, d, &places[i], end, depth, some);
    else if (!places[i].first && d->flags & OISP_PROTO_ALWAYS && found == OISP_OK)
      status = put_zero(p, d, some);
    if (status != OISP_OK)
      return status;
  }
  for (uint32_t i = 0; i < m->count; i++) {
    if (places[i].cut) {
      status = put_field(p, p->t->fields + m->first + i, &places[i], end, depth, some);
      return status == OISP_OK ? OISP_MORE : status;
    }
  }
  if (found != OISP_OK)
    return found;
  TRY(bare || put(p, "}", 1));
  return OISP_OK;
}

oisp_status oisp_proto_json(const oisp_protos *t, uint32_t message, const uint8_t *data, size_t size, oisp_buffer *out,
                            size_t out_max) {
  pass p = {t, out, out_max, data + size};
  int some = 0;
  if (!put(&p, "{", 1))
    return OISP_LIMIT;
  return put_message(&p, message, data, size, 0, 0, &some);
}
