/* SPDX-License-Identifier: Apache-2.0
 *
 * One validating pass over a JSON document, driven by a compiled trie of paths: what a path names becomes a capture (a span
 * and its kind), everything else is checked and passed over. Not a parser: no tree, no values, no copies. Spans are
 * offsets into the caller's bytes; nothing outside them is read.
 *
 * Contract. The document is contiguous; it may be cut anywhere (OISP_MORE: captures hold what stands before the cut, an open
 * string is marked CUT). OISP_BAD: not JSON from there on; captures before the fault stand. OISP_LIMIT: deeper than
 * depth_max, or more captures than captures_max. Text that JSON forbids but that can be told apart (control bytes, invalid
 * UTF-8, unknown escapes, unpaired surrogates) is no fault: the capture is marked DIRTY and oisp_json_clean() rewrites it.
 * Of keys that stand twice in an object the last one wins, as in every common JSON library.
 */
#ifndef OISP_JSONSCAN_H
#define OISP_JSONSCAN_H

#include "scan.h"
#include "status.h"
#include <stddef.h>
#include <stdint.h>

enum oisp_json_kind {
  OISP_JSON_NULL = 0,
  OISP_JSON_FALSE = 1,
  OISP_JSON_TRUE = 2,
  OISP_JSON_NUMBER = 3,
  OISP_JSON_STRING = 4,
  OISP_JSON_ARRAY = 5,
  OISP_JSON_OBJECT = 6,
  OISP_JSON_PREFIX = 7 /* of tests only */
};

enum oisp_capture_flags {
  OISP_CAPTURE_ESCAPED = 1, /* holds escapes */
  OISP_CAPTURE_DIRTY = 2,   /* has to be rewritten before it leaves */
  OISP_CAPTURE_CUT = 4,     /* the document ended inside it */
  OISP_CAPTURE_HIGH = 8,    /* ends with the escape of an unpaired high surrogate */
  OISP_CAPTURE_LOW = 16     /* begins with the escape of an unpaired low surrogate */
};

/* The trie. Nodes are numbered in preorder, so that the descendants of n are [n, nodes[n].end). Node 0 is "nothing". */
typedef struct oisp_json_node {
  uint32_t end;
  uint32_t edges;     /* its hash table: edges[edges .. edges + edge_mask], none when edge_mask is 0 */
  uint32_t element;   /* node of the elements of an array, 0 none */
  uint32_t member;    /* node of members with any name, 0 none */
  uint32_t leaves;    /* leaves[leaves .. leaves + leaf_count) */
  uint32_t tests;     /* tests[tests .. tests + test_count): what its value says about the object that holds it */
  uint16_t edge_mask; /* size of the hash table - 1; sizes are powers of two of at least 2 */
  uint16_t kinds;     /* union of the kinds of its leaves */
  uint16_t test_count;
  uint8_t leaf_count; /* at most 32 */
  uint8_t selects;    /* 1: leaves below it have conditions on this object */
  uint32_t test_bits; /* union of the bits of its tests: cleared when the key stands again */
} oisp_json_node;

typedef struct oisp_json_edge {
  uint32_t name; /* in the pool */
  uint16_t size;
  uint16_t ordinal; /* below 64, unique among the edges of a node */
  uint32_t node;    /* 0: empty slot */
} oisp_json_edge;

typedef struct oisp_json_leaf {
  uint16_t kinds;     /* bit set of 1 << enum oisp_json_kind */
  uint8_t cond_count;
  uint8_t reserved;
  uint32_t conds;
} oisp_json_leaf;

/* Of the object at `node`: all of these bits, none of those. */
typedef struct oisp_json_cond {
  uint32_t node;
  uint32_t all;
  uint32_t none;
} oisp_json_cond;

typedef struct oisp_json_test {
  uint32_t value; /* in the pool: unescaped string, or literal */
  uint16_t size;
  uint8_t
      kind; /* OISP_JSON_STRING compares strings, OISP_JSON_PREFIX their beginning, OISP_JSON_NUMBER any other scalar,
                   OISP_JSON_OBJECT: present, not null */
  uint8_t bit;
} oisp_json_test;

typedef struct oisp_json_table {
  const oisp_json_node *nodes;
  const oisp_json_edge *edges;
  const oisp_json_leaf *leaves;
  const oisp_json_cond *conds;
  const oisp_json_test *tests;
  const uint8_t *pool;
} oisp_json_table;

typedef struct oisp_capture {
  uint32_t node;
  uint32_t alive; /* bit n: leaf n of the node holds; 0: dropped */
  uint32_t at;    /* string: inside its quotes */
  uint32_t size;
  uint32_t next;  /* index one past the captures that lie inside it */
  uint32_t count; /* elements of an array, members of an object */
  uint8_t kind;   /* enum oisp_json_kind */
  uint8_t flags;  /* enum oisp_capture_flags */
  uint16_t reserved;
} oisp_capture;

_Static_assert(sizeof(oisp_capture) == 28, "seven words");

typedef struct oisp_json_frame {
  uint64_t seen;  /* bit per edge ordinal */
  uint32_t node;
  uint32_t mark;  /* first capture inside it, its own included */
  uint32_t own;   /* 1 + index of its own capture */
  uint32_t count;
  uint32_t bits;  /* tests that hold */
  uint32_t object;
  uint32_t dirty; /* dirty strings before it */
  uint32_t reserved;
} oisp_json_frame;

#define OISP_JSON_TESTED 16

/* Reusable; zero-initialised by oisp_json_init. */
typedef struct oisp_json {
  oisp_capture *captures;
  uint32_t count, capacity;
  oisp_json_frame *frames;
  uint32_t frames_capacity;
  uint32_t depth_max;    /* bound of nesting */
  uint32_t captures_max; /* bound of captures in one document */
  uint32_t dirty;        /* strings of this document that are not valid JSON text, captured or not */
  uint32_t used;         /* bytes read */
  const oisp_scan *scan;
  uint32_t tested_count;  /* values that selectors looked at; of these the first are kept: */
  uint32_t tested[OISP_JSON_TESTED]; /* where they stand */
} oisp_json;

void oisp_json_init(oisp_json *j, const oisp_scan *scan, uint32_t depth_max, uint32_t captures_max);
void oisp_json_free(oisp_json *j);

/* `bits` are tests of the root object that hold from the start (the name of a stream's event). */
oisp_status oisp_json_scan(oisp_json *j, const oisp_json_table *t, uint32_t root, const uint8_t *data, size_t size,
                           uint32_t bits);

/* The bits that the value of `node` sets, when its value is the plain string `value`. */
uint32_t oisp_json_tests(const oisp_json_table *t, uint32_t node, const uint8_t *value, size_t size);

/* Rewrite the inside of a string to valid JSON text: at most 3 * size bytes go to `out`; returns how many. An unpaired low
 * surrogate at the head, or a high one at the tail, stays as it is when the flag is in `keep` (pieces of a stream). */
size_t oisp_json_clean(uint8_t *out, const uint8_t *data, size_t size, int keep);

/* The same for a whole JSON value; blanks below 0x20 become spaces, so that it fits into a line. */
size_t oisp_json_clean_value(uint8_t *out, const uint8_t *data, size_t size);

/* Unescape the inside of a valid string: at most `size` bytes go to `out`; returns how many. Unpaired surrogates become
 * U+FFFD. */
size_t oisp_json_unescape(uint8_t *out, const uint8_t *data, size_t size);

#endif
