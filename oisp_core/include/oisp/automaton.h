/* SPDX-License-Identifier: Apache-2.0
 *
 * The search form of an Aho-Corasick automaton: a dense table over byte classes. It is never built here and never changed:
 * `match/trie.py` is the build form, and `automaton.pyx` checks every state and offset before a table is used.
 *
 * A state is the offset of its row in `next` (its number times `classes`), so that a step is one addition and one load.
 * Rows of states in which a pattern ends come last: "has output" is one comparison with `first_match`.
 * ASCII case is folded in the class map, so folding costs nothing in the search.
 */
#ifndef OISP_AUTOMATON_H
#define OISP_AUTOMATON_H

#include <stddef.h>
#include <stdint.h>

typedef struct oisp_automaton {
  const uint32_t *next;      /* states x classes: the row offset of the state that follows */
  const uint32_t *out_start; /* one per match state, and one more: where its outputs begin */
  const uint32_t *outputs;   /* numbers of patterns, longest first in each state */
  const uint32_t *lengths;   /* of each pattern, in bytes */
  uint8_t classes[256];      /* class of each byte */
  uint32_t classes_count;
  uint32_t states;
  uint32_t first_match;  /* row offset of the first match state; states x classes if there is none */
  uint32_t patterns;
  uint32_t longest;      /* bytes of the longest pattern */
  uint32_t reserved;
} oisp_automaton;

_Static_assert(sizeof(oisp_automaton) == 4 * sizeof(void *) + 256 + 6 * 4, "no hidden padding");

static inline const uint8_t *oisp_automaton_classes(const oisp_automaton *a) { return a->classes; }

typedef struct oisp_match {
  uint32_t pattern;
  uint32_t start;
  uint32_t end; /* one past the last byte */
} oisp_match;

/* Called for each match; what it answers is kept: 0 stops the scan. */
typedef int (*oisp_match_sink)(void *context, uint32_t pattern, size_t start, size_t end);

#endif
