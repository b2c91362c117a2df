/* SPDX-License-Identifier: Apache-2.0
 *
 * State of a reader of gRPC's length-prefixed messages: the DATA of one stream in one direction. `held` is filled only while
 * a message lies in more than one piece.
 */
#ifndef OISP_GRPC_H
#define OISP_GRPC_H

#include "buffer.h"
#include <stdint.h>

typedef struct oisp_grpc {
  oisp_buffer held;     /* the message in progress */
  uint64_t offset;      /* in the stream, of the next byte that feed takes */
  uint32_t left;        /* of the message in progress */
  uint32_t message_max; /* bytes of one message */
  uint8_t head[5];      /* flags and length */
  uint8_t head_size;    /* read so far */
  uint8_t damaged;      /* bytes of the message are lost: no EVENT */
  uint8_t given;        /* what held holds was given out */
  uint8_t failed;       /* enum oisp_status, sticky */
  uint8_t reserved[7];
} oisp_grpc;

_Static_assert(sizeof(oisp_grpc) == 48, "ABI");

#endif
