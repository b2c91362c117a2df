# SPDX-License-Identifier: Apache-2.0
"""What `doctor` learns of files, processes and commands, with copies in a folder of the test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest

from oisp_sensor.capture import CaptureError
from oisp_sensor.capture.inspect import inspect_command, inspect_file, inspect_process
from oisp_sensor.capture.program import MOVERS


def test_a_library_that_can_be_captured(private_libssl):
    found = inspect_file(str(private_libssl.libssl))
    [finding] = found.findings
    assert found.captured
    assert MOVERS & set(finding.target.functions)
    assert (finding.unseen, finding.error) == ([], "")


def test_a_file_without_tls_and_one_that_is_no_program(private_libssl, tmp_path):
    assert inspect_file(str(private_libssl.libcrypto)).findings == []
    text = tmp_path / "text"
    text.write_text("hello " * 20)
    [finding] = inspect_file(str(text)).findings
    assert "not a 64-bit" in finding.error
    with pytest.raises(CaptureError, match="cannot be opened"):
        inspect_file(str(tmp_path / "absent"))


def test_a_running_process(private_libssl):
    code = "import ssl, sys; print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], env=private_libssl.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        found = inspect_process(process.pid)
        process.communicate()
    assert found.captured
    assert str(private_libssl.libssl) in [f.path for f in found.findings]


def test_a_process_that_is_not_there():
    with pytest.raises(CaptureError, match="process 4194305"):
        inspect_process(4194305)


def test_a_command_that_may_load_tls_later(private_libssl):
    """Python needs no libssl itself; it may ask for one."""
    found = inspect_command([sys.executable, "-c", "pass"], private_libssl.env)
    copies = [f for f in found.findings if f.path == str(private_libssl.libssl)]
    assert [f.perhaps for f in copies] == [True]
    assert copies[0].target.usable


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_another_stack_is_named(tmp_path):
    source = tmp_path / "tls.c"
    source.write_text("long wolfSSL_write(void *s, void *b, long n) { return n; }")
    library = tmp_path / "libother.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    found = inspect_file(str(library))
    assert not found.captured
    assert [f.unseen for f in found.findings] == [["wolfSSL"]]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_a_function_that_leaves_by_a_tail_jump_is_refused_by_name(tmp_path):
    source = tmp_path / "tls.s"
    source.write_text(
        ".text\n.globl SSL_read\n.type SSL_read, @function\nSSL_read: jmp *%rax\n.size SSL_read, .-SSL_read\n"
        if os.uname().machine == "x86_64"
        else ".text\n.globl SSL_read\n.type SSL_read, %function\nSSL_read: br x0\n.size SSL_read, .-SSL_read\n"
    )
    library = tmp_path / "libtail.so"
    subprocess.run(["gcc", "-shared", "-nostdlib", "-o", str(library), str(source)], check=True)
    [finding] = inspect_file(str(library)).findings
    assert not finding.target.usable
    assert "SSL_read: it has an indirect jump" in finding.target.why()


def test_it_is_quick_with_a_large_file(private_libssl):
    start = time.monotonic()
    inspect_file(str(private_libssl.libcrypto))
    assert time.monotonic() - start < 1
