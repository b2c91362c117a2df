# SPDX-License-Identifier: Apache-2.0
"""BoringSSL without symbols: what is found in a file that reports errors as BoringSSL does, and what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from oisp_sensor.capture import boringssl, elf

# One function per list of (reason, line); `read` changes what is pending, `peek` does not.
HEAD = """
typedef struct { char *data; long size; } ssl;
extern void report(int library, int zero, int reason, const char *file, unsigned line);
extern int next(ssl *s);
#define ERROR(reason, line) do { report(16, 0, reason, "vendor/boringssl/ssl/ssl_lib.cc", line); return -1; } while (0)
#define KEEP __attribute__((visibility("default"), noinline))
"""
WRITE = """
KEEP int w(ssl *s, const char *b, int n) {
  if (next(s) == 1) ERROR(66, 985);
  if (next(s) == 2) ERROR(226, 990);
  if (next(s) == 3) ERROR(215, 1005);
  if (n < 0) ERROR(111, 1011);
  return next(s);
}
"""
READ = """
KEEP int r(ssl *s, char *b, int n) {
  if (next(s) == 1) ERROR(66, 963);
  n = next(s); s->data += n; s->size -= n; return n;
}
"""
PEEK = "KEEP int p(ssl *s, char *b, int n) { if (next(s) == 1) ERROR(66, 963); return next(s); }\n"
NEW = """
KEEP ssl *new_(ssl *s) {
  if (!s) { report(16, 0, 185, "vendor/boringssl/ssl/ssl_lib.cc", 503); return 0; }
  next(s); return s;
}
"""
SHAKE = "KEEP int d(ssl *s) { if (next(s) == 1) ERROR(134, 754); return next(s); }\n"
WRITE_AGAIN = WRITE.replace("int w(", "int w2(").replace("next(s) == 1", "next(s) == 7")


@pytest.fixture
def look(tmp_path: Path):
    if os.uname().machine != "x86_64" or shutil.which("gcc") is None:
        pytest.skip("compiled for x86-64 with gcc")

    def build(*parts: str) -> boringssl.Found | None:
        (tmp_path / "code.c").write_text(HEAD + "".join(parts))
        out = tmp_path / "code.so"
        command = ["gcc", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-fno-ipa-icf", "-o", str(out)]
        subprocess.run([*command, str(tmp_path / "code.c")], check=True)
        fd = os.open(out, os.O_RDONLY)
        with elf.Elf(fd) as file:
            names = {"SSL_write": "w", "SSL_read": "r", "SSL_new": "new_", "SSL_do_handshake (begins)": "d"}
            said = boringssl.look(file)
            if said is not None:
                real = file.functions(frozenset(names.values()))
                for name, function in said.functions.items():
                    assert (function.address, function.size) == (real[names[name]].address, real[names[name]].size)
        os.close(fd)
        return said

    return build


def test_each_function_is_found_where_it_is(look):
    found = look(WRITE, READ, PEEK, NEW)
    assert found.refused == ""
    assert set(found.functions) == {"SSL_write", "SSL_read", "SSL_new"}


def test_peek_may_have_been_left_out(look):
    assert set(look(WRITE, READ, NEW).functions) == {"SSL_write", "SSL_read", "SSL_new"}


def test_a_new_connection_is_known_by_its_handshake_where_ssl_new_is_gone(look):
    assert set(look(WRITE, READ, SHAKE).functions) == {"SSL_write", "SSL_read", "SSL_do_handshake (begins)"}


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ((READ, PEEK, NEW), "SSL_write is found 0 times"),
        ((WRITE, WRITE_AGAIN, READ, NEW), "SSL_write is found 2 times"),
        ((WRITE, PEEK, NEW), "SSL_read is found 0 times"),
        ((WRITE, READ, PEEK), "neither SSL_new nor SSL_do_handshake, which is found 0 times"),
        ((WRITE, READ, NEW, NEW.replace("new_(", "new2(").replace("503", "504")), "SSL_new is found 2 times"),
        ((WRITE, READ, SHAKE, SHAKE.replace("d(", "d2(").replace("754", "755")), "which is found 2 times"),
        ((WRITE, READ, PEEK.replace("963", "970"), NEW), "is not SSL_peek and SSL_read"),
        ((WRITE, READ, NEW.replace("503", "970")), "order"),
    ],
)
def test_what_is_not_certain_is_refused_and_said(look, parts, reason):
    found = look(*parts)
    assert found.functions == {}
    assert reason in found.refused


def test_a_file_that_does_not_speak_of_it_is_none(look):
    assert look("KEEP int f(ssl *s) { return next(s); }") is None
