/* SPDX-License-Identifier: Apache-2.0
 *
 * The compiled form of semconv/providers: flat tables that match/rules.pyx walks. `match/compile.py` writes them as numpy
 * arrays of these very structs, `Registry` checks every index and offset in them once, and nothing changes them after.
 *
 * Numbers that stand for a thing (provider, dialect, shape, terminal, variant) are 1-based, 0 is "none". `at` and `size` are
 * a slice of the pool. Tables that are probed by hash have a power of two of slots, at most half of them in use; an empty
 * slot ends the probe.
 */
#ifndef OISP_RULES_H
#define OISP_RULES_H

#include "automaton.h"
#include "verdict.h"
#include <string.h>

/* A host, or the literal end of a host pattern (from a dot on); its links are the patterns that end like this. */
typedef struct oisp_rule_host {
  uint32_t hash;
  uint32_t at;
  uint32_t size;
  uint32_t first; /* into links */
  uint32_t count; /* 0: empty slot */
} oisp_rule_host;

enum oisp_link_flag {
  OISP_LINK_NEVER = 1 /* this host is never AI */
};

typedef struct oisp_rule_link {
  uint32_t at; /* what has to stand before the suffix, with OISP_GLOB_* bytes; size 0: nothing */
  uint32_t size;
  uint16_t port; /* 0: any */
  uint16_t provider;
  uint8_t flags;
  uint8_t account_type;
  uint16_t reserved;
} oisp_rule_link;

/* Bytes in globs that no host or path holds. */
#define OISP_GLOB_REGION 1 /* one or more bytes without a dot, kept as the region */
#define OISP_GLOB_LABEL 2  /* one or more bytes without a dot */
#define OISP_GLOB_MANY 3   /* one or more bytes */
#define OISP_GLOB_REST 4   /* any number of bytes */

/* Paths are a trie of tokens, read from the end of the path to its start. */
typedef struct oisp_rule_edge {
  uint32_t hash; /* of the token, seeded with the parent */
  uint32_t parent;
  uint32_t child; /* 0: empty slot (the root is nobody's child) */
  uint32_t at;
  uint32_t size;
} oisp_rule_edge;

typedef struct oisp_rule_node {
  uint32_t any;        /* child for any one token, 0 none */
  uint32_t glob_first; /* children for tokens that begin or end in a certain way */
  uint16_t glob_count;
  uint16_t terminal;
} oisp_rule_node;

typedef struct oisp_rule_token_glob {
  uint32_t child;
  uint32_t prefix;
  uint32_t prefix_size;
  uint32_t suffix;
  uint32_t suffix_size;
} oisp_rule_token_glob;

/* A whole path pattern. Positions of captures count tokens from the end, 1-based. */
typedef struct oisp_rule_terminal {
  uint32_t rules_first; /* rules of providers at this path, sorted by provider */
  uint32_t gates_first; /* into gates: what to try, in order, when the host is unknown */
  uint32_t served_first; /* into served: providers that answer at this path, sorted */
  uint16_t rules_count;
  uint16_t gates_count;
  uint16_t served_count;
  uint16_t rank; /* of two patterns that fit, the higher one is the more specific */
  uint8_t anchored; /* the pattern is the whole path */
  uint8_t model_from; /* the outer token of the model's name, 0 none */
  uint8_t model_to;   /* the inner one */
  uint8_t region;
  uint8_t project;
  uint8_t organization;
  uint16_t reserved;
} oisp_rule_terminal;

enum oisp_rule_flag {
  OISP_RULE_WEBSOCKET = 1, /* a WebSocket handshake */
  OISP_RULE_GRPC = 2,      /* content-type application/grpc */
  OISP_RULE_ALONE = 4,     /* behind an unknown host the path is enough, because no other API has it */
  OISP_RULE_NOT_AI = 8,    /* known, and not AI: model lists and the like */
  OISP_RULE_ANY_PATH = 16  /* may stand at any path, if a header or the protocol hints at it */
};

