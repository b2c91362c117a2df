/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON-RPC in lines, as MCP speaks it over the standard streams of a server process. See rpc.pyx.
 */
#ifndef OISP_RPC_H
#define OISP_RPC_H

#include "buffer.h"
#include "message.h"
#include <stdint.h>

/* A call that waits for its answer. Its turn's `thread_key` is the hash of its id. */
typedef struct oisp_rpc {
  oisp_buffer line[2]; /* the line in progress: what the client sends, what the server answers */
  oisp_turn *first;    /* the oldest call that waits, owned */
  oisp_turn *last;
  uint32_t waiting;
  uint8_t skip[2];     /* the rest of this line is not read: it is too long, or its beginning was lost */
  uint8_t lost;        /* requests were: an answer to nobody may be to one of them */
  uint8_t reserved;
} oisp_rpc;

#endif
