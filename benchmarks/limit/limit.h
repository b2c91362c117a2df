/* SPDX-License-Identifier: Apache-2.0
 *
 * What is left of the engine's work when everything is taken away that makes it useful: records are walked, connections
 * found, HTTP/1.1 framed (heads split into fields, the host looked up by hash, bodies skipped by arithmetic, chunks
 * followed) and event streams cut into events. No JSON, no verdicts, no output, no bounds, no loss. It is the ceiling
 * that the engine is measured against, and no part of the engine.
 *
 * Two ways of doing the same job, so that the ceiling is not one of straw: limit_fast is written for speed, limit_plain
 * parses byte by byte through a table of token characters, as picohttpparser does, and finds lines with memchr.
 */
#ifndef OISP_BENCH_LIMIT_H
#define OISP_BENCH_LIMIT_H

#include <stddef.h>
#include <stdint.h>

typedef struct limit_counts {
  uint64_t segments, messages, fields, body_bytes, events, known_hosts, failed;
} limit_counts;

typedef struct limit_state limit_state; /* the connections of one run */

struct limit_state *limit_new(size_t connections);
void limit_free(struct limit_state *s);
void limit_reset(struct limit_state *s);

/* A host whose requests count as known. */
void limit_host(struct limit_state *s, const uint8_t *name, size_t size);

/* Records as in oisp/record.h; what is no data record is walked over. */
void limit_fast(struct limit_state *s, const uint8_t *records, size_t size, limit_counts *counts);
void limit_plain(struct limit_state *s, const uint8_t *records, size_t size, limit_counts *counts);

#endif