enum oisp_rule_method {
  OISP_METHOD_GET = 1,
  OISP_METHOD_POST = 2,
  OISP_METHOD_PUT = 4,
  OISP_METHOD_PATCH = 8,
  OISP_METHOD_DELETE = 16,
  OISP_METHOD_OTHER = 32
};

typedef struct oisp_rule {
  uint32_t name; /* the endpoint's key in its file */
  uint32_t name_size;
  uint16_t provider;
  uint16_t dialect;
  uint16_t shape;
  uint16_t terminal;
  uint16_t variant_first;
  uint8_t variant_count;
  uint8_t kind;
  uint8_t request_type;
  uint8_t methods;
  uint8_t flags;
  uint8_t reserved;
} oisp_rule;

/* The same endpoint, but another kind: chosen by the model in the path, or by the body. */
typedef struct oisp_rule_variant {
  uint32_t at; /* glob over the model, size 0: no matter */
  uint32_t size;
  uint16_t shape;
  uint16_t dialect;
  uint8_t kind;
  uint8_t request_type;
  uint16_t reserved;
} oisp_rule_variant;

/* What a body has to look like. Terms of `all`, `any`, `none` follow each other. */
typedef struct oisp_rule_shape {
  uint32_t first;
  uint16_t all;
  uint16_t any;
  uint16_t none;
  uint16_t model;    /* node that names the model, 0 none */
  uint8_t multipart; /* terms are names of form fields: numbers of patterns of the form automaton */
  uint8_t answers;   /* bits of enum oisp_answer: content types that the response may have, 0 any */
  uint16_t reserved;
} oisp_rule_shape;

enum oisp_answer { OISP_ANSWER_JSON = 1, OISP_ANSWER_SSE = 2, OISP_ANSWER_NDJSON = 4, OISP_ANSWER_OTHER = 8 };

enum oisp_json_type {
  OISP_SHAPE_STRING = 1,
  OISP_SHAPE_NUMBER = 2,
  OISP_SHAPE_BOOL = 4,
  OISP_SHAPE_NULL = 8,
  OISP_SHAPE_OBJECT = 16,
  OISP_SHAPE_ARRAY = 32
};

typedef struct oisp_rule_term {
  uint16_t node;
  uint8_t types; /* bits of enum oisp_json_type */
  uint8_t reserved;
} oisp_rule_term;

/* Keys of bodies that any shape asks for, as a trie; node 0 is the document. */
typedef struct oisp_rule_key_edge {
  uint32_t hash; /* of the key, seeded with the parent */
  uint32_t at;
  uint32_t size;
  uint16_t parent;
  uint16_t child; /* 0: empty slot */
} oisp_rule_key_edge;

typedef struct oisp_rule_key_node {
  uint16_t items; /* node of the array's items, 0 none */
  uint16_t test_first;
  uint16_t test_count;
  uint16_t reserved;
} oisp_rule_key_node;

enum oisp_test { OISP_TEST_EQUAL = 1, OISP_TEST_PREFIX = 2, OISP_TEST_CONTAINS = 3 };

/* A test of a string value; it counts as seen under a node of its own. */
typedef struct oisp_rule_key_test {
  uint32_t at;
  uint32_t size;
  uint16_t node;
  uint8_t mode;
  uint8_t reserved;
} oisp_rule_key_test;

enum oisp_header_action {
  OISP_HEADER_AUTHORIZATION = 1, /* scheme and credential */
  OISP_HEADER_CREDENTIAL = 2,    /* the bare credential */
  OISP_HEADER_ORGANIZATION = 4,
  OISP_HEADER_PROJECT = 8,
  OISP_HEADER_SIGNAL = 16,
  OISP_HEADER_CONTENT_TYPE = 32,
  OISP_HEADER_UPGRADE = 64,
  OISP_HEADER_SUBPROTOCOL = 128,
  OISP_HEADER_COOKIE = 256
};

