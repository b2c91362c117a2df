/* SPDX-License-Identifier: Apache-2.0
 *
 * A TLS client and server in one process over a BIO pair, for what Python's ssl module does not do: the int functions,
 * partial writes, retries, peeking, SSL_clear, extra references, callbacks that nest, calls that are left by longjmp.
 * Usage: client MODE CERT KEY SIZE. Exits with 0 when every byte arrived.
 */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MUST(x) \
  do { \
    if (!(x)) { \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
      ERR_print_errors_fp(stderr); \
      exit(1); \
    } \
  } while (0)

static SSL_CTX *accepting, *connecting;
static SSL *client, *server;
static unsigned char *pattern, *answer;
static int size;

static void make_pair(size_t room) {
  BIO *a, *b;
  client = SSL_new(connecting);
  server = SSL_new(accepting);
  MUST(client && server && BIO_new_bio_pair(&a, room, &b, room));
  SSL_set_bio(client, a, a);
  SSL_set_bio(server, b, b);
  SSL_set_connect_state(client);
  SSL_set_accept_state(server);
}

static void shake(void) {
  for (int i = 0; i < 1000; i++) {
    int c = SSL_do_handshake(client), s = SSL_do_handshake(server);
    if (c == 1 && s == 1)
      return;
  }
  MUST(!"handshake");
}

/* Writes all of n bytes, reading them at the other end as the pair fills up. */
static void pass(SSL *from, SSL *to, const unsigned char *data, int n) {
  int sent = 0, got = 0;
  while (got < n) {
    if (sent < n) {
      int w = SSL_write(from, data + sent, n - sent);
      if (w > 0)
        sent += w;
      else
        MUST(SSL_get_error(from, w) == SSL_ERROR_WANT_WRITE || SSL_get_error(from, w) == SSL_ERROR_WANT_READ);
    }
    int r = SSL_read(to, answer + got, n - got);
    if (r > 0)
      got += r;
  }
  MUST(memcmp(data, answer, n) == 0);
}

/* ---- modes ---- */

static void ints(void) { pass(client, server, pattern, size); }

/* Offered by this handle alone, whatever its context says. */
static void alpn(void) {
  static const unsigned char of_context[] = "\x02h2", of_handle[] = "\x08http/1.1";
  SSL_CTX_set_alpn_protos(connecting, of_context, 3);
  make_pair(1 << 17);
  SSL_set_alpn_protos(client, of_handle, 9);
  shake();
  pass(client, server, pattern, size);
  make_pair(1 << 17);
  shake();
  pass(client, server, pattern, size);
}

