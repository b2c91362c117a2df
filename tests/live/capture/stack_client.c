/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls stack.c. Usage: client MODE. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

void *SSL_new(void *);
void SSL_free(void *);
int SSL_write(void *, const void *, int);
int SSL_read(void *, void *, int);
int SSL_write_ex2(void *, const void *, size_t, uint64_t, size_t *);
ssize_t SSL_sendfile(void *, int, off_t, size_t, int);

int main(int argc, char **argv) {
  static unsigned char data[50000], back[50000];
  void *ssl = SSL_new(NULL);
  size_t n = 0;
  for (size_t i = 0; i < sizeof data; i++)
    data[i] = (unsigned char)(i % 251 * 7 % 251);
  if (argc != 2)
    return 2;
  if (!strcmp(argv[1], "jump")) {
    if (SSL_write(ssl, data, sizeof data) != sizeof data || SSL_read(ssl, back, sizeof back) != sizeof back)
      return 1;
  } else if (!strcmp(argv[1], "flags")) {
    if (!SSL_write_ex2(ssl, data, 3000, 7, &n) || n != 3000 || !SSL_write_ex2(ssl, data, 9, 0, &n) || n != 0)
      return 1;
  } else if (!strcmp(argv[1], "file")) {
    if (!SSL_write_ex2(ssl, data, 100, 7, &n) || SSL_sendfile(ssl, 0, 0, 70000, 0) != 70000 ||
        SSL_sendfile(ssl, 0, -1, 5, 0) != -1 || !SSL_write_ex2(ssl, data + 100, 50, 7, &n))
      return 1;
  }
  SSL_free(ssl);
  return 0;
}