typedef struct oisp_rule_header {
  uint32_t hash;
  uint32_t at;
  uint32_t size; /* 0: empty slot */
  uint32_t signal_first;
  uint16_t signal_count;
  uint16_t actions;
} oisp_rule_header;

enum oisp_signal_mode {
  OISP_SIGNAL_PRESENT = 0,
  OISP_SIGNAL_EQUAL = 1,
  OISP_SIGNAL_PREFIX = 2,
  OISP_SIGNAL_CONTAINS = 3
};
/* bits */
enum oisp_signal_where { OISP_SIGNAL_REQUEST = 1, OISP_SIGNAL_RESPONSE = 2, OISP_SIGNAL_GATEWAY = 4 };

typedef struct oisp_rule_signal {
  uint32_t at;
  uint32_t size;
  uint16_t provider; /* whom it speaks of, 0: it only says that it is worth to look at the body */
  uint8_t mode;
  uint8_t where;
} oisp_rule_signal;

/* A credential's first bytes. */
typedef struct oisp_rule_key {
  uint8_t prefix[16];
  uint8_t size;
  uint8_t auth_type;
  uint8_t account_type;
  uint8_t aws; /* prefix is a service in an AWS credential scope */
  uint16_t provider; /* who gives such keys, 0 several */
  uint16_t reserved;
} oisp_rule_key;

typedef struct oisp_rule_provider {
  uint32_t id;
  uint32_t id_size;
  uint32_t key_first; /* its own key prefixes */
  uint16_t key_count;
  uint8_t name; /* contract enum provider.name */
  uint8_t auth_type; /* of a credential in no known shape, 0 unknown */
} oisp_rule_provider;

/* A query parameter that carries a credential. */
typedef struct oisp_rule_query {
  uint32_t at;
  uint32_t size;
} oisp_rule_query;

/* A port of the loopback or of a private network that only names the provider, once path and body have shown AI. */
typedef struct oisp_rule_port {
  uint16_t port;
  uint16_t provider;
} oisp_rule_port;

/* What a walk finds for one whole path. Paths of endpoints that hold no placeholder are walked once, when a registry is
 * loaded; a request for one of them finds here what the walk would find: the rules of one provider, or with provider 0
 * the terminals. Not stored: made of the checked tables. */
typedef struct oisp_rule_exact {
  uint32_t hash; /* of the path, seeded with the provider */
  uint32_t at; /* into exact_text */
  uint32_t first; /* into exact_found */
  uint16_t size; /* 0: empty slot */
  uint16_t provider;
  uint8_t count;
  uint8_t methods; /* of the rules, together */
  uint8_t verbs; /* the last segment was cut at its colon */
  uint8_t reserved;
} oisp_rule_exact;

/* Which first and last letters names of a size may have; most names that do not matter are told by this alone. Letters
 * count by their last five bits, and so without their case. */
typedef struct oisp_rule_filter {
  uint32_t ends[64][2];
} oisp_rule_filter;

