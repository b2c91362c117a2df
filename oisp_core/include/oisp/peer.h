/* SPDX-License-Identifier: Apache-2.0
 *
 * What an ADDRESS record says of a connection, kept as what events need of it: the server's name, and the member
 * "connection" of ext.oisp, ready-encoded. Names that are none (RFC 1123 for hosts, RFC 7301 identifiers that are plain
 * text) are left out: they come from the watched program's memory.
 */
#ifndef OISP_PEER_H
#define OISP_PEER_H

#include "record.h"
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OISP_PEER_MAX 1024 /* of one, encoded: two addresses, 255 bytes of name, 255 of protocols with their quotes */

/* In a connection, NULL while nothing is known. `bytes`: the server's name, then the members. */
typedef struct oisp_peer {
  uint16_t name;
  uint16_t members;
  uint8_t bytes[];
} oisp_peer;

static inline int oisp_peer_is_name(const uint8_t *data, size_t size, const char *more) {
  if (size == 0)
    return 0;
  for (size_t i = 0; i < size; i++) {
    uint8_t c = data[i], letter = (uint8_t)(c | 32);
    if (!((letter >= 'a' && letter <= 'z') || (c >= '0' && c <= '9') || (c != 0 && strchr(more, c) != NULL)))
      return 0;
  }
  return 1;
}

static inline size_t oisp_peer_end(char *out, size_t at, const char *name, const uint8_t *ip, unsigned port) {
  static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  char text[INET6_ADDRSTRLEN] = "";
  if (memcmp(ip, mapped, sizeof mapped) == 0)
    inet_ntop(AF_INET, ip + 12, text, sizeof text);
  else
    inet_ntop(AF_INET6, ip, text, sizeof text);
  return at + (size_t)snprintf(out + at, OISP_PEER_MAX - at, "%s\"%s\":{\"ip\":\"%s\",\"port\":%u}", at ? "," : "",
                               name, text, port);
}

/* Protocols, each behind its length; those before the first that is none. */
static inline size_t oisp_peer_alpn(char *out, size_t at, const uint8_t *alpn, size_t size) {
  size_t i = 0, first = at;
  while (i < size && alpn[i] && alpn[i] < size - i && oisp_peer_is_name(alpn + i + 1, alpn[i], "./-_+:")) {
    at += (size_t)snprintf(out + at, OISP_PEER_MAX - at, "%s\"%.*s\"",
                           at > first ? ","
                           : first    ? ",\"alpn\":["
                                      : "\"alpn\":[",
                           (int)alpn[i], (const char *)alpn + i + 1);
    i += 1u + alpn[i];
  }
  if (at > first)
    out[at++] = ']';
  return at;
}

/* The record's sizes are checked against its own; a second record takes the place of the first. */
static inline void oisp_peer_take(oisp_peer **to, const oisp_record_address *r) {
  static const uint8_t none[16];
  const uint8_t *sni = (const uint8_t *)(r + 1), *alpn = sni + r->sni_size;
  char out[OISP_PEER_MAX];
  size_t at = 0, name = r->sni_size;
  oisp_peer *p;
  if (r->head.size < sizeof(*r) + (size_t)r->sni_size + r->alpn_size)
    return;
  if (memcmp(r->remote_ip, none, sizeof none) != 0) {
    at = oisp_peer_end(out, at, "local", r->local_ip, r->local_port);
    at = oisp_peer_end(out, at, "remote", r->remote_ip, r->remote_port);
  }
  if (!oisp_peer_is_name(sni, name, ".-_"))
    name = 0;
  if (name)
    at += (size_t)snprintf(out + at, OISP_PEER_MAX - at, "%s\"sni\":\"%.*s\"", at ? "," : "", (int)name,
                           (const char *)sni);
  at = oisp_peer_alpn(out, at, alpn, r->alpn_size);
  p = at ? (oisp_peer *)realloc(*to, sizeof *p + name + at) : NULL;
  if (p == NULL)
    return; /* what was known stays */
  *to = p;
  p->name = (uint16_t)name;
  p->members = (uint16_t)at;
  memcpy(p->bytes, sni, name);
  memcpy(p->bytes + name, out, at);
}

static inline const uint8_t *oisp_peer_name(const oisp_peer *p, uint32_t *size) {
  *size = p != NULL ? p->name : 0;
  return p != NULL ? p->bytes : NULL;
}

static inline const uint8_t *oisp_peer_members(const oisp_peer *p, uint32_t *size) {
  *size = p != NULL ? p->members : 0;
  return p != NULL ? p->bytes + p->name : NULL;
}

#endif
