/* SPDX-License-Identifier: Apache-2.0
 *
 * State of a reader of any framing that a body may have: one of the parsers of reassemble/, by kind. See reader.pyx.
 */
#ifndef OISP_READER_H
#define OISP_READER_H

#include "eventstream.h"
#include "grpc.h"
#include "ndjson.h"
#include "sse.h"
#include "websocket.h"
#include <stdint.h>

typedef struct oisp_reader {
  uint8_t kind; /* OISP_FRAMING_* of dialect.h; 0 closed */
  uint8_t reserved[7];
  union {
    oisp_sse sse;
    oisp_ndjson ndjson; /* lines, and the elements of an array */
    oisp_eventstream eventstream;
    oisp_grpc grpc;
    oisp_websocket websocket;
  } as;
} oisp_reader;

_Static_assert(sizeof(oisp_reader) <= 80, "one for each stream in progress");

#endif