typedef struct oisp_rules {
  const uint8_t *pool;
  const oisp_rule_host *hosts;
  const oisp_rule_host *suffixes;
  const oisp_rule_link *links;
  const oisp_rule_edge *edges;
  const oisp_rule_node *nodes;
  const oisp_rule_token_glob *globs;
  const oisp_rule_terminal *terminals;
  const oisp_rule *rules;
  const oisp_rule_variant *variants;
  const uint16_t *gates;
  const uint16_t *served;
  const oisp_rule_shape *shapes;
  const oisp_rule_term *terms;
  const oisp_rule_key_edge *key_edges;
  const oisp_rule_key_node *key_nodes;
  const oisp_rule_key_test *key_tests;
  const oisp_rule_header *headers;
  const oisp_rule_signal *signals;
  const oisp_rule_key *keys;
  const oisp_rule_provider *providers;
  const oisp_rule_port *ports;
  const oisp_rule_query *queries;
  const uint16_t *any_gates; /* rules that may stand at any path */
  const uint16_t *value_signals; /* signal of each pattern of `values` */
  const oisp_automaton *values; /* what header values may contain */
  const oisp_automaton *fields; /* names of multipart form fields */
  const oisp_rule_exact *exact;
  const uint8_t *exact_text;
  const uint16_t *exact_found; /* the most specific first */
  const uint16_t
      *key_order;   /* keys by their first byte, the longest first; those of AWS signatures are not among them */
  uint16_t key_groups[257];    /* into key_order, by the first byte */
  oisp_rule_filter header_filter; /* names of headers that matter */
  oisp_rule_filter plain_filter; /* those that do more than hint at AI: all that matters where the host is known */
  uint32_t exact_mask;
  uint32_t hosts_mask;
  uint32_t suffixes_mask;
  uint32_t edges_mask;
  uint32_t key_edges_mask;
  uint32_t headers_mask;
  uint32_t keys_count;
  uint32_t providers_count;
  uint32_t ports_count;
  uint32_t queries_count;
  uint32_t any_gates_count;
  uint32_t claude; /* the dialect that Anthropic's models are spoken to where no path says it; 0: not decoded */
  uint32_t key_nodes_count;
  uint32_t rules_count;
  uint32_t terminals_count;
} oisp_rules;

#define OISP_FOLD 0x2020202020202020ULL
#define OISP_KEY_NODES_MAX 512 /* distinct body keys and tests over all shapes */

/* One hash for all tables: both ends of the bytes and their count, mixed twice. Whoever finds a slot compares the bytes.
 * match/compile.py has its twin. Little-endian loads. */
static inline uint32_t oisp_rule_hash(const uint8_t *p, uint32_t n, uint64_t fold, uint32_t seed) {
  uint64_t a = 0, b = 0;
  if (n >= 8) {
    memcpy(&a, p, 8);
    memcpy(&b, p + n - 8, 8);
  } else if (n >= 4) {
    memcpy(&a, p, 4);
    memcpy(&b, p + n - 4, 4);
  } else if (n > 0) {
    a = p[0] | (uint64_t)p[n >> 1] << 8 | (uint64_t)p[n - 1] << 16;
  }
  uint64_t h = ((a | fold) ^ ((uint64_t)seed << 32) ^ seed) * 0x9E3779B97F4A7C15ULL;
  h ^= h >> 29;
  h = (h ^ (b | fold) ^ n) * 0xBF58476D1CE4E5B9ULL;
  return (uint32_t)(h >> 32);
}

/* Eight bytes at once, ASCII letters in lower case: the high bits of two sums tell which bytes are from A to Z. */
static inline uint64_t oisp_rule_lower8(uint64_t x) {
  uint64_t low = x & 0x7F7F7F7F7F7F7F7FULL;
  uint64_t after_z = low + 0x2525252525252525ULL; /* 0x7F - 'Z' */
  uint64_t from_a = low + 0x3F3F3F3F3F3F3F3FULL; /* 0x80 - 'A' */
  uint64_t upper = ~x & (from_a ^ after_z) & 0x8080808080808080ULL;
  return x | upper >> 2;
}

/* Equal but for the case of ASCII letters; `low` is lower case already. */
static inline int oisp_rule_same(const uint8_t *p, const uint8_t *low, uint32_t n) {
  uint64_t a, b;
  uint32_t i = 0;
  if (n >= 8) {
    for (;;) {
      memcpy(&a, p + i, 8);
      memcpy(&b, low + i, 8);
      if (a != b && oisp_rule_lower8(a) != b)
        return 0;
      i += 8;
      if (i == n)
        return 1;
      if (i + 8 > n)
        i = n - 8; /* the last eight, some of them again */
    }
  }
  for (; i < n; i++) {
    uint8_t c = p[i];
    if (c >= 'A' && c <= 'Z')
      c |= 0x20;
    if (c != low[i])
      return 0;
  }
  return 1;
}

