/* SPDX-License-Identifier: Apache-2.0
 *
 * State of a WebSocket reader: one direction after the upgrade. `held` is filled while a message lies in more than one
 * segment or frame, or was masked.
 */
#ifndef OISP_WEBSOCKET_H
#define OISP_WEBSOCKET_H

#include "buffer.h"
#include <stdint.h>

typedef struct oisp_websocket {
  oisp_buffer held;     /* the message in progress, unmasked; behind it the control frame in progress */
  uint64_t offset;      /* in the stream, of the next byte that feed takes */
  uint64_t left;        /* of the frame's payload */
  uint64_t start;       /* in the stream, of the message's first payload byte */
  uint32_t message_max; /* bytes of one message */
  uint32_t control;     /* held: bytes of a control frame's payload at its end */
  uint8_t head[14];     /* of the frame in progress */
  uint8_t head_size;    /* read so far */
  uint8_t state;        /* STATE_* of websocket.pyx */
  uint8_t message;      /* opcode of the message in progress, 0 between messages */
  uint8_t flags;        /* of its EVENT */
  uint8_t damaged;      /* bytes of it are lost: no EVENT */
  uint8_t given;        /* what held holds was given out */
  uint8_t phase;        /* of the mask */
  uint8_t failed;       /* enum oisp_status, sticky */
  uint8_t reserved[2];
} oisp_websocket;

_Static_assert(sizeof(oisp_websocket) == 72, "ABI");

#endif
