/* SPDX-License-Identifier: Apache-2.0
 *
 * Turns of a connection that became a WebSocket: one exchange after the other, over the head of the request that opened it.
 * See session.pyx.
 */
#ifndef OISP_SESSION_H
#define OISP_SESSION_H

#include "message.h"
#include <stdint.h>

typedef struct oisp_session {
  oisp_turn *turn;     /* the one that is open, owned */
  oisp_reader side[2]; /* what the client sends, what it receives */
  void *inflaters[2];  /* of permessage-deflate: Python Inflaters, owned; NULL while there is none */
  uint64_t said;       /* when the first message of the request was sent, 0 none yet */
  uint8_t deflate;     /* permessage-deflate was agreed on (RFC 7692) */
  uint8_t fresh[2];    /* each message is compressed by itself */
  uint8_t reserved[5];
} oisp_session;

#endif
