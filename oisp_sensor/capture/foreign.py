# SPDX-License-Identifier: Apache-2.0
"""TLS stacks that are known by name and not captured: that one of them is there is said, and what it says is not.

Told by a symbol that each defines, or, of Rust programs that were stripped, by the source paths that its panics name.
"""

from __future__ import annotations

import re

from oisp_sensor.capture.elf import Elf

SYMBOLS = {
    "mbedtls_ssl_write": "Mbed TLS",
    "wolfSSL_write": "wolfSSL",
    "s2n_send": "s2n-tls",
    "SSL_ImportFD": "NSS",
    "JNI_CreateJavaVM": "Java (JSSE)",
}
_RUSTLS = b"/rustls-"
_VERSION = re.compile(rb"/rustls-(\d+\.\d+\.\d+[0-9A-Za-z.-]*)/src/")
_LOOKS = 64  # rustls-native-certs, rustls-pki-types and their like come first in some
_LEAST = 128 << 10  # no Rust program with a TLS stack is smaller


def look(file: Elf, symbols: frozenset[str]) -> str:
    """The name of the stack, or nothing. `symbols`: those of SYMBOLS that the file defines."""
    for name, stack in SYMBOLS.items():
        if name in symbols:
            return stack
    if file.size < _LEAST:
        return ""
    at = -1
    for _ in range(_LOOKS):
        at = file.find(_RUSTLS, at + 1, file.size)
        if at < 0:
            return ""
        version = _VERSION.match(file.bytes_at(at, min(64, file.size - at)))
        if version:
            return f"rustls {version[1].decode()}"
    return ""
