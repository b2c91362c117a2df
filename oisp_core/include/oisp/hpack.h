/* SPDX-License-Identifier: Apache-2.0
 *
 * State of an HPACK decoder (RFC 7541): one direction of one HTTP/2 connection. Flat; the dynamic table is an arena of bytes
 * and a ring of entries, both allocated when the first entry comes. A full table of 4,096 bytes takes 5,120 at most.
 */
#ifndef OISP_HPACK_H
#define OISP_HPACK_H

#include <stdint.h>

/* Flags of the FIELD tokens of a header block. */
enum oisp_field_flags {
  OISP_FIELD_NEVER_INDEXED = 1, /* the sender asks that it is never put into a table: a secret */
  OISP_FIELD_NAME_UNKNOWN = 2   /* the name stood in an entry that was lost; the value is what was sent */
};

/* Its value begins after its name and ends where the next newer entry begins. */
typedef struct oisp_hpack_entry {
  uint32_t offset;    /* in the arena */
  uint32_t name_size; /* UINT32_MAX: the name is unknown */
} oisp_hpack_entry;

typedef struct oisp_hpack {
  uint8_t *arena;
  uint8_t *old; /* the arena before, which tokens of the last call may point into */
  oisp_hpack_entry *entries;
  uint32_t arena_capacity;
  uint32_t end;     /* of the bytes in use */
  uint32_t ring;    /* slots for entries, a power of two or 0 */
  uint32_t newest;  /* slot */
  uint32_t count;
  uint32_t size;    /* of the entries that are kept, as RFC 7541 section 4.1 counts */
  uint32_t max;     /* of the table, as the encoder last said */
  uint32_t allowed; /* the highest max that the decoding peer's SETTINGS allow */
  uint32_t keep;    /* our bound: older entries are forgotten beyond it */
  uint32_t fields_max;
  uint32_t list_max;  /* names and values of one block, with 32 bytes each */
  uint32_t fields;    /* of the block so far */
  uint32_t list_size;
  uint32_t unknown;   /* of the block: fields that are not known */
  uint8_t unsure;     /* there may be older entries that we never saw */
  uint8_t max_known;  /* 0 since blocks were lost and until the encoder says it again */
  uint8_t begun;      /* a field of the block was read: no size update may follow */
  uint8_t referenced; /* a token of this call points into the arena */
  uint8_t over;       /* of the block: fields_max or list_max was reached, further fields are not given */
  uint8_t failed;     /* enum oisp_status, sticky */
  uint8_t settings_lost; /* any max may have been allowed */
  uint8_t reserved;
} oisp_hpack;

_Static_assert(sizeof(oisp_hpack_entry) == 8, "ABI");
_Static_assert(sizeof(oisp_hpack) == 88, "ABI");

#endif