static void partial(void) {
  SSL_set_mode(client, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  pass(client, server, pattern, size);
}

static void peek(void) {
  unsigned char seen[64];
  MUST(SSL_write(client, pattern, size) == size);
  MUST(SSL_peek(server, seen, sizeof seen) > 0);
  MUST(SSL_peek(server, seen, sizeof seen) > 0);
  for (int got = 0; got < size;) {
    int r = SSL_read(server, answer + got, size - got);
    MUST(r > 0);
    got += r;
  }
}

static void clear(void) {
  pass(client, server, pattern, size);
  for (int i = 0; i < 3; i++) {
    BIO *a, *b;
    SSL_shutdown(client);
    SSL_shutdown(server);
    MUST(SSL_clear(client) && SSL_clear(server));
    MUST(BIO_new_bio_pair(&a, 1 << 17, &b, 1 << 17));
    SSL_set_bio(client, a, a);
    SSL_set_bio(server, b, b);
    shake();
    pass(client, server, pattern, size);
  }
}

static void references(void) {
  pass(client, server, pattern, size);
  MUST(SSL_up_ref(client));
  SSL_free(client);
  pass(client, server, pattern, size);
}

/* The read of one connection calls back into a write and a read of another one, on the same stack. */
static SSL *outer_server;
static int nested;
static long on_bio(BIO *b, int oper, const char *argp, size_t len, int argi, long argl, int ret, size_t *processed) {
  if (oper == BIO_CB_READ && !nested) {
    nested = 1;
    pass(client, server, pattern, 100);
  }
  return ret;
}

static void nest(void) {
  SSL *outer_client = client;
  outer_server = server;
  MUST(SSL_write(outer_client, pattern, size) == size);
  make_pair(1 << 17);
  shake();
  BIO_set_callback_ex(SSL_get_rbio(outer_server), on_bio);
  for (int got = 0; got < size;) {
    int r = SSL_read(outer_server, answer + got, size - got);
    MUST(r > 0);
    got += r;
  }
  MUST(nested && memcmp(answer, pattern, size) == 0);
  BIO_set_callback_ex(SSL_get_rbio(outer_server), NULL);
  SSL_free(outer_client);
  SSL_free(outer_server);
}

static jmp_buf out;
static long on_jump(BIO *b, int oper, const char *argp, size_t len, int argi, long argl, int ret, size_t *processed) {
  if (oper == BIO_CB_READ)
    longjmp(out, 1);
  return ret;
}

/* A read that never returns; then the thread goes on, deeper and less deep in its stack. */
static void jump(void) {
  SSL *left = server;
  BIO_set_callback_ex(SSL_get_rbio(left), on_jump);
  for (volatile int i = 0; i < 10; i++)
    if (!setjmp(out))
      SSL_read(left, answer, 100);
  make_pair(1 << 17);
  shake();
  pass(client, server, pattern, size);
}

/* A read that the process does not survive. */
static long on_kill(BIO *b, int oper, const char *argp, size_t len, int argi, long argl, int ret, size_t *processed) {
  if (oper == BIO_CB_READ)
    kill(getpid(), SIGKILL);
  return ret;
}

static void hang(void) {
  pass(client, server, pattern, size);
  BIO_set_callback_ex(SSL_get_rbio(server), on_kill);
  SSL_read(server, answer, 100);
}

/* TLS 1.3 early data: written before the handshake, by a session that allows it. */
static void early(void) {
  SSL_SESSION *session;
  unsigned char got[64];
  size_t n;
  BIO *a, *b;
  pass(server, client, pattern, size); /* the ticket arrives with it */
  session = SSL_get1_session(client);
  MUST(session && SSL_SESSION_get_max_early_data(session) > 0);
  SSL_set_shutdown(client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* or the session dies with its handle */
  SSL_set_shutdown(server, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_free(client);
  SSL_free(server);
  make_pair(1 << 17);
  MUST(SSL_set_session(client, session));
  for (int sent = 0; sent < size; sent += n)
    MUST(SSL_write_early_data(client, pattern + sent, size - sent, &n) == 1);
  for (int at = 0, r = 0; r != SSL_READ_EARLY_DATA_FINISH; at += n) {
    r = SSL_read_early_data(server, got, sizeof got, &n);
    if (r == SSL_READ_EARLY_DATA_ERROR) {
      SSL_do_handshake(client);
      n = 0;
    } else {
      MUST(memcmp(got, pattern + at, n) == 0);
    }
  }
  shake();
  pass(client, server, pattern, size);
}

/* What it needs of memory it has before; then any system call but read, write and exit kills it. */
static void strict(void) {
  pass(client, server, pattern, size);
  MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
  for (int i = 0; i < 4; i++)
    pass(client, server, pattern, size);
  syscall(SYS_exit, 0);
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    void (*run)(void);
  } modes[] = {{"ints", ints},    {"partial", partial}, {"peek", peek}, {"clear", clear}, {"references", references},
               {"nest", nest},    {"jump", jump},       {"hang", hang}, {"early", early}, {"alpn", alpn},
               {"strict", strict}};
  MUST(argc == 5);
  size = atoi(argv[4]);
  pattern = malloc(size);
  answer = malloc(size);
  for (int i = 0; i < size; i++)
    pattern[i] = i % 251 * 7 % 251;
  accepting = SSL_CTX_new(TLS_server_method());
  connecting = SSL_CTX_new(TLS_client_method());
  MUST(SSL_CTX_use_certificate_file(accepting, argv[2], SSL_FILETYPE_PEM) == 1);
  MUST(SSL_CTX_use_PrivateKey_file(accepting, argv[3], SSL_FILETYPE_PEM) == 1);
  SSL_CTX_set_max_early_data(accepting, 1 << 14);
  make_pair(strcmp(argv[1], "partial") ? 1 << 17 : 4096);
  shake();
  for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
    if (!strcmp(argv[1], modes[i].name)) {
      modes[i].run();
      SSL_free(client);
      SSL_free(server);
      return 0;
    }
  MUST(!"a known mode");
}
