# SPDX-License-Identifier: Apache-2.0
"""Messages of name servers (RFC 1035), and the names that connections are labelled with afterwards.

The parser is dnspython's: the bytes come from the network, and compression pointers have hurt many.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from oisp_sensor.activity.records import Address

__all__ = ["Answered", "Names", "load", "parse"]

_TYPES = {"A", "AAAA", "CNAME", "MX", "TXT", "NS", "PTR", "SRV"}
_CODES = {"NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED"}
_ANSWERS = 32
_NAMES = 8192


@dataclass
class Answered:
    name: str
    type: Any  # of the contract: one of _TYPES, or "other"
    raw_type: str
    code: Any
    answers: list[tuple[str, str, int]] = field(default_factory=list)  # type, value, seconds


def load() -> None:
    """Imports now what the parser would import at first use, for a process that can open no file then. Of other types
    the bytes are told."""
    for kind in (*_TYPES, "CAA", "DNAME", "HTTPS", "OPT", "SOA", "SVCB"):
        dns.rdata.get_rdata_class(dns.rdataclass.IN, dns.rdatatype.from_text(kind))  # type: ignore[no-untyped-call]


def parse(payload: bytes) -> Answered | None:
    """A question with what was answered, or None: it is no such message."""
    try:
        message = dns.message.from_wire(payload, ignore_trailing=True, continue_on_error=True)
    except (dns.exception.DNSException, ValueError, IndexError, OverflowError, RecursionError):
        return None
    if not message.question:
        return None
    question = message.question[0]
    kind = dns.rdatatype.to_text(question.rdtype)
    code = dns.rcode.to_text(message.rcode())
    found = Answered(
        _name(question.name), kind if kind in _TYPES else "other", kind, code if code in _CODES else "other"
    )
    for rrset in message.answer:
        for record in rrset:
            if len(found.answers) < _ANSWERS:
                found.answers.append((dns.rdatatype.to_text(rrset.rdtype), record.to_text().rstrip("."), rrset.ttl))
    return found


def _name(name: Any) -> str:
    return str(name.to_text(omit_final_dot=True))


class Names:
    """Which name an address was last asked under."""

    def __init__(self) -> None:
        self._of: OrderedDict[Address, str] = OrderedDict()

    def learn(self, found: Answered) -> None:
        for kind, value, _ in found.answers:
            if kind not in ("A", "AAAA"):
                continue
            try:
                ip = ip_address(value)
            except ValueError:
                continue
            self._of[ip] = found.name
            self._of.move_to_end(ip)
        while len(self._of) > _NAMES:
            self._of.popitem(last=False)

    def of(self, ip: Address) -> str:
        return self._of.get(ip, "")
