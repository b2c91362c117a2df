/* SPDX-License-Identifier: Apache-2.0
 *
 * A growable run of bytes, header-only so that every extension inlines it. It never shrinks by itself; `oisp_buffer_wipe`
 * overwrites what was in it (content must not stay in memory after its message is done), `oisp_buffer_free` wipes and
 * releases. Not a stream: no cursor, no sharing. A failed allocation answers 0 and leaves the buffer as it was.
 */
#ifndef OISP_BUFFER_H
#define OISP_BUFFER_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct oisp_buffer {
  uint8_t *data;
  uint32_t size;     /* bytes in use */
  uint32_t capacity; /* bytes allocated */
} oisp_buffer;

/* Bytes are overwritten through a volatile pointer so that the compiler cannot drop the store. */
static inline void oisp_wipe(void *at, size_t size) {
  memset(at, 0, size);
  __asm__ volatile("" : : "r"(at) : "memory");
}

/* Make room for `extra` more bytes. 1 on success. The old block is wiped when it moves. */
static inline int oisp_buffer_reserve(oisp_buffer *b, size_t extra) {
  size_t need = (size_t)b->size + extra;
  if (need <= b->capacity)
    return 1;
  if (need > UINT32_MAX)
    return 0;
  size_t capacity = b->capacity ? b->capacity : 64;
  while (capacity < need)
    capacity += capacity;
  if (capacity > UINT32_MAX)
    capacity = UINT32_MAX;
  uint8_t *data = (uint8_t *)malloc(capacity);
  if (data == NULL)
    return 0;
  if (b->size)
    memcpy(data, b->data, b->size);
  if (b->data != NULL) {
    oisp_wipe(b->data, b->capacity);
    free(b->data);
  }
  b->data = data;
  b->capacity = (uint32_t)capacity;
  return 1;
}

static inline int oisp_buffer_append(oisp_buffer *b, const void *from, size_t size) {
  if (size == 0)
    return 1;
  if (!oisp_buffer_reserve(b, size))
    return 0;
  memcpy(b->data + b->size, from, size);
  b->size += (uint32_t)size;
  return 1;
}

static inline void oisp_buffer_wipe(oisp_buffer *b) {
  if (b->size)
    oisp_wipe(b->data, b->size);
  b->size = 0;
}

/* Shorter, and nothing left behind the end. */
static inline void oisp_buffer_cut(oisp_buffer *b, uint32_t size) {
  if (b->size > size) {
    oisp_wipe(b->data + size, b->size - size);
    b->size = size;
  }
}

static inline void oisp_buffer_free(oisp_buffer *b) {
  b->size = b->capacity; /* a buffer may have been longer than it is */
  oisp_buffer_wipe(b);
  free(b->data);
  b->data = NULL;
  b->capacity = 0;
}

#endif
