/* SPDX-License-Identifier: Apache-2.0
 *
 * The bounds of one engine, in the order of the table in limits.py, which has their defaults, reasons and units.
 */
#ifndef OISP_LIMITS_H
#define OISP_LIMITS_H

#include <stdint.h>

typedef struct oisp_limits {
  uint32_t head_bytes;      /* one HTTP head */
  uint32_t head_fields;     /* fields in one head */
  uint32_t body_bytes;      /* one body held for decoding, after decompression */
  uint32_t event_bytes;     /* one SSE event (or other frame) held */
  uint32_t arena_bytes;     /* content of one exchange */
  uint32_t items;           /* messages, tools, calls, choices: of each, in one exchange */
  uint32_t json_depth;      /* nesting of JSON */
  uint32_t connections;     /* at once */
  uint32_t streams;         /* HTTP/2 streams at once in one connection */
  uint32_t pipeline;        /* HTTP/1.1 requests waiting for a response in one connection */
  uint32_t table_bytes;     /* HPACK dynamic table */
  uint32_t inflate_ratio;   /* output : input of a decompressor beyond which it is a bomb (with at least 1 MiB out) */
  uint32_t output_bytes;    /* NDJSON waiting to be drained: then feed answers FULL */
  uint32_t linked_calls;    /* tool calls remembered for their results */
  uint64_t total_bytes;     /* held by all connections together */
} oisp_limits;

#endif
