/* SPDX-License-Identifier: Apache-2.0
 *
 * A library with the names and signatures of OpenSSL's, and nothing behind them: for what the OpenSSL of this machine does
 * not have or cannot do. SSL_write leaves by an indirect jump, so that where it returns cannot be told.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

static unsigned char kept[1 << 20];
static size_t waiting;

static int take(void *ssl, const void *data, int size) {
  (void)ssl;
  memcpy(kept, data, (size_t)size);
  waiting = (size_t)size;
  return size;
}

int (*volatile taker)(void *, const void *, int) = take;

void *SSL_new(void *context) { return calloc(1, 64 + (context != NULL)); }
void SSL_free(void *ssl) { free(ssl); }

__attribute__((optimize("O2"))) int SSL_write(void *ssl, const void *data, int size) { return taker(ssl, data, size); }

int SSL_read(void *ssl, void *data, int size) {
  int n = waiting < (size_t)size ? (int)waiting : size;
  (void)ssl;
  memcpy(data, kept, (size_t)n);
  waiting -= (size_t)n;
  return n;
}

/* OpenSSL 3.3 and later. */
int SSL_write_ex2(void *ssl, const void *data, size_t size, uint64_t flags, size_t *written) {
  *written = flags == 7 ? size : 0;
  return taker(ssl, data, (int)size) >= 0;
}

/* With kernel TLS: the kernel sends a file, and no byte of it is in the process. */
ssize_t SSL_sendfile(void *ssl, int fd, off_t offset, size_t size, int flags) {
  (void)ssl, (void)fd, (void)flags;
  return offset >= 0 ? (ssize_t)size : -1;
}
