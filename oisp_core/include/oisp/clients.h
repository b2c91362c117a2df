/* SPDX-License-Identifier: Apache-2.0
 *
 * Who asks, from a request's head: semconv/clients.yaml as flat tables, and the walk over the fields of a head. Immutable; any
 * number of engines read one. Header-only; nothing is kept of the head but what the caller copies out of the answer.
 */
#ifndef OISP_CLIENTS_H
#define OISP_CLIENTS_H

#include "bytes.h"
#include "verdict.h"
#include <stdint.h>
#include <string.h>

enum oisp_client_role { OISP_CLIENT_APP = 0, OISP_CLIENT_FRAMEWORK = 1, OISP_CLIENT_SDK = 2, OISP_CLIENT_ROLES = 3 };

typedef struct oisp_client {
  oisp_slice id, name, vendor, category, type, agent; /* empty: not said */
  oisp_slice session[2]; /* lower-case names of the fields that name its conversation */
  uint8_t role;
} oisp_client;

enum oisp_client_test {
  OISP_CLIENT_PRODUCT = 0, /* of a user agent */
  OISP_CLIENT_PREFIX = 1,  /* the beginning of a product */
  OISP_CLIENT_VALUE = 2,   /* the whole value of a field */
  OISP_CLIENT_ANY = 3      /* the field is there */
};

typedef struct oisp_client_rule {
  oisp_slice field; /* lower case; empty: the user agent */
  oisp_slice text;  /* lower case */
  uint16_t client;  /* index */
  uint8_t test;
} oisp_client_rule;

#define OISP_CLIENT_RULES 256 /* at most */

typedef struct oisp_clients {
  const oisp_client *clients;
  const oisp_client_rule *rules; /* in the order of the clients */
  uint32_t clients_count, rules_count;
  uint32_t initials[32]; /* of the fields that rules name: a bit per first letter, by length */
  /* The rules that may fit, as bits: of products by the five low bits of their first letter, at last those of fields. */
  uint64_t candidates[33][OISP_CLIENT_RULES / 64];
} oisp_clients;

typedef struct oisp_asker {
  const oisp_client *who[OISP_CLIENT_ROLES]; /* NULL: unknown */
  oisp_slice version[OISP_CLIENT_ROLES];
  oisp_slice session[2];
} oisp_asker;

/* Names of a family differ at their ends: the last letter is asked first. */
static inline int oisp_field_is(const oisp_field *f, const char *lower, size_t size) {
  return f->name.size == size && (f->name.data[size - 1] | 0x20) == (lower[size - 1] | 0x20) &&
         oisp_equal_nocase(f->name.data, lower, size);
}

static inline int oisp_is_agent_field(const oisp_field *f) {
  return oisp_field_is(f, "user-agent", 10) || oisp_field_is(f, "x-goog-api-client", 17) ||
         oisp_field_is(f, "x-amz-user-agent", 16);
}

static inline int oisp_is_version(uint8_t c) {
  return (uint8_t)(c - '0') < 10 || (uint8_t)((c | 0x20) - 'a') < 26 || c == '.' || c == '-' || c == '+' || c == '_';
}

/* What follows a product: `/1.2`, ` 1.2`, `/v1.2`. At most 32 bytes. */
static inline oisp_slice oisp_version_at(const uint8_t *p, const uint8_t *end) {
  oisp_slice v = {NULL, 0};
  if (p < end && (*p == '/' || *p == ' '))
    p++;
  if (end - p > 1 && (*p | 0x20) == 'v' && (uint8_t)(p[1] - '0') < 10)
    p++;
  if (p == end || (uint8_t)(*p - '0') > 9)
    return v;
  v.data = p;
  while (p < end && v.size < 32 && oisp_is_version(*p))
    p++, v.size++;
  return v;
}

/* Where products begin in the values of a head. */
typedef struct oisp_products {
  const uint8_t *at[24], *end[24];
  uint32_t count;
} oisp_products;

static inline void oisp_split_products(const oisp_slice *value, oisp_products *p) {
  const uint8_t *data = value->data;
  for (uint32_t i = 0; i < value->size && p->count < 24; i++)
    if (i == 0 || data[i - 1] == ' ' || data[i - 1] == '(' || data[i - 1] == ';' || data[i - 1] == ',') {
      p->at[p->count] = data + i;
      p->end[p->count++] = data + value->size;
    }
}

