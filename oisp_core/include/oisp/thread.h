/* SPDX-License-Identifier: Apache-2.0
 *
 * Which conversation a request goes on with: a history that extends one that was seen. A history is a chain of keyed hashes,
 * one per message; the hashes are fast, not cryptographic, and never leave the engine. Not here: the table of what was seen,
 * ids that the wire gives (message.pyx).
 */
#ifndef OISP_THREAD_H
#define OISP_THREAD_H

#include "exchange.h"
#include <stdint.h>

#define OISP_THREAD_WINDOW 128 /* messages that one request may add to what was seen */

typedef struct oisp_history {
  uint64_t prefix[OISP_THREAD_WINDOW]; /* of the first n messages, at n % WINDOW; n counts from 0 */
  uint64_t calls[OISP_THREAD_WINDOW];  /* of message n - 1 */
  uint32_t answer[OISP_THREAD_WINDOW]; /* message n - 1 may be the answer to those before it: 1 + its index, else 0 */
  uint32_t count;                      /* messages that count: neither instructions nor empty ones */
} oisp_history;

/* `key`: a secret of the engine, and who asks whom. */
void oisp_history_read(const oisp_exchange *x, const uint64_t key[2], oisp_history *h);
/* The first n messages, the last of them as an answer; 0 where it is none. It is read for what it means, which is slow: only
 * where a request with the n - 1 messages before it was seen can it be known. */
uint64_t oisp_history_answered(const oisp_exchange *x, const uint64_t key[2], const oisp_history *h, uint32_t n);
/* The same of an answer itself; `prefix` is that of the request it answers. */
uint64_t oisp_history_answer(const oisp_exchange *x, const uint64_t key[2], uint64_t prefix);
uint64_t oisp_fast_hash(const uint64_t key[2], const uint8_t *data, size_t size);

#endif
