/* SPDX-License-Identifier: Apache-2.0
 *
 * What the NDJSON writer does with text: digest it (hash, code points, bytes in one pass), copy it into a line, check it.
 * Text has the forms of exchange.h. Digested and counted is always the same thing: the text after unescaping, in UTF-8,
 * where an unpaired surrogate or an invalid byte sequence counts as one U+FFFD; of a JSON value its own characters without
 * the blanks between tokens.
 */
#ifndef OISP_TEXT_H
#define OISP_TEXT_H

#include "buffer.h"
#include "sha256.h"
#include <stddef.h>
#include <stdint.h>

typedef struct oisp_digest {
  oisp_sha256 hash;
  const uint8_t *key; /* 64 bytes: HMAC; NULL: plain SHA-256 */
  uint64_t chars;     /* code points */
  uint64_t bytes;     /* UTF-8 */
} oisp_digest;

void oisp_digest_begin(oisp_digest *d, const uint8_t *key);
/* `form` is enum oisp_text_form; several texts follow each other as if joined. */
void oisp_digest_text(oisp_digest *d, int form, const uint8_t *data, size_t size);
/* The first 16 hex digits. */
void oisp_digest_end(oisp_digest *d, char hex[16]);

/* Many texts, each by itself: two are hashed at a time, which takes little longer than one. `form` OISP_TEXT_NONE: none. */
typedef struct oisp_digest_job {
  const uint8_t *data;
  uint32_t size;
  uint32_t form;
  uint64_t chars;
  uint64_t bytes;
  char hex[16];
} oisp_digest_job;

void oisp_digest_jobs(oisp_digest_job *jobs, uint32_t count, const uint8_t *key);

/* Appends to a line; 0 when memory is out (what was appended stays, the caller cuts it off). */
int oisp_put_plain(oisp_buffer *out, const uint8_t *data, size_t size); /* escaped; invalid bytes as U+FFFD */
int oisp_put_json(oisp_buffer *out, const uint8_t *data, size_t size);  /* control bytes between tokens as blanks */
int oisp_put_compact(oisp_buffer *out, const uint8_t *data,
                     size_t size); /* without blanks between tokens, then escaped */
int oisp_put_unescaped(oisp_buffer *out, const uint8_t *data, size_t size); /* the inside of a JSON string as UTF-8 */

/* One whole JSON value that every parser takes: grammar of RFC 8259, no unpaired surrogates, valid UTF-8, no number beyond
 * a double, at most OISP_CHECK_DEPTH deep. Answers its first character, or 0. */
#define OISP_CHECK_DEPTH 256
int oisp_json_check(const uint8_t *data, size_t size);

/* Members of an envelope, without braces, that may be spliced into an event: host, actor, process, app, web_context, source,
 * attrs, ts_mono, trace_context, each at most once, valid, on one line. -1 if they are not, else 1 if a source is among
 * them and 0 if not. */
int oisp_context_check(const uint8_t *data, size_t size);

#endif