static inline int oisp_ends_product(uint8_t c) { return c == '/' || c == ' ' || c == ';' || c == ')' || c == '#'; }

/* 1: this product is the rule's; its version into v. */
static inline int oisp_product_is(const uint8_t *p, const uint8_t *end, const oisp_client_rule *r, oisp_slice *v) {
  if ((size_t)(end - p) < r->text.size || (*p | 0x20) != (r->text.data[0] | 0x20) ||
      !oisp_equal_nocase(p, (const char *)r->text.data, r->text.size))
    return 0;
  const uint8_t *after = p + r->text.size;
  if (r->test == OISP_CLIENT_PREFIX)
    while (after < end && !oisp_ends_product(*after))
      after++;
  else if (after < end && !oisp_ends_product(*after))
    return 0;
  *v = oisp_version_at(after, end);
  return 1;
}

static inline int oisp_field_fits(const oisp_client_rule *r, const oisp_field *f) {
  if (!oisp_field_is(f, (const char *)r->field.data, r->field.size))
    return 0;
  return r->test == OISP_CLIENT_ANY ||
         (f->value.size == r->text.size && oisp_equal_nocase(f->value.data, (const char *)r->text.data, r->text.size));
}

/* Most fields of a head are none that a rule names: told by length and first letter. */
static inline int oisp_may_tell(const oisp_clients *c, const oisp_field *f) {
  uint8_t letter = f->name.size ? (uint8_t)((f->name.data[0] | 0x20) - 'a') : 0xFF;
  return f->name.size < 32 && letter < 26 && (c->initials[f->name.size] >> letter & 1);
}

static inline void oisp_find_session(const oisp_head *head, oisp_asker *a) {
  const oisp_client *app = a->who[OISP_CLIENT_APP];
  for (int k = 0; app && k < 2; k++)
    for (uint32_t i = 0; app->session[k].size && i < head->fields_count; i++)
      if (oisp_field_is(&head->fields[i], (const char *)app->session[k].data, app->session[k].size))
        a->session[k] = head->fields[i].value;
}

static inline int oisp_rule_fits(const oisp_client_rule *r, const oisp_products *p, const oisp_field *const *telling,
                                 uint32_t count, oisp_slice *v) {
  if (r->test <= OISP_CLIENT_PREFIX) {
    for (uint32_t k = 0; k < p->count; k++)
      if (oisp_product_is(p->at[k], p->end[k], r, v))
        return 1;
    return 0;
  }
  for (uint32_t k = 0; k < count; k++)
    if (oisp_field_fits(r, telling[k]))
      return 1;
  return 0;
}

static inline void oisp_find_asker(const oisp_clients *c, const oisp_head *head, oisp_asker *a) {
  const oisp_field *telling[8];
  oisp_products products;
  uint32_t count = 0;
  memset(a, 0, sizeof *a);
  products.count = 0;
  for (uint32_t i = 0; i < head->fields_count; i++) {
    const oisp_field *f = &head->fields[i];
    if (oisp_is_agent_field(f))
      oisp_split_products(&f->value, &products);
    else if (count < 8 && oisp_may_tell(c, f))
      telling[count++] = f;
  }
  uint64_t left[OISP_CLIENT_RULES / 64] = {0};
  for (uint32_t i = 0; i < products.count; i++)
    for (size_t w = 0; w < OISP_CLIENT_RULES / 64; w++)
      left[w] |= c->candidates[*products.at[i] & 31][w];
  for (size_t w = 0; w < OISP_CLIENT_RULES / 64; w++)
    for (left[w] |= count ? c->candidates[32][w] : 0; left[w]; left[w] &= left[w] - 1) {
      const oisp_client_rule *r = &c->rules[64 * w + (size_t)__builtin_ctzll(left[w])];
      const oisp_client *client = &c->clients[r->client];
      if (a->who[client->role] == NULL && oisp_rule_fits(r, &products, telling, count, &a->version[client->role]))
        a->who[client->role] = client;
    }
  oisp_find_session(head, a);
}

#endif
