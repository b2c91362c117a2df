# SPDX-License-Identifier: Apache-2.0
"""Confidence from evidence, times, the provider's names: the facts that the writer is handed beside the exchange.

What it is not: a judge of what the messages hold; what they lack is noted by whoever reads them.
"""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from oisp_core.decode.decoder cimport dialect_name, oisp_dialects
from oisp_core.match.rules cimport match_provider_id, oisp_rules
from oisp_core.reasons cimport (
    MISSING_PROVIDER, OISP_CONTENT_SOURCE_TLS_BOUNDARY, OISP_LEVEL_HIGH, OISP_LEVEL_INFERRED, OISP_LEVEL_LOW,
    OISP_LEVEL_MEDIUM, REASON_BODY, REASON_HEADER, REASON_HOST, REASON_KEY, REASON_MIDWAY, REASON_MODEL, REASON_PATH,
    REASON_PLAINTEXT, REASON_RESPONSE, REASON_TLS, REASON_UNKNOWN_HOST,
)
from oisp_core.turn cimport OISP_PLAIN_STDIO, OISP_TURN_ORPHAN, oisp_peer, oisp_shared, oisp_turn
from oisp_core.types cimport (
    OISP_ABSENT, OISP_EVIDENCE_BODY, OISP_EVIDENCE_HEADER, OISP_EVIDENCE_HOST, OISP_EVIDENCE_KEY, OISP_EVIDENCE_MODEL,
    OISP_EVIDENCE_PATH, OISP_EVIDENCE_RESPONSE, OISP_OK, oisp_confidence, oisp_facts, oisp_status,
)

cdef extern from "oisp/peer.h" nogil:
    const uint8_t* oisp_peer_members(const oisp_peer* peer, uint32_t* size)


cdef void set_level(oisp_turn* t, oisp_facts* f) noexcept nogil:
    """oisp-v0.1: domain + path + model: high; domain + path: medium; domain: low; no known host: path + body + model:
    medium; less: inferred."""
    cdef uint16_t e = t.verdict.evidence
    cdef bint model = (e & OISP_EVIDENCE_MODEL) != 0
    if e & OISP_EVIDENCE_HOST:
        if e & OISP_EVIDENCE_PATH:
            f.confidence.level = OISP_LEVEL_HIGH if model else OISP_LEVEL_MEDIUM
        else:
            f.confidence.level = OISP_LEVEL_LOW
    elif e & OISP_EVIDENCE_PATH and e & (OISP_EVIDENCE_BODY | OISP_EVIDENCE_RESPONSE) and model:
        f.confidence.level = OISP_LEVEL_MEDIUM
    else:
        f.confidence.level = OISP_LEVEL_INFERRED


cdef uint64_t evidence_reasons(const oisp_turn* t) noexcept nogil:
    cdef uint16_t e = t.verdict.evidence
    cdef uint64_t reasons = 0
    if t.origin.content_source == OISP_CONTENT_SOURCE_TLS_BOUNDARY:
        reasons |= REASON_TLS
    elif t.origin.content_source:
        reasons |= REASON_PLAINTEXT
    if t.origin.midway:
        reasons |= REASON_MIDWAY
    if e & OISP_EVIDENCE_HOST:
        reasons |= REASON_HOST
    elif t.origin.plaintext != OISP_PLAIN_STDIO:  # a child has no host
        reasons |= REASON_UNKNOWN_HOST
    if e & OISP_EVIDENCE_PATH:
        reasons |= REASON_PATH
    if e & OISP_EVIDENCE_HEADER:
        reasons |= REASON_HEADER
    if e & OISP_EVIDENCE_KEY:
        reasons |= REASON_KEY
    if e & OISP_EVIDENCE_BODY:
        reasons |= REASON_BODY
    if e & OISP_EVIDENCE_RESPONSE:
        reasons |= REASON_RESPONSE
    if e & OISP_EVIDENCE_MODEL:
        reasons |= REASON_MODEL
    return reasons


cdef void set_facts(oisp_shared* s, oisp_turn* t, const oisp_confidence* confidence, oisp_facts* f,
                    uint64_t ts) noexcept nogil:
    memset(f, 0, sizeof(oisp_facts))
    f.ts_ns = ts
    f.request_event = t.request_event
    f.response_event = t.response_event
    f.request_id = t.request_event
    if t.request_event.text[0] == 0:
        f.request_id = t.response_event
    f.context.data = t.origin.context.data
    f.context.size = t.origin.context.size
    f.context_has_source = t.origin.context_has_source
    f.connection.data = oisp_peer_members(t.origin.peer, &f.connection.size)
    f.verdict = &t.verdict
    f.provider_id = match_provider_id(<const oisp_rules*> s.rules, t.verdict.provider)
    f.asker = &t.asker
    f.conversation_id.data, f.conversation_id.size = <const uint8_t*> t.thread, t.thread_size
    f.dialect = dialect_name(<const oisp_dialects*> s.dialects, t.verdict.dialect)
    if t.origin.plaintext:
        f.scheme.data, f.scheme.size = b"http", 4
    else:
        f.scheme.data, f.scheme.size = b"https", 5
    f.authority = t.authority if t.authority.size else t.sni
    f.path = t.target
    f.method = t.method
    f.latency_ns = f.first_token_ns = OISP_ABSENT
    f.status = t.status
    f.confidence = confidence[0]
    set_confidence(t, f)


cdef void set_confidence(oisp_turn* t, oisp_facts* f) noexcept nogil:
    """What all events of an exchange say besides what its messages do."""
    f.confidence.detection_method = t.verdict.method
    f.confidence.content_source = t.origin.content_source
    f.confidence.process_attribution = t.origin.attribution
    f.confidence.loss_undetectable = t.origin.no_offsets == 2
    f.confidence.reasons |= evidence_reasons(t)
    if t.verdict.provider == 0:
        f.confidence.missing |= MISSING_PROVIDER
    set_level(t, f)


cdef void written(oisp_shared* s, oisp_status status) noexcept nogil:
    if status == OISP_OK:
        s.count.events += 1
    else:
        s.count.events_lost += 1


cdef int64_t latency(oisp_turn* t, uint64_t end) noexcept nogil:
    if t.flags & OISP_TURN_ORPHAN or end < t.request_last:
        return OISP_ABSENT
    return <int64_t> (end - t.request_last)
