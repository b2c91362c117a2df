/* SPDX-License-Identifier: Apache-2.0
 *
 * The steady state of a stream. Events of one stream differ inside a few values only; what surrounds them is compared, not
 * parsed. A template is learned from two events that were scanned whole: the values in which they differ, and those whose text
 * is gathered, become slots (string, number, or blanks before the last brace); everything between is literal.
 *
 * Exact, not heuristic: when all literals are equal and each slot holds one whole valid value of its kind, the event has the
 * structure of the learned one, so a full pass would capture the same values at the same places. Values that a selector
 * looks at, or that go anywhere but to the end of a text, are never slots. Anything else takes the full pass.
 */
#ifndef OISP_TEMPLATE_H
#define OISP_TEMPLATE_H

#include "buffer.h"
#include "scan.h"
#include <stdint.h>

#define OISP_TEMPLATE_SLOTS 12 /* values that may change; an event with more of them is scanned */

enum oisp_template_slot_kind {
  OISP_TEMPLATE_TEXT = 1, /* string whose content is appended */
  OISP_TEMPLATE_STRING = 2,
  OISP_TEMPLATE_NUMBER = 3,
  OISP_TEMPLATE_BLANKS = 4
};

typedef struct oisp_template_slot {
  uint32_t literal; /* bytes of the literal before it */
  uint8_t kind;
  uint8_t filled;   /* TEXT: 1 when it was not empty; whether it is may decide between alternatives */
  uint16_t target;  /* TEXT: which of the texts that were given to learn */
} oisp_template_slot;

typedef struct oisp_template {
  oisp_buffer literals; /* all of them, one after the other */
  oisp_template_slot slots[OISP_TEMPLATE_SLOTS];
  uint32_t slot_count;
  uint32_t tail; /* bytes of the literal after the last slot */
} oisp_template;

/* A piece of an event: where it stands. */
typedef struct oisp_span {
  uint32_t at;
  uint32_t size;
  uint32_t flags; /* of enum oisp_capture_flags */
} oisp_span;

/* From two events (valid JSON objects) of one shape. texts: insides of strings of b that are gathered, in the order of the
 * document; fixed: offsets in b of values that must not change. 0: no template can be made of them. */
int oisp_template_learn(oisp_template *t, const oisp_scan *scan, const uint8_t *a, size_t a_size, const uint8_t *b,
                        size_t b_size, const uint32_t *texts, uint32_t text_count, const uint32_t *fixed,
                        uint32_t fixed_count);

/* 1: the event fits; out[target] is the piece of each text. */
int oisp_template_match(const oisp_template *t, const oisp_scan *scan, const uint8_t *data, size_t size,
                        oisp_span *out);

static inline void oisp_template_wipe(oisp_template *t) {
  oisp_buffer_wipe(&t->literals);
  t->slot_count = 0;
}

#endif
