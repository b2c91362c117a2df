/* SPDX-License-Identifier: Apache-2.0
 *
 * A message of Protocol Buffers, written out as the JSON document that the paths of a dialect name. Which fields there are
 * is data: the `protobuf` section of a dialect's YAML, compiled. Not a protobuf library: no descriptors, no objects, no way
 * back; fields that the table does not name are passed over.
 *
 * Contract. OISP_OK: `out` holds one whole object. OISP_MORE: the message is cut; OISP_BAD: it is none from there on;
 * OISP_LIMIT: too deep, or beyond out_max. In these cases `out` holds what stands before, cut as the message is, and never
 * a value that was not on the wire. Text is escaped; whether it is UTF-8 is left to the reader of the document. Members
 * come in the order of the table, elements of one field in the order of the wire; of a field that is no list the last one
 * wins. Nothing outside `data` is read.
 */
#ifndef OISP_PROTOBUF_H
#define OISP_PROTOBUF_H

#include "buffer.h"
#include "status.h"
#include <stddef.h>
#include <stdint.h>

enum oisp_proto_type {
  OISP_PROTO_STRING = 1,
  OISP_PROTO_BYTES = 2, /* base64 */
  OISP_PROTO_BOOL = 3,
  OISP_PROTO_INT = 4,  /* int32, int64 */
  OISP_PROTO_UINT = 5, /* uint32, uint64 */
  OISP_PROTO_SINT = 6, /* zigzag */
  OISP_PROTO_FIXED = 7, /* (s)fixed32, (s)fixed64: as signed */
  OISP_PROTO_FLOAT = 8,
  OISP_PROTO_DOUBLE = 9,
  OISP_PROTO_ENUM = 10,    /* its word, of the words of map `ref`; a number without a word stays a number */
  OISP_PROTO_MESSAGE = 11, /* `ref`: 1 + index into messages */
  OISP_PROTO_STRUCT = 12,  /* google.protobuf.Struct, Value and ListValue: the JSON that they stand for */
  OISP_PROTO_VALUE = 13,
  OISP_PROTO_LIST = 14,
  OISP_PROTO_PRESENT = 15 /* true where there is one, whatever it holds */
};

enum oisp_proto_flags {
  OISP_PROTO_REPEATED = 1,
  OISP_PROTO_ALWAYS = 2, /* what is not on the wire is the type's zero */
  OISP_PROTO_INLINE = 4  /* members of this message stand among those of its holder */
};

#define OISP_PROTO_FIELDS 64 /* of one message */
#define OISP_PROTO_DEPTH 48  /* messages in messages */

typedef struct oisp_proto_field {
  uint32_t number;
  uint32_t name; /* in the pool */
  uint16_t name_size;
  uint16_t ref;
  uint8_t type;  /* enum oisp_proto_type */
  uint8_t flags; /* enum oisp_proto_flags */
  uint16_t reserved;
} oisp_proto_field;

typedef struct oisp_proto_message {
  uint32_t first; /* of fields */
  uint32_t count; /* at most OISP_PROTO_FIELDS */
} oisp_proto_message;

typedef struct oisp_proto_word {
  uint32_t number;
  uint32_t at; /* in the pool */
  uint32_t size;
} oisp_proto_word;

typedef struct oisp_proto_enum {
  uint32_t first; /* of words */
  uint32_t count;
} oisp_proto_enum;

typedef struct oisp_protos {
  const oisp_proto_message *messages;
  const oisp_proto_field *fields;
  const oisp_proto_enum *enums;
  const oisp_proto_word *words;
  const uint8_t *pool;
} oisp_protos;

/* `message`: 1 + index. `out` is appended to, up to out_max bytes in all. */
oisp_status oisp_proto_json(const oisp_protos *t, uint32_t message, const uint8_t *data, size_t size, oisp_buffer *out,
                            size_t out_max);

#endif
