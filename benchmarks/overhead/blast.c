/* SPDX-License-Identifier: Apache-2.0
 *
 * What `python -m benchmarks.overhead` probes: a TLS client and server in one process over a BIO pair, which writes when it is told to
 * and says what each SSL_write took. Usage: blast CERT KEY; then lines `SIZE COUNT` on standard input, each answered by
 * `MIN MEDIAN WALL` in nanoseconds: of one SSL_write, and of all of it with the reads.
 */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MUST(x) \
  do { \
    if (!(x)) { \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
      ERR_print_errors_fp(stderr); \
      exit(1); \
    } \
  } while (0)

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static void blast(SSL *from, SSL *to, int size, long count) {
  unsigned char *out = malloc((size_t)size), *in = malloc((size_t)size);
  uint64_t *spent = malloc(sizeof *spent * (size_t)count), begin = now();
  MUST(out && in && spent);
  memset(out, 'x', (size_t)size);
  for (long i = 0; i < count; i++) {
    uint64_t before = now();
    int sent = SSL_write(from, out, size);
    spent[i] = now() - before;
    MUST(sent == size);
    for (int got = 0; got < size;) {
      int n = SSL_read(to, in + got, size - got);
      MUST(n > 0);
      got += n;
    }
  }
  begin = now() - begin;
  qsort(spent, (size_t)count, sizeof *spent, ascending);
  printf("%llu %llu %llu\n", (unsigned long long)spent[0], (unsigned long long)spent[count / 2],
         (unsigned long long)begin);
  fflush(stdout);
  free(out);
  free(in);
  free(spent);
}

int main(int argc, char **argv) {
  SSL_CTX *accepting = SSL_CTX_new(TLS_server_method()), *connecting = SSL_CTX_new(TLS_client_method());
  SSL *client, *server;
  BIO *a, *b;
  int size;
  long count;
  MUST(argc == 3);
  MUST(SSL_CTX_use_certificate_file(accepting, argv[1], SSL_FILETYPE_PEM) == 1);
  MUST(SSL_CTX_use_PrivateKey_file(accepting, argv[2], SSL_FILETYPE_PEM) == 1);
  client = SSL_new(connecting);
  server = SSL_new(accepting);
  MUST(client && server && BIO_new_bio_pair(&a, 1 << 18, &b, 1 << 18));
  SSL_set_bio(client, a, a);
  SSL_set_bio(server, b, b);
  SSL_set_connect_state(client);
  SSL_set_accept_state(server);
  for (int i = 0;; i++) {
    int mine = SSL_do_handshake(client), theirs = SSL_do_handshake(server);
    if (mine == 1 && theirs == 1)
      break;
    MUST(i < 100);
  }
  puts("ready");
  fflush(stdout);
  while (scanf("%d %ld", &size, &count) == 2) {
    MUST(size > 0 && size <= 1 << 17 && count > 0);
    blast(client, server, size, count);
  }
  return 0;
}