/* memset() to 0 of a struct whose size is a multiple of 8 and at least 16. Compilers make of memset a `rep stos`, which takes
 * longer to start than the rest of a short answer. */
static inline void oisp_rule_clear(void *at, size_t n) {
  uint8_t *p = at, *end = p + n;
  for (; p + 16 <= end; p += 16) {
    memset(p, 0, 16);
    __asm__("" : "+r"(p)); /* not a loop that is a memset */
  }
  memset(end - 8, 0, 8);
}

/* memcmp() == 0 for the few bytes that names and tokens have, without a call. */
static inline int oisp_rule_equal(const uint8_t *p, const uint8_t *q, uint32_t n) {
  uint64_t a, b;
  uint32_t c, d, i = 0;
  if (n >= 8) {
    for (; i + 8 <= n; i += 8) {
      memcpy(&a, p + i, 8);
      memcpy(&b, q + i, 8);
      if (a != b)
        return 0;
    }
    memcpy(&a, p + n - 8, 8);
    memcpy(&b, q + n - 8, 8);
    return a == b;
  }
  if (n >= 4) {
    memcpy(&c, p, 4);
    memcpy(&d, q, 4);
    if (c != d)
      return 0;
    memcpy(&c, p + n - 4, 4);
    memcpy(&d, q + n - 4, 4);
    return c == d;
  }
  for (; i < n; i++)
    if (p[i] != q[i])
      return 0;
  return 1;
}

/* Where the path of a target ends: at the first `?` or `#`. */
static inline uint32_t oisp_rule_path_end(const uint8_t *p, uint32_t n) {
  const uint64_t ones = 0x0101010101010101ULL, highs = 0x8080808080808080ULL;
  uint32_t i = 0;
  for (; i + 8 <= n; i += 8) {
    uint64_t x, q, h;
    memcpy(&x, p + i, 8);
    q = x ^ ones * '?';
    h = x ^ ones * '#';
    if ((((q - ones) & ~q) | ((h - ones) & ~h)) & highs)
      break;
  }
  while (i < n && p[i] != '?' && p[i] != '#')
    i++;
  return i;
}

static inline int oisp_rule_wanted(const oisp_rule_filter *f, const uint8_t *p, uint32_t n) {
  const uint32_t *ends = f->ends[n & 63];
  return n != 0 && ((ends[0] >> (p[0] & 31)) & (ends[1] >> (p[n - 1] & 31)) & 1);
}

static inline void oisp_rule_want(oisp_rule_filter *f, const uint8_t *p, uint32_t n) {
  f->ends[n & 63][0] |= 1u << (p[0] & 31);
  f->ends[n & 63][1] |= 1u << (p[n - 1] & 31);
}

_Static_assert(sizeof(oisp_rule_exact) == 20, "no padding");
_Static_assert(sizeof(oisp_rule_host) == 20 && sizeof(oisp_rule_link) == 16 && sizeof(oisp_rule_edge) == 20,
               "written by numpy");
_Static_assert(sizeof(oisp_rule_node) == 12 && sizeof(oisp_rule_token_glob) == 20, "written by numpy");
_Static_assert(sizeof(oisp_rule_terminal) == 28 && sizeof(oisp_rule) == 24, "written by numpy");
_Static_assert(sizeof(oisp_rule_variant) == 16 && sizeof(oisp_rule_shape) == 16 && sizeof(oisp_rule_term) == 4,
               "written by numpy");
_Static_assert(sizeof(oisp_rule_key_edge) == 16 && sizeof(oisp_rule_key_node) == 8 && sizeof(oisp_rule_key_test) == 12,
               "written by numpy");
_Static_assert(sizeof(oisp_rule_header) == 20 && sizeof(oisp_rule_signal) == 12, "written by numpy");
_Static_assert(sizeof(oisp_rule_key) == 24 && sizeof(oisp_rule_provider) == 16 && sizeof(oisp_rule_port) == 4,
               "written by numpy");

#endif
