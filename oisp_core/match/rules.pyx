# SPDX-License-Identifier: Apache-2.0
"""Verdicts: is this message AI traffic, whose, of which kind, read by which dialect, and how sure is that.

Asked once per message head, and again where the body or the response has to say. It decides from what is asked, holds
no state between messages, and allocates nothing. The tables come from `compile.py`; `Registry` checks every index in
them before the first question, because they may come from a cache file.

The cheapest question comes first: the hash of the host, then the tokens of the path from its end, then the header
fields in one pass. A known host with an unknown path is not AI (model lists, telemetry, files). An unknown host is
only a candidate when its path ends like one that some provider has, and then the body, or the response's head, has to
confirm:

    evidence                                   level        method
    host, path                                 medium       known_endpoint
    path, body keys, model among them          medium       payload_inspection
    path, body keys                            inferred     payload_inspection
    path, response headers of a provider       inferred     header_fingerprint
    path that no other API has                 inferred     heuristic
    body keys without a path                   inferred     content_pattern

Whoever decodes the payload may raise the first row to high once it names a model.

While a verdict is UNDECIDED, `rule` is a note to the next question: the number of the path (with EVIDENCE_PATH
alone), of the rule whose body was cut (with EVIDENCE_BODY), or of the rule whose variants the body chooses from
(EVIDENCE_HOST).
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memchr, memcmp, memset

import numpy as np

from oisp_core.match.automaton cimport Automaton, automaton_scan
from oisp_core.types cimport (
    OISP_EVIDENCE_BODY, OISP_EVIDENCE_HEADER, OISP_EVIDENCE_HOST, OISP_EVIDENCE_KEY, OISP_EVIDENCE_MODEL,
    OISP_EVIDENCE_NEVER, OISP_EVIDENCE_PATH, OISP_EVIDENCE_PATHLESS, OISP_EVIDENCE_PORT, OISP_EVIDENCE_RESPONSE, OISP_VERDICT_AI,
    OISP_VERDICT_NONE, OISP_VERDICT_UNDECIDED, oisp_field, oisp_head, oisp_slice, oisp_verdict,
)

from oisp_core.match import tables as stored
from oisp_core.match import words
from oisp_core.match.verdict import Verdict

__all__ = ["Registry", "load_registry"]

cdef extern from "<string.h>" nogil:
    void* memmem(const void* haystack, size_t haystack_size, const void* needle, size_t needle_size)

cdef extern from "oisp/contract.h" nogil:
    enum:
        OISP_LEVEL_MEDIUM
        OISP_LEVEL_INFERRED
        OISP_DETECTION_METHOD_KNOWN_ENDPOINT
        OISP_DETECTION_METHOD_PAYLOAD_INSPECTION
        OISP_DETECTION_METHOD_HEADER_FINGERPRINT
        OISP_DETECTION_METHOD_CONTENT_PATTERN
        OISP_DETECTION_METHOD_HEURISTIC
        OISP_AUTH_TYPE_API_KEY
        OISP_AUTH_TYPE_OAUTH
        OISP_AUTH_TYPE_SESSION
        OISP_AUTH_TYPE_NONE
        OISP_AUTH_TYPE_UNKNOWN
        OISP_PROVIDER_NAME_OTHER

cdef enum:
    TOKENS_MAX = 24      # of one path, from its end; more only come from paths that no pattern is as long as
    FOUND_MAX = 12       # terminals kept of one path, the most specific ones
    OWNERS_MAX = 4       # providers that share one host
    EVERYWHERE = 32      # one more enum oisp_rule_flag: the path means the same whoever serves it
    RULES_MAX = 32       # rules of those at one path, the most specific ones
    WINDOW = 4096        # bytes of a body that are looked at: the keys that decide stand at its start
    DEPTH_MAX = 64       # nesting that is followed in a body
    FORMS_MAX = 64       # form fields that shapes may name
    NOWHERE = 0xFFFF     # a key that no shape asks for

# Where the host leads.
cdef struct Place:
    uint16_t[OWNERS_MAX] owners
    uint32_t count
    uint8_t never
    uint8_t account
    oisp_slice region

cdef struct Path:
    oisp_slice target                # without its query
    oisp_slice[TOKENS_MAX] tokens    # [0] is the last one
    uint32_t count                   # 0 also before it is cut: a path found whole is cut only for its captures
    uint8_t verbs                    # the last segment is cut at its last colon
    uint16_t[FOUND_MAX] terminals    # most specific first
    uint32_t found

# The rules that the providers of a known host have at a path, the most specific first.
cdef struct Choice:
    const uint16_t* rules
    uint32_t count
    uint8_t methods    # of all of them
    uint16_t[RULES_MAX] own

# What the header fields say.
cdef struct Fields:
    oisp_slice credential
    uint8_t auth_type      # of the credential, by the way it is sent; 0 unknown
    uint8_t aws
    uint8_t session
    uint8_t upgrade
    uint8_t grpc
    uint8_t signal         # a signal that asks to look at the body
    uint16_t provider      # whom signals name
    oisp_slice service     # of an AWS signature
    oisp_slice region
    oisp_slice organization
    oisp_slice project
    uint8_t answer         # enum oisp_answer, of the content type

cdef struct ValueScan:
    const oisp_rules* rules
    const oisp_rule_header* header
    uint8_t where
    Fields* fields


# --- small things -----------------------------------------------------------------------------------------------------

cdef inline uint8_t lower(uint8_t c) noexcept nogil:
    return c | 0x20 if c >= 65 and c <= 90 else c


cdef inline bint same_text(const oisp_rules* r, oisp_slice text, uint32_t at, uint32_t size) noexcept nogil:
    return text.size == size and oisp_rule_same(text.data, r.pool + at, size)


cdef inline bint begins(const oisp_rules* r, oisp_slice text, uint32_t at, uint32_t size) noexcept nogil:
    return text.size >= size and oisp_rule_same(text.data, r.pool + at, size)


cdef inline bint word_is(oisp_slice text, const char* low, uint32_t size) noexcept nogil:
    return text.size >= size and oisp_rule_same(text.data, <const uint8_t*>low, size)


cdef inline oisp_slice cut(oisp_slice text, uint32_t skip) noexcept nogil:
    cdef oisp_slice out
    out.data = text.data + skip
    out.size = text.size - skip
    return out


cdef inline oisp_slice trimmed(oisp_slice text) noexcept nogil:
    while text.size and (text.data[0] == 32 or text.data[0] == 9):
        text = cut(text, 1)
    while text.size and (text.data[text.size - 1] == 32 or text.data[text.size - 1] == 9):
        text.size -= 1
    return text


cdef inline bint contains(oisp_slice text, const char* low, uint32_t size) noexcept nogil:
    """ASCII case ignored; for short header values."""
    cdef uint32_t i
    if text.size < size:
        return 0
    for i in range(text.size - size + 1):
        if lower(text.data[i]) == <uint8_t>low[0] and oisp_rule_same(text.data + i, <const uint8_t*>low, size):
            return 1
    return 0


cdef bint glob_fits(const uint8_t* glob, uint32_t glob_size, const uint8_t* text, uint32_t size, oisp_slice* region,
                    bint fold) noexcept nogil:
    """Wildcards are OISP_GLOB_* bytes. At most the last wildcard is taken back, which is enough for patterns in which
    a literal byte ends every wildcard but the last; the compiler makes no others."""
    cdef uint32_t g = 0, t = 0, star = 0, mark = 0
    cdef uint32_t region_at = 0
    cdef uint8_t kind = 0, c, w
    cdef bint open_region = 0
    region.size = 0
    while t < size or g < glob_size:
        if g < glob_size:
            w = glob[g]
            if w <= OISP_GLOB_REST:
                kind = w
                star = g + 1
                mark = t if w == OISP_GLOB_REST else t + 1
                if w == OISP_GLOB_REGION:
                    region_at = t
                    open_region = 1
                if mark > size or (w <= OISP_GLOB_LABEL and text[t] == 46):
                    return 0
                t = mark
                g += 1
                continue
            if t < size:
                c = lower(text[t]) if fold else text[t]
                if c == w:
                    if open_region and g == star:
                        region.data = text + region_at
                        region.size = t - region_at
                    g += 1
                    t += 1
                    continue
        if star == 0 or mark >= size or (kind <= OISP_GLOB_LABEL and text[mark] == 46):
            return 0
        mark += 1
        t = mark
        g = star
    if open_region and star == glob_size:
        region.data = text + region_at
        region.size = size - region_at
    return 1


# --- host -------------------------------------------------------------------------------------------------------------

cdef inline void split_port(oisp_slice authority, uint16_t known, oisp_slice* host, uint16_t* port) noexcept nogil:
    """`host`, `host:port`, `[v6]:port`; user information and a trailing dot are left out."""
    cdef uint32_t i, number = 0
    cdef const uint8_t* at = <const uint8_t*>memchr(authority.data, 64, authority.size) if authority.size else NULL
    host[0] = authority
    port[0] = known
    if at != NULL:
        host[0] = cut(authority, <uint32_t>(at - authority.data) + 1)
    i = host.size
    while i > 0 and host.data[i - 1] >= 48 and host.data[i - 1] <= 57:
        i -= 1
    if i > 0 and host.data[i - 1] == 58 and host.size - i <= 5:
        for k in range(i, host.size):
            number = number * 10 + host.data[k] - 48
        if i < host.size:  # `host:` has no port (RFC 3986 section 3.2.3)
            port[0] = <uint16_t>number
        host.size = i - 1
    if host.size and host.data[host.size - 1] == 46:
        host.size -= 1


cdef bint take_links(const oisp_rules* r, const oisp_rule_host* slot, oisp_slice front, uint16_t port,
                     Place* place) noexcept nogil:
    cdef uint32_t i
    cdef const oisp_rule_link* link
    cdef oisp_slice region
    cdef bint taken = 0
    region.size = 0
    for i in range(slot.first, slot.first + slot.count):
        link = &r.links[i]
        if link.port and link.port != port:
            continue
        if (link.size or front.size) and not glob_fits(r.pool + link.at, link.size, front.data, front.size, &region, 1):
            continue
        taken = 1
        if link.flags & OISP_LINK_NEVER:
            place.never = 1
            return 1
        if region.size:
            place.region = region
        if link.account_type:
            place.account = link.account_type
        if place.count < OWNERS_MAX:
            place.owners[place.count] = link.provider
            place.count += 1
    return taken


cdef const oisp_rule_host* host_slot(const oisp_rules* r, const oisp_rule_host* table, uint32_t mask,
                                     oisp_slice name) noexcept nogil:
    cdef uint32_t digest = oisp_rule_hash(name.data, name.size, OISP_FOLD, 0)
    cdef uint32_t slot = digest & mask
    while table[slot].count:
        if table[slot].hash == digest and same_text(r, name, table[slot].at, table[slot].size):
            return &table[slot]
        slot = (slot + 1) & mask
    return NULL


cdef bint find_host(const oisp_rules* r, oisp_slice host, uint16_t port, Place* place) noexcept nogil:
    cdef const oisp_rule_host* slot
    cdef oisp_slice rest, front
    cdef uint32_t i
    if host.size == 0 or host.size > 255:  # RFC 1035: no name is longer
        return 0
    front.data = host.data
    front.size = 0
    slot = host_slot(r, r.hosts, r.hosts_mask, host)
    if slot != NULL and take_links(r, slot, front, port, place):
        return 1
    for i in range(1, host.size):
        if host.data[i] != 46:
            continue
        rest = cut(host, i + 1)
        slot = host_slot(r, r.suffixes, r.suffixes_mask, rest)
        if slot != NULL:
            front.size = i
            if take_links(r, slot, front, port, place):
                return 1
    return 0


cdef inline bint is_local(oisp_slice host) noexcept nogil:
    """The loopback by name or address, or a private IPv4 address (RFC 1918)."""
    if word_is(host, b"localhost", 9) and host.size == 9:
        return 1
    if word_is(host, b"127.", 4) or word_is(host, b"10.", 3) or word_is(host, b"192.168.", 8):
        return host.data[host.size - 1] <= 57
    return (word_is(host, b"[::1]", 5) and host.size == 5) or (word_is(host, b"0.0.0.0", 7) and host.size == 7)


# --- path -------------------------------------------------------------------------------------------------------------

cdef void split_path(Path* path, bint verbs) noexcept nogil:
    """Tokens from the end: segments without empty ones (gateways double slashes), the last cut at its last colon."""
    cdef oisp_slice target = path.target
    cdef uint32_t end = target.size, start, i
    path.count = 0
    path.verbs = verbs
    while path.count < TOKENS_MAX:
        while end > 0 and target.data[end - 1] == 47:
            end -= 1
        if end == 0:
            break
        start = end
        while start > 0 and target.data[start - 1] != 47:
            start -= 1
        if path.count == 0 and verbs:
            i = end
            while i > start and target.data[i - 1] != 58:
                i -= 1
            if i > start + 1:  # `model:verb`: two tokens, the colon belongs to the second
                path.tokens[0].data = target.data + i - 1
                path.tokens[0].size = end - i + 1
                path.count = 1
                end = i - 1
        path.tokens[path.count].data = target.data + start
        path.tokens[path.count].size = end - start
        path.count += 1
        end = start


cdef void keep_terminal(const oisp_rules* r, uint16_t terminal, uint32_t depth, Path* path) noexcept nogil:
    cdef uint32_t i, k
    if r.terminals[terminal - 1].anchored and depth != path.count:
        return
    i = path.found
    while i > 0 and r.terminals[path.terminals[i - 1] - 1].rank < r.terminals[terminal - 1].rank:
        i -= 1
    if i == FOUND_MAX:
        return
    k = path.found if path.found < FOUND_MAX else FOUND_MAX - 1
    while k > i:
        path.terminals[k] = path.terminals[k - 1]
        k -= 1
    path.terminals[i] = terminal
    if path.found < FOUND_MAX:
        path.found += 1


cdef inline uint32_t literal_child(const oisp_rules* r, uint32_t node, oisp_slice token) noexcept nogil:
    cdef uint32_t digest = oisp_rule_hash(token.data, token.size, 0, node)
    cdef uint32_t slot = digest & r.edges_mask
    cdef const oisp_rule_edge* edge
    while r.edges[slot].child:
        edge = &r.edges[slot]
        if edge.hash == digest and edge.parent == node and edge.size == token.size \
                and oisp_rule_equal(r.pool + edge.at, token.data, token.size):
            return edge.child
        slot = (slot + 1) & r.edges_mask
    return 0


cdef void walk_path(const oisp_rules* r, uint32_t node, uint32_t depth, Path* path) noexcept nogil:
    """All terminals that the tokens from `depth` on lead to. The trie is as deep as its longest pattern, which bounds
    the recursion; branches are a literal, the few globs of a node, and `any`."""
    cdef const oisp_rule_node* n = &r.nodes[node]
    cdef const oisp_rule_token_glob* glob
    cdef oisp_slice token
    cdef uint32_t child, i
    if n.terminal:
        keep_terminal(r, n.terminal, depth, path)
    if depth == path.count:
        return
    token = path.tokens[depth]
    child = literal_child(r, node, token)
    if child:
        walk_path(r, child, depth + 1, path)
    for i in range(n.glob_first, n.glob_first + n.glob_count):
        glob = &r.globs[i]
        if token.size > glob.prefix_size + glob.suffix_size \
                and memcmp(token.data, r.pool + glob.prefix, glob.prefix_size) == 0 \
                and memcmp(token.data + token.size - glob.suffix_size, r.pool + glob.suffix, glob.suffix_size) == 0:
            walk_path(r, glob.child, depth + 1, path)
    if n.any and (token.data[0] != 58 or depth > 0):
        walk_path(r, n.any, depth + 1, path)


cdef void search_path(const oisp_rules* r, Path* path) noexcept nogil:
    path.found = 0
    split_path(path, 1)
    walk_path(r, 0, 0, path)
    if path.found == 0 and path.count and path.tokens[0].data[0] == 58:
        split_path(path, 0)  # a colon that is part of a name, as in `model:tag`
        walk_path(r, 0, 0, path)


cdef inline const oisp_rule_exact* exact_path(const oisp_rules* r, oisp_slice path, uint16_t provider) noexcept nogil:
    cdef uint32_t digest = oisp_rule_hash(path.data, path.size, 0, provider)
    cdef uint32_t slot = digest & r.exact_mask
    cdef const oisp_rule_exact* entry = &r.exact[slot]
    while entry.size:
        if entry.hash == digest and entry.size == path.size and entry.provider == provider \
                and oisp_rule_equal(r.exact_text + entry.at, path.data, path.size):
            return entry
        slot = (slot + 1) & r.exact_mask
        entry = &r.exact[slot]
    return NULL


cdef void find_path(const oisp_rules* r, Path* path) noexcept nogil:
    """The patterns that fit: looked up whole, else walked."""
    cdef const oisp_rule_exact* entry = exact_path(r, path.target, 0)
    cdef uint32_t i
    if entry == NULL:
        search_path(r, path)
        return
    path.count = 0
    path.verbs = entry.verbs
    path.found = entry.count
    for i in range(entry.count):
        path.terminals[i] = r.exact_found[entry.first + i]


cdef void capture(const oisp_rules* r, Path* path, uint16_t terminal, oisp_verdict* out) noexcept nogil:
    cdef const oisp_rule_terminal* t = &r.terminals[terminal - 1]
    cdef oisp_slice inner
    if not (t.model_from | t.region | t.project | t.organization):
        return
    if path.count == 0:
        split_path(path, path.verbs)
    if t.model_from and t.model_from <= path.count:
        inner = path.tokens[t.model_to - 1]
        out.model.data = path.tokens[t.model_from - 1].data
        out.model.size = <uint32_t>(inner.data + inner.size - out.model.data)
    if t.region and t.region <= path.count:
        out.region = path.tokens[t.region - 1]
    if t.project and t.project <= path.count:
        out.project = path.tokens[t.project - 1]
    if t.organization and t.organization <= path.count:
        out.organization = path.tokens[t.organization - 1]


# --- header fields ----------------------------------------------------------------------------------------------------

cdef const oisp_rule_header* header_slot(const oisp_rules* r, oisp_slice name) noexcept nogil:
    cdef uint32_t digest, slot
    digest = oisp_rule_hash(name.data, name.size, OISP_FOLD, 0)
    slot = digest & r.headers_mask
    while r.headers[slot].size:
        if r.headers[slot].hash == digest and same_text(r, name, r.headers[slot].at, r.headers[slot].size):
            return &r.headers[slot]
        slot = (slot + 1) & r.headers_mask
    return NULL


cdef void read_aws(oisp_slice value, Fields* fields) noexcept nogil:
    """`Credential=AKIA.../20260101/us-east-1/bedrock/aws4_request, ...`: the key id, the region, the service."""
    cdef oisp_slice rest
    cdef uint32_t part = 0, start = 0, i
    cdef const uint8_t* at = <const uint8_t*>memmem(value.data, value.size, b"Credential=", 11)
    fields.aws = 1
    if at == NULL:
        return
    rest = cut(value, <uint32_t>(at - value.data) + 11)
    for i in range(rest.size + 1):
        if i < rest.size and rest.data[i] != 47 and rest.data[i] != 44 and rest.data[i] != 32:
            continue
        if part == 0:
            fields.credential.data = rest.data
            fields.credential.size = i
        elif part == 2:
            fields.region.data = rest.data + start
            fields.region.size = i - start
        elif part == 3:
            fields.service.data = rest.data + start
            fields.service.size = i - start
        part += 1
        start = i + 1
        if i == rest.size or rest.data[i] != 47:
            break


cdef void read_authorization(oisp_slice value, Fields* fields) noexcept nogil:
    """The credential without its scheme (RFC 9110 section 11.4); a value without a scheme is the credential."""
    cdef uint32_t i = 0
    value = trimmed(value)
    if word_is(value, b"bearer ", 7):
        fields.credential = trimmed(cut(value, 7))
        return
    while i < value.size and value.data[i] != 32:
        i += 1
    if word_is(value, b"aws4-", 5):
        read_aws(value, fields)
        return
    if i == value.size:
        fields.credential = value
        return
    fields.credential = trimmed(cut(value, i))
    if word_is(value, b"basic ", 6):
        fields.auth_type = OISP_AUTH_TYPE_UNKNOWN
    elif word_is(value, b"key ", 4) or word_is(value, b"token ", 6) or word_is(value, b"apikey ", 7) \
            or word_is(value, b"api-key ", 8):
        fields.auth_type = OISP_AUTH_TYPE_API_KEY


cdef inline uint8_t answer_of(oisp_slice value) noexcept nogil:
    if contains(value, b"event-stream", 12):
        return OISP_ANSWER_SSE
    if contains(value, b"ndjson", 6) or contains(value, b"jsonl", 5) or contains(value, b"stream+json", 11):
        return OISP_ANSWER_NDJSON
    if contains(value, b"json", 4):
        return OISP_ANSWER_JSON
    return OISP_ANSWER_OTHER


cdef inline void take_signal(const oisp_rule_signal* s, Fields* fields) noexcept nogil:
    fields.signal = 1
    # A gateway passes the headers of whoever is behind it on: its own say who answers.
    if s.provider and (fields.provider == 0 or s.where & OISP_SIGNAL_GATEWAY):
        fields.provider = s.provider


cdef int on_value(void* context, uint32_t pattern, size_t start, size_t end) noexcept nogil:
    cdef ValueScan* scan = <ValueScan*>context
    cdef uint32_t number = scan.rules.value_signals[pattern]
    cdef const oisp_rule_signal* s = &scan.rules.signals[number]
    cdef uint32_t first = scan.header.signal_first
    if s.where & scan.where and number >= first and number < first + scan.header.signal_count:
        take_signal(s, scan.fields)
    return 1


cdef void read_signals(const oisp_rules* r, const oisp_rule_header* header, oisp_slice value, uint8_t where,
                       Fields* fields) noexcept nogil:
    cdef const oisp_rule_signal* s
    cdef ValueScan scan
    cdef bint inside = 0
    cdef uint32_t i
    value = trimmed(value)
    for i in range(header.signal_first, header.signal_first + header.signal_count):
        s = &r.signals[i]
        if not s.where & where:
            continue
        if s.mode == OISP_SIGNAL_CONTAINS:
            inside = 1
        elif s.mode == OISP_SIGNAL_PRESENT or (s.mode == OISP_SIGNAL_EQUAL and same_text(r, value, s.at, s.size)) \
                or (s.mode == OISP_SIGNAL_PREFIX and begins(r, value, s.at, s.size)):
            take_signal(s, fields)
    if inside:
        scan.rules = r
        scan.header = header
        scan.where = where
        scan.fields = fields
        automaton_scan(r.values, value.data, value.size, on_value, &scan)


cdef void read_subprotocol(oisp_slice value, Fields* fields) noexcept nogil:
    """Browsers cannot set headers on a WebSocket: `realtime, openai-insecure-api-key.KEY`."""
    cdef const uint8_t* at = <const uint8_t*>memmem(value.data, value.size, b"openai-insecure-api-key.", 24)
    cdef uint32_t i = 0
    if at == NULL:
        return
    value = cut(value, <uint32_t>(at - value.data) + 24)
    while i < value.size and value.data[i] != 44 and value.data[i] != 32:
        i += 1
    value.size = i
    fields.credential = value


cdef void read_fields(const oisp_rules* r, const oisp_head* head, uint8_t where, bint signals,
                      Fields* fields) noexcept nogil:
    """`signals`: whether fields that hint at AI matter; where the host is known they do not."""
    cdef const oisp_rule_header* header
    cdef const oisp_field* field
    cdef const oisp_rule_filter* filter = &r.header_filter if signals else &r.plain_filter
    cdef uint32_t i
    oisp_rule_clear(fields, sizeof(Fields))
    for i in range(head.fields_count):
        field = &head.fields[i]
        if not oisp_rule_wanted(filter, field.name.data, field.name.size):
            continue
        header = header_slot(r, field.name)
        if header == NULL:
            continue
        if signals and header.actions & OISP_HEADER_SIGNAL:
            read_signals(r, header, field.value, where, fields)
        if header.actions & OISP_HEADER_CONTENT_TYPE:
            if where == OISP_SIGNAL_REQUEST:
                fields.grpc = word_is(trimmed(field.value), b"application/grpc", 16)
            else:
                fields.answer = answer_of(field.value)
        if header.actions & OISP_HEADER_ORGANIZATION:
            fields.organization = trimmed(field.value)
        if header.actions & OISP_HEADER_PROJECT:
            fields.project = trimmed(field.value)
        if where != OISP_SIGNAL_REQUEST:
            continue
        if header.actions & OISP_HEADER_AUTHORIZATION:
            if fields.credential.size == 0:
                read_authorization(field.value, fields)
        elif header.actions & OISP_HEADER_CREDENTIAL:
            # A header of a provider's own beats Authorization, which may be the gateway's.
            if field.value.size:
                fields.credential = trimmed(field.value)
                fields.auth_type = OISP_AUTH_TYPE_API_KEY
        elif header.actions & OISP_HEADER_UPGRADE:
            fields.upgrade = contains(field.value, b"websocket", 9)
        elif header.actions & OISP_HEADER_SUBPROTOCOL:
            read_subprotocol(field.value, fields)
        elif header.actions & OISP_HEADER_COOKIE:
            fields.session = 1


cdef void read_query(const oisp_rules* r, oisp_slice target, Fields* fields) noexcept nogil:
    """`?key=...`, where a provider takes its credential there."""
    cdef const oisp_rule_query* q
    cdef uint32_t start, end, eq, i
    cdef const uint8_t* at = <const uint8_t*>memchr(target.data, 63, target.size) if target.size else NULL
    if at == NULL:
        return
    start = <uint32_t>(at - target.data) + 1
    while start < target.size:
        end = start
        eq = 0
        while end < target.size and target.data[end] != 38:
            if target.data[end] == 61 and eq == 0:
                eq = end
            end += 1
        if eq:
            for i in range(r.queries_count):
                q = &r.queries[i]
                if q.size == eq - start and memcmp(r.pool + q.at, target.data + start, q.size) == 0:
                    fields.credential.data = target.data + eq + 1
                    fields.credential.size = end - eq - 1
                    fields.auth_type = OISP_AUTH_TYPE_API_KEY
                    return
        start = end + 1


cdef inline bint key_fits(const oisp_rule_key* key, oisp_slice credential, const Fields* fields) noexcept nogil:
    if key.aws:
        return fields.aws and fields.service.size == key.size and oisp_rule_equal(fields.service.data, key.prefix, key.size)
    return credential.size >= key.size and oisp_rule_equal(credential.data, key.prefix, key.size)


cdef const oisp_rule_key* find_key(const oisp_rules* r, oisp_slice credential, const Fields* fields,
                                   uint16_t provider) noexcept nogil:
    """The longest prefix that fits: among the provider's own first, then among all."""
    cdef const oisp_rule_provider* p
    cdef uint32_t i
    if provider:
        p = &r.providers[provider - 1]
        for i in range(p.key_first, p.key_first + p.key_count):  # longest first
            if not r.keys[i].aws and key_fits(&r.keys[i], credential, fields):
                return &r.keys[i]
    if fields.aws:
        for i in range(r.keys_count):
            if r.keys[i].aws and key_fits(&r.keys[i], credential, fields):
                return &r.keys[i]
    for i in range(r.key_groups[credential.data[0]], r.key_groups[credential.data[0] + 1]):
        if key_fits(&r.keys[r.key_order[i]], credential, fields):
            return &r.keys[r.key_order[i]]
    return NULL


cdef bint serves(const oisp_rules* r, uint16_t terminal, uint16_t provider) noexcept nogil:
    """Whether a provider has anything at a path. Headers and keys only name one that does."""
    cdef uint32_t low, high, middle
    if terminal == 0 or provider == 0:
        return 0
    low = r.terminals[terminal - 1].served_first
    high = low + r.terminals[terminal - 1].served_count
    while low < high:
        middle = (low + high) >> 1
        if r.served[middle] == provider:
            return 1
        if r.served[middle] < provider:
            low = middle + 1
        else:
            high = middle
    return 0


cdef void set_auth(const oisp_rules* r, const oisp_head* head, const Fields* fields, uint16_t terminal,
                   oisp_verdict* out) noexcept nogil:
    """Type of the credential, and behind an unknown host whose it is."""
    cdef const oisp_rule_key* key
    out.key = fields.credential
    if fields.credential.size == 0:
        if fields.session and out.provider and r.providers[out.provider - 1].auth_type == OISP_AUTH_TYPE_SESSION:
            out.auth_type = OISP_AUTH_TYPE_SESSION
        else:
            out.auth_type = OISP_AUTH_TYPE_UNKNOWN if head.partial or fields.aws else OISP_AUTH_TYPE_NONE
        return
    key = find_key(r, fields.credential, fields, out.provider)
    if key != NULL:
        out.evidence |= OISP_EVIDENCE_KEY
        out.auth_type = key.auth_type
        if key.account_type and not out.account_type:
            out.account_type = key.account_type
        if out.provider == 0 and not fields.upgrade and serves(r, terminal, key.provider):
            # Of a WebSocket it says little: one client library, with one key, is used for every realtime service.
            out.provider = key.provider
    if key == NULL or key.aws:
        if fields.aws:
            # A temporary key (AWS STS) begins with ASIA, a user's with AKIA.
            out.auth_type = OISP_AUTH_TYPE_SESSION if word_is(fields.credential, b"asia", 4) else OISP_AUTH_TYPE_API_KEY
        elif key == NULL:
            if fields.auth_type:
                out.auth_type = fields.auth_type
            elif word_is(fields.credential, b"eyj", 3):  # a JWT: base64 of `{"`
                out.auth_type = OISP_AUTH_TYPE_OAUTH
            elif out.provider and r.providers[out.provider - 1].auth_type:
                out.auth_type = r.providers[out.provider - 1].auth_type
            else:
                out.auth_type = OISP_AUTH_TYPE_UNKNOWN


# --- bodies -----------------------------------------------------------------------------------------------------------

cdef inline uint16_t key_child(const oisp_rules* r, uint16_t parent, const uint8_t* data, uint32_t size) noexcept nogil:
    cdef uint32_t digest, slot
    cdef const oisp_rule_key_edge* edge
    if parent == NOWHERE:
        return NOWHERE
    digest = oisp_rule_hash(data, size, 0, parent)
    slot = digest & r.key_edges_mask
    while r.key_edges[slot].child:
        edge = &r.key_edges[slot]
        if edge.hash == digest and edge.parent == parent and edge.size == size \
                and oisp_rule_equal(r.pool + edge.at, data, size):
            return edge.child
        slot = (slot + 1) & r.key_edges_mask
    return NOWHERE


cdef void test_string(const oisp_rules* r, uint16_t node, const uint8_t* data, uint32_t size, bint whole,
                      uint8_t* seen) noexcept nogil:
    cdef const oisp_rule_key_test* test
    cdef uint32_t i
    cdef bint fits
    for i in range(r.key_nodes[node].test_first, r.key_nodes[node].test_first + r.key_nodes[node].test_count):
        test = &r.key_tests[i]
        if test.mode == OISP_TEST_EQUAL:
            fits = whole and size == test.size and memcmp(data, r.pool + test.at, size) == 0
        elif test.mode == OISP_TEST_PREFIX:
            fits = size >= test.size and memcmp(data, r.pool + test.at, test.size) == 0
        else:
            fits = memmem(data, size, r.pool + test.at, test.size) != NULL
        if fits:
            seen[test.node] |= OISP_SHAPE_STRING


cdef inline uint32_t string_end(const uint8_t* data, uint32_t at, uint32_t size) noexcept nogil:
    """Index of the quote that ends the string whose first byte is `at`, or `size`."""
    while at < size and data[at] != 34:
        at += 2 if data[at] == 92 else 1
    return at if at < size else size


cdef int read_json(const oisp_rules* r, const uint8_t* data, uint32_t size, uint8_t* seen) noexcept nogil:
    """Notes which nodes of the key trie have values of which types. 0: not JSON, 1: a whole document, 2: it was cut."""
    cdef uint16_t[DEPTH_MAX] nodes
    cdef uint8_t[DEPTH_MAX] closers
    cdef uint32_t depth = 0, i = 0, end
    cdef uint16_t node = 0
    cdef uint8_t c
    cdef bint want_key = 0, after = 0
    while i < size:
        c = data[i]
        if c == 32 or c == 9 or c == 10 or c == 13:
            i += 1
        elif after:
            if depth == 0:
                return 1
            if c == 44:  # ,
                want_key = closers[depth - 1] == 125
                node = nodes[depth - 1]
                after = 0
            elif c == closers[depth - 1]:
                depth -= 1
            else:
                return 0
            i += 1
            if depth == 0:
                return 1
        elif want_key:
            if c == 125:  # an empty object
                depth -= 1
                after = 1
                i += 1
                if depth == 0:
                    return 1
                continue
            if c != 34:
                return 0
            end = string_end(data, i + 1, size)
            if end == size:
                return 2
            node = key_child(r, nodes[depth - 1], data + i + 1, end - i - 1)
            i = end + 1
            while i < size and (data[i] == 32 or data[i] == 9 or data[i] == 10 or data[i] == 13):
                i += 1
            if i == size:
                return 2
            if data[i] != 58:
                return 0
            i += 1
            want_key = 0
        elif c == 34:
            end = string_end(data, i + 1, size)
            if node != NOWHERE:
                seen[node] |= OISP_SHAPE_STRING
                if r.key_nodes[node].test_count:
                    test_string(r, node, data + i + 1, end - i - 1, end < size, seen)
            if end == size:
                return 2
            i = end + 1
            after = 1
        elif c == 123 or c == 91:  # { [
            if depth == DEPTH_MAX:
                return 2
            if node != NOWHERE:
                seen[node] |= OISP_SHAPE_OBJECT if c == 123 else OISP_SHAPE_ARRAY
            if c == 123:
                nodes[depth] = node
                closers[depth] = 125
                want_key = 1
            else:
                node = r.key_nodes[node].items if node != NOWHERE and r.key_nodes[node].items else NOWHERE
                nodes[depth] = node
                closers[depth] = 93
            depth += 1
            i += 1
        elif c == 93:  # an empty array
            if depth == 0 or closers[depth - 1] != 93:
                return 0
            depth -= 1
            after = 1
            i += 1
            if depth == 0:
                return 1
        else:
            if c == 116 or c == 102:
                c = OISP_SHAPE_BOOL
            elif c == 110:
                c = OISP_SHAPE_NULL
            elif c == 45 or (c >= 48 and c <= 57):
                c = OISP_SHAPE_NUMBER
            else:
                return 0
            if node != NOWHERE:
                seen[node] |= c
            while i < size and data[i] != 44 and data[i] != 125 and data[i] != 93 and data[i] > 32:
                i += 1
            after = 1
            if depth == 0:
                return 1
    return 2


cdef int on_form_field(void* context, uint32_t pattern, size_t start, size_t end) noexcept nogil:
    if pattern < FORMS_MAX:
        (<uint64_t*>context)[0] |= <uint64_t>1 << pattern
    return 1


# What is known of a body.
cdef struct Body:
    int json            # as read_json answers
    bint form           # multipart/form-data
    bint part           # there is more than was looked at
    uint64_t fields     # form fields that were seen
    uint8_t[512] seen   # OISP_KEY_NODES_MAX


cdef void read_body(const oisp_rules* r, const uint8_t* data, size_t size, Body* body) noexcept nogil:
    cdef uint32_t window = <uint32_t>size if size < WINDOW else WINDOW
    memset(body.seen, 0, r.key_nodes_count)
    body.fields = 0
    body.json = 0
    body.form = window >= 2 and data[0] == 45 and data[1] == 45
    if body.form:
        automaton_scan(r.fields, data, window, on_form_field, &body.fields)
        body.part = size >= WINDOW
    else:
        body.json = read_json(r, data, window, body.seen)
        body.part = body.json == 2


# 0: it is not that; 1: it is; 2: it may be, the rest is not here; 3: the same, and what is here speaks for it
cdef int shape_fits(const oisp_rules* r, uint16_t number, const Body* body) noexcept nogil:
    cdef const oisp_rule_shape* s = &r.shapes[number - 1]
    cdef const oisp_rule_term* t = &r.terms[s.first]
    cdef uint32_t i, missing = 0, hits = 0
    if s.multipart:
        if not body.form:
            return 0
        for i in range(s.all):
            if (body.fields >> t[i].node) & 1:
                hits += 1
        return 1 if hits == s.all else 0 if not body.part else 3 if hits else 2
    if body.json == 0:
        return 0
    for i in range(s.all + s.any, s.all + s.any + s.none):
        if body.seen[t[i].node] & t[i].types:
            return 0
    for i in range(s.all):
        if body.seen[t[i].node] & t[i].types:
            hits += 1
        elif body.seen[t[i].node]:
            return 0
        else:
            missing += 1
    if s.any:
        missing += 1
        for i in range(s.all, s.all + s.any):
            if body.seen[t[i].node] & t[i].types:
                missing -= 1
                hits += 1
                break
    if missing == 0:
        return 1
    return 0 if not body.part else 3 if hits else 2


# --- verdicts ---------------------------------------------------------------------------------------------------------

cdef inline void set_kind(const oisp_rule* rule, oisp_verdict* out) noexcept nogil:
    out.kind = rule.kind
    out.request_type = rule.request_type
    out.dialect = rule.dialect


cdef inline void set_variant(const oisp_rule_variant* v, oisp_verdict* out) noexcept nogil:
    out.kind = v.kind
    out.request_type = v.request_type
    out.dialect = v.dialect


cdef void settle(const oisp_rules* r, uint32_t number, oisp_verdict* out) noexcept nogil:
    """By rule `number` (from 0), whose kind and dialect are set: AI, but kind none says that it is known and not AI."""
    out.rule = <uint16_t>(number + 1)
    if out.kind == 0:
        out.state = OISP_VERDICT_NONE
        return
    out.state = OISP_VERDICT_AI
    out.provider_name = r.providers[out.provider - 1].name if out.provider else OISP_PROVIDER_NAME_OTHER


cdef inline void dismiss(oisp_verdict* out) noexcept nogil:
    out.state = OISP_VERDICT_NONE
    out.rule = 0


cdef bint variant_by_model(const oisp_rules* r, const oisp_rule* rule, oisp_verdict* out) noexcept nogil:
    """Takes the first variant that the model in the path decides. Answers whether one of them asks for the body."""
    cdef const oisp_rule_variant* v
    cdef oisp_slice unused
    cdef uint32_t i
    for i in range(rule.variant_first, rule.variant_first + rule.variant_count):
        v = &r.variants[i]
        if v.size and not glob_fits(r.pool + v.at, v.size, out.model.data, out.model.size, &unused, 1):
            continue
        if v.shape:
            return 1
        set_variant(v, out)
        return 0
    return 0


cdef void variant_by_body(const oisp_rules* r, const oisp_rule* rule, const Body* body,
                          oisp_verdict* out) noexcept nogil:
    cdef const oisp_rule_variant* v
    cdef oisp_slice unused
    cdef uint32_t i
    for i in range(rule.variant_first, rule.variant_first + rule.variant_count):
        v = &r.variants[i]
        if v.size and not glob_fits(r.pool + v.at, v.size, out.model.data, out.model.size, &unused, 1):
            continue
        if v.shape == 0 or shape_fits(r, v.shape, body) == 1:
            set_variant(v, out)
            return


cdef inline uint8_t method_bit(oisp_slice method) noexcept nogil:
    if method.size == 4 and memcmp(method.data, b"POST", 4) == 0:
        return OISP_METHOD_POST
    if method.size == 3 and memcmp(method.data, b"GET", 3) == 0:
        return OISP_METHOD_GET
    if method.size == 3 and memcmp(method.data, b"PUT", 3) == 0:
        return OISP_METHOD_PUT
    if method.size == 5 and memcmp(method.data, b"PATCH", 5) == 0:
        return OISP_METHOD_PATCH
    if method.size == 6 and memcmp(method.data, b"DELETE", 6) == 0:
        return OISP_METHOD_DELETE
    return OISP_METHOD_OTHER


cdef inline bint rule_fits(const oisp_rule* rule, uint8_t method, const Fields* fields, bint partial) noexcept nogil:
    cdef bint socket = fields.upgrade or method == OISP_METHOD_OTHER  # HTTP/2: CONNECT (RFC 8441)
    if not rule.methods & method:
        return 0
    if partial:
        return 1
    if rule.flags & OISP_RULE_GRPC and not fields.grpc:
        return 0
    return (rule.flags & OISP_RULE_WEBSOCKET != 0) == socket


cdef void by_host(const oisp_rules* r, const oisp_head* head, const Choice* choice, Path* path, uint8_t method,
                  Fields* fields, oisp_verdict* out) noexcept nogil:
    """The host is known: the most specific path at which one of its providers has a rule that fits."""
    cdef const oisp_rule* rule
    cdef uint32_t i
    for i in range(choice.count):
        rule = &r.rules[choice.rules[i]]
        if not rule_fits(rule, method, fields, head.partial):
            continue
        out.provider = rule.provider
        out.evidence = OISP_EVIDENCE_HOST | OISP_EVIDENCE_PATH
        out.level = OISP_LEVEL_MEDIUM
        out.method = OISP_DETECTION_METHOD_KNOWN_ENDPOINT
        capture(r, path, rule.terminal, out)
        set_kind(rule, out)
        if rule.variant_count and variant_by_model(r, rule, out):
            out.state = OISP_VERDICT_UNDECIDED
            out.rule = <uint16_t>(choice.rules[i] + 1)
            out.provider_name = r.providers[out.provider - 1].name
        else:
            settle(r, choice.rules[i], out)
        return


cdef inline uint32_t first_rule(const oisp_rules* r, const oisp_rule_terminal* t, uint16_t provider) noexcept nogil:
    """Lower bound of the provider's rules at a path (they are sorted by provider)."""
    cdef uint32_t low = t.rules_first, high = t.rules_first + t.rules_count, middle
    while low < high:
        middle = (low + high) >> 1
        if r.rules[middle].provider < provider:
            low = middle + 1
        else:
            high = middle
    return low


cdef void gather(const oisp_rules* r, const Place* place, const Path* path, Choice* choice) noexcept nogil:
    """What the host's providers have at the path."""
    cdef const oisp_rule_terminal* t
    cdef uint32_t i, k, o
    choice.rules = choice.own
    choice.count = 0
    choice.methods = 0
    for i in range(path.found):
        t = &r.terminals[path.terminals[i] - 1]
        for o in range(place.count):
            k = first_rule(r, t, place.owners[o])
            while k < t.rules_first + t.rules_count and r.rules[k].provider == place.owners[o]:
                if choice.count == RULES_MAX:
                    return
                choice.own[choice.count] = <uint16_t>k
                choice.count += 1
                choice.methods |= r.rules[k].methods
                k += 1


cdef inline void choose(const oisp_rules* r, const Place* place, Path* path, Choice* choice) noexcept nogil:
    cdef const oisp_rule_exact* entry = exact_path(r, path.target, place.owners[0]) if place.count == 1 else NULL
    if entry == NULL:
        find_path(r, path)
        gather(r, place, path, choice)
        return
    path.count = 0
    path.verbs = entry.verbs
    choice.rules = r.exact_found + entry.first
    choice.count = entry.count
    choice.methods = entry.methods


cdef bint means_the_same_everywhere(const oisp_rules* r, Path* path, const Choice* choice) noexcept nogil:
    cdef const oisp_rule_terminal* t
    cdef uint32_t i, g
    if choice.rules != choice.own:
        find_path(r, path)
    for i in range(path.found):
        t = &r.terminals[path.terminals[i] - 1]
        for g in range(t.gates_first, t.gates_first + t.gates_count):
            if r.rules[r.gates[g]].flags & EVERYWHERE:
                return 1
    return 0


cdef uint16_t by_path(const oisp_rules* r, const oisp_head* head, Path* path, uint8_t method,
                      const Fields* fields, oisp_verdict* out) noexcept nogil:
    """The host is unknown: a path that some provider has makes a candidate. Answers which path."""
    cdef const oisp_rule_terminal* t
    cdef const oisp_rule* rule
    cdef uint32_t i, g
    for i in range(path.found):
        t = &r.terminals[path.terminals[i] - 1]
        for g in range(t.gates_first, t.gates_first + t.gates_count):
            rule = &r.rules[r.gates[g]]
            if not rule_fits(rule, method, fields, head.partial):
                continue
            out.evidence |= OISP_EVIDENCE_PATH
            out.state = OISP_VERDICT_UNDECIDED
            out.rule = path.terminals[i]
            capture(r, path, path.terminals[i], out)
            if rule.flags & OISP_RULE_GRPC and rule.flags & OISP_RULE_ALONE and fields.grpc:
                # The full name of a gRPC method belongs to one service, and its body has no keys to look at.
                by_shape(r, r.gates[g], 0, out)
            return path.terminals[i]
    if r.any_gates_count and (fields.signal or fields.upgrade or method == OISP_METHOD_OTHER
                              or (head.partial and head.target.size == 0)):
        out.state = OISP_VERDICT_UNDECIDED
        out.rule = 0
        if fields.signal:
            out.evidence |= OISP_EVIDENCE_HEADER
    return 0


cdef void by_shape(const oisp_rules* r, uint32_t number, bint model, oisp_verdict* out) noexcept nogil:
    """AI behind an unknown host, by rule `number`: how sure that is follows from the evidence so far."""
    cdef const oisp_rule* rule = &r.rules[number]
    set_kind(rule, out)
    out.level = OISP_LEVEL_INFERRED
    if out.evidence & OISP_EVIDENCE_BODY:
        if out.evidence & OISP_EVIDENCE_PATH:
            out.method = OISP_DETECTION_METHOD_PAYLOAD_INSPECTION
            if model:
                out.level = OISP_LEVEL_MEDIUM
                out.evidence |= OISP_EVIDENCE_MODEL
        else:
            out.method = OISP_DETECTION_METHOD_CONTENT_PATTERN
            if out.evidence & OISP_EVIDENCE_HEADER:
                out.method = OISP_DETECTION_METHOD_HEADER_FINGERPRINT
    elif out.evidence & (OISP_EVIDENCE_RESPONSE | OISP_EVIDENCE_KEY) and out.provider:
        out.method = OISP_DETECTION_METHOD_HEADER_FINGERPRINT
    else:
        out.method = OISP_DETECTION_METHOD_HEURISTIC
    variant_by_model(r, rule, out)
    settle(r, number, out)


cdef inline bint has_model(const oisp_rules* r, uint16_t shape, const Body* body,
                           const oisp_verdict* out) noexcept nogil:
    cdef uint16_t node = r.shapes[shape - 1].model if shape else 0
    return out.model.size != 0 or (node != 0 and body.seen[node] & OISP_SHAPE_STRING != 0)


cdef void match_request(const oisp_rules* r, const oisp_head* head, oisp_verdict* out) noexcept nogil:
    cdef oisp_slice target = head.target
    cdef oisp_slice authority = head.authority
    cdef oisp_slice host
    cdef uint16_t port
    cdef uint8_t method = method_bit(head.method)
    cdef Place place
    cdef Path path
    cdef Choice choice
    cdef Fields fields
    cdef uint16_t terminal = 0
    oisp_rule_clear(out, sizeof(oisp_verdict))
    place.count = 0
    place.never = 0
    place.account = 0
    place.region.size = 0
    absolute_form(&target, &authority)
    split_port(authority, head.port, &host, &port)
    if not find_host(r, host, port, &place):
        find_host(r, head.sni, port, &place)
    if place.never:
        out.evidence = OISP_EVIDENCE_HOST | OISP_EVIDENCE_NEVER
        return
    if head.partial and target.size == 0:
        without_path(r, head, &place, out)
        return
    path.target.data = target.data
    path.target.size = oisp_rule_path_end(target.data, target.size)
    if place.count:
        out.evidence = OISP_EVIDENCE_HOST
        out.provider = place.owners[0]
        choose(r, &place, &path, &choice)
        if choice.methods & method:
            read_fields(r, head, OISP_SIGNAL_REQUEST, 0, &fields)
            by_host(r, head, &choice, &path, method, &fields, out)
        elif means_the_same_everywhere(r, &path, &choice):
            # Not among what is known of this provider, but everybody knows it: the body has to say.
            read_fields(r, head, OISP_SIGNAL_REQUEST, 1, &fields)
            out.evidence = 0
            terminal = by_path(r, head, &path, method, &fields, out)
            if terminal == 0:
                dismiss(out)
                out.evidence = OISP_EVIDENCE_HOST
                return
        else:
            return
        out.account_type = place.account
        if place.region.size:
            out.region = place.region
    else:
        find_path(r, &path)
        read_fields(r, head, OISP_SIGNAL_REQUEST, 1, &fields)
        terminal = by_path(r, head, &path, method, &fields, out)
        if serves(r, terminal, fields.provider):
            out.provider = fields.provider
    if out.state != OISP_VERDICT_NONE:
        if path.target.size < target.size:
            read_query(r, target, &fields)
        if fields.organization.size:
            out.organization = fields.organization
        if fields.project.size:
            out.project = fields.project
        if out.region.size == 0:
            out.region = fields.region
        set_auth(r, head, &fields, terminal, out)
        if out.provider == 0:
            by_port(r, host, port, terminal, out)
        if out.state == OISP_VERDICT_AI and out.provider:
            out.provider_name = r.providers[out.provider - 1].name


cdef void without_path(const oisp_rules* r, const oisp_head* head, const Place* place, oisp_verdict* out) noexcept nogil:
    """The path stood in a header block of HTTP/2 that was lost: what the body looks like will tell."""
    cdef Fields fields
    out.state = OISP_VERDICT_UNDECIDED
    out.evidence = OISP_EVIDENCE_PATHLESS
    if place.count:
        out.evidence |= OISP_EVIDENCE_HOST
        out.provider = place.owners[0]
        out.account_type = place.account
        out.region = place.region
    read_fields(r, head, OISP_SIGNAL_REQUEST, 1, &fields)
    set_auth(r, head, &fields, 0, out)


cdef bint names_claude(const uint8_t* data, size_t size) noexcept nogil:
    """The body's `model` begins with claude: of the dialects that share `messages`, Anthropic's is spoken to those."""
    cdef size_t i = 0
    while i + 20 < size:
        if data[i] == c'"' and memcmp(data + i, b'"model"', 7) == 0:
            i += 7
            while i + 8 < size and (data[i] == c" " or data[i] == c":" or data[i] == c"\n"):
                i += 1
            return memcmp(data + i, b'"claude', 7) == 0
        i += 1
    return False


cdef void by_body_alone(const oisp_rules* r, const Body* body, bint claude, oisp_verdict* out) noexcept nogil:
    """Of the rules whose shape fits: what this connection is asked usually, else the first that any host may have."""
    cdef const oisp_rule* rule
    cdef uint32_t i, best = 0, maybe = 0
    cdef uint16_t usual = out.rule
    cdef int fits
    if usual and (r.rules[usual - 1].shape == 0 or shape_fits(r, r.rules[usual - 1].shape, body) == 1):
        best = usual
    for i in range(r.rules_count if best == 0 else 0):
        rule = &r.rules[i]
        if rule.provider or rule.shape == 0 or rule.dialect == 0 or rule.flags & (OISP_RULE_GRPC | OISP_RULE_WEBSOCKET):
            continue
        fits = shape_fits(r, rule.shape, body)
        maybe |= fits >= 2
        if fits != 1:
            continue
        if best == 0 or (claude and rule.dialect == r.claude and r.rules[best - 1].dialect != r.claude):
            best = i + 1
    if best:
        out.evidence |= OISP_EVIDENCE_BODY
        by_shape(r, best - 1, has_model(r, r.rules[best - 1].shape, body, out), out)
        variant_by_body(r, &r.rules[best - 1], body, out)
    elif not maybe:
        dismiss(out)


cdef inline void absolute_form(oisp_slice* target, oisp_slice* authority) noexcept nogil:
    """A request to a proxy: `POST http://host/path` (RFC 9112 section 3.2.2); the target names the host."""
    cdef uint32_t skip, i
    if target.size == 0 or target.data[0] == 47:
        return
    skip = 8 if word_is(target[0], b"https://", 8) else 7 if word_is(target[0], b"http://", 7) else 0
    if skip == 0:
        return
    i = skip
    while i < target.size and target.data[i] != 47 and target.data[i] != 63:
        i += 1
    authority.data = target.data + skip
    authority.size = i - skip
    target[0] = cut(target[0], i)


cdef inline void by_port(const oisp_rules* r, oisp_slice host, uint16_t port, uint16_t terminal,
                         oisp_verdict* out) noexcept nogil:
    """A port proves nothing: it names the provider of what path and body have still to show."""
    cdef uint32_t i
    if port == 0 or not is_local(host):
        return
    for i in range(r.ports_count):
        if r.ports[i].port == port and serves(r, terminal, r.ports[i].provider):
            out.provider = r.ports[i].provider
            out.evidence |= OISP_EVIDENCE_PORT
            return


cdef void match_request_body(const oisp_rules* r, const uint8_t* data, size_t size, oisp_verdict* out) noexcept nogil:
    cdef Body body
    cdef const uint16_t* gates
    cdef const oisp_rule* rule
    cdef uint32_t count, g, maybe = 0
    cdef uint16_t hint = 0
    cdef int fits
    if out.state != OISP_VERDICT_UNDECIDED or size == 0:
        return
    read_body(r, data, size, &body)
    if out.evidence & OISP_EVIDENCE_PATHLESS:
        by_body_alone(r, &body, names_claude(data, size), out)
        return
    if out.evidence & OISP_EVIDENCE_HOST and out.rule:
        variant_by_body(r, &r.rules[out.rule - 1], &body, out)
        settle(r, out.rule - 1, out)
        return
    if out.evidence & OISP_EVIDENCE_BODY:
        return  # asked before, and cut then
    if out.evidence & OISP_EVIDENCE_PATH:
        gates = &r.gates[r.terminals[out.rule - 1].gates_first]
        count = r.terminals[out.rule - 1].gates_count
    else:
        gates = r.any_gates
        count = r.any_gates_count
    for g in range(count):
        rule = &r.rules[gates[g]]
        if rule.shape == 0:
            maybe = 1
            continue
        fits = shape_fits(r, rule.shape, &body)
        if fits == 1:
            out.evidence |= OISP_EVIDENCE_BODY
            by_shape(r, gates[g], has_model(r, rule.shape, &body, out), out)
            variant_by_body(r, rule, &body, out)
            return
        if fits >= 2:
            maybe = 1
            if fits == 3 and hint == 0:
                hint = <uint16_t>(gates[g] + 1)
    if hint:
        out.evidence |= OISP_EVIDENCE_BODY
        out.rule = hint
    elif not maybe:
        dismiss(out)


cdef void match_response(const oisp_rules* r, const oisp_head* head, oisp_verdict* out) noexcept nogil:
    cdef Fields fields
    cdef const oisp_rule* rule
    cdef const oisp_rule_terminal* t
    cdef uint32_t g
    cdef uint16_t terminal = 0
    cdef uint8_t answers
    if out.state == OISP_VERDICT_NONE or (out.evidence & OISP_EVIDENCE_HOST and out.state == OISP_VERDICT_AI):
        return
    read_fields(r, head, OISP_SIGNAL_RESPONSE, 1, &fields)
    if out.state == OISP_VERDICT_AI or out.evidence & OISP_EVIDENCE_BODY:
        terminal = r.rules[out.rule - 1].terminal
    elif out.evidence & OISP_EVIDENCE_PATH:
        terminal = out.rule
    if not serves(r, terminal, fields.provider):
        fields.provider = 0
    if fields.provider and not out.evidence & OISP_EVIDENCE_HOST:
        out.evidence |= OISP_EVIDENCE_RESPONSE
        if out.provider == 0 or out.evidence & OISP_EVIDENCE_PORT:
            out.provider = fields.provider
            if out.state == OISP_VERDICT_AI:
                out.provider_name = r.providers[out.provider - 1].name
    if out.state == OISP_VERDICT_AI or head.status == 101 or (head.status >= 100 and head.status < 200):
        return
    if out.evidence & OISP_EVIDENCE_HOST and out.rule:
        settle(r, out.rule - 1, out)
    elif out.evidence & OISP_EVIDENCE_BODY:
        answers = r.shapes[r.rules[out.rule - 1].shape - 1].answers
        if answers == 0 or answers & fields.answer:
            by_shape(r, out.rule - 1, 0, out)
        else:
            dismiss(out)
    elif out.evidence & OISP_EVIDENCE_PATH:
        t = &r.terminals[out.rule - 1]
        dismiss(out)
        for g in range(t.gates_first, t.gates_first + t.gates_count):
            rule = &r.rules[r.gates[g]]
            # A key counts like a header here: it was given by someone who answers at this path.
            if rule.flags & OISP_RULE_ALONE or fields.provider or (out.provider and out.evidence & OISP_EVIDENCE_KEY):
                by_shape(r, r.gates[g], 0, out)
                break
    else:
        dismiss(out)


cdef void match_keep_usual(oisp_verdict* usual, uint8_t* mixed, const oisp_verdict* v) noexcept nogil:
    if usual.state == OISP_VERDICT_NONE and not mixed[0]:
        usual[0] = v[0]
        usual.model.size = usual.key.size = usual.region.size = 0
        usual.organization.size = usual.project.size = 0
        usual.evidence &= OISP_EVIDENCE_HOST
    if usual.dialect != v.dialect or v.state != OISP_VERDICT_AI:
        mixed[0] = 1
        memset(usual, 0, sizeof(oisp_verdict))


cdef oisp_slice match_provider_id(const oisp_rules* r, uint16_t provider) noexcept nogil:
    cdef oisp_slice out
    out.data = NULL
    out.size = 0
    if provider and provider <= r.providers_count:
        out.data = r.pool + r.providers[provider - 1].id
        out.size = r.providers[provider - 1].id_size
    return out


# --- the Python face --------------------------------------------------------------------------------------------------

cdef const void* at(dict arrays, str name):
    return <const void*><uintptr_t>arrays[name].__array_interface__["data"][0]


cdef class Registry:
    def __init__(self, tables, dialect_names=()):
        stored.check(tables)
        arrays = dict(tables.arrays)
        self.providers = list(tables.names["providers"])
        self.dialects = list(dialect_names)
        own = [0] + [self.dialects.index(d) + 1 if d in self.dialects else 0 for d in tables.names["dialects"]]
        numbers = np.array(own, dtype=np.uint16)
        for name in ("rules", "variants"):
            arrays[name] = arrays[name].copy()
            arrays[name]["dialect"] = numbers[arrays[name]["dialect"]]
        self.missing_dialects = [d for d in tables.names["dialects"] if d not in self.dialects]
        for array in arrays.values():
            array.setflags(write=False)
        self.owner = (arrays, self._automaton(tables, "values", True), self._automaton(tables, "fields", False))
        self._point(arrays, tables)
        self.derived = self._headers(arrays), self._keys(arrays), self._exact(arrays)
        self.rules = &self.table

    def _automaton(self, tables, name, ignore_case):
        patterns = [p.encode("latin-1") for p in tables.names[name]]
        return Automaton.from_arrays(patterns, tables.automata[name], ignore_case=ignore_case)

    def _point(self, dict arrays, tables):
        cdef oisp_rules* r = &self.table
        cdef Automaton values = self.owner[1]
        cdef Automaton fields = self.owner[2]
        r.pool = <const uint8_t*>at(arrays, "pool")
        r.hosts = <const oisp_rule_host*>at(arrays, "hosts")
        r.suffixes = <const oisp_rule_host*>at(arrays, "suffixes")
        r.links = <const oisp_rule_link*>at(arrays, "links")
        r.edges = <const oisp_rule_edge*>at(arrays, "edges")
        r.nodes = <const oisp_rule_node*>at(arrays, "nodes")
        r.globs = <const oisp_rule_token_glob*>at(arrays, "globs")
        r.terminals = <const oisp_rule_terminal*>at(arrays, "terminals")
        r.rules = <const oisp_rule*>at(arrays, "rules")
        r.variants = <const oisp_rule_variant*>at(arrays, "variants")
        r.gates = <const uint16_t*>at(arrays, "gates")
        r.served = <const uint16_t*>at(arrays, "served")
        r.shapes = <const oisp_rule_shape*>at(arrays, "shapes")
        r.terms = <const oisp_rule_term*>at(arrays, "terms")
        r.key_edges = <const oisp_rule_key_edge*>at(arrays, "key_edges")
        r.key_nodes = <const oisp_rule_key_node*>at(arrays, "key_nodes")
        r.key_tests = <const oisp_rule_key_test*>at(arrays, "key_tests")
        r.headers = <const oisp_rule_header*>at(arrays, "headers")
        r.signals = <const oisp_rule_signal*>at(arrays, "signals")
        r.keys = <const oisp_rule_key*>at(arrays, "keys")
        r.providers = <const oisp_rule_provider*>at(arrays, "providers")
        r.ports = <const oisp_rule_port*>at(arrays, "ports")
        r.queries = <const oisp_rule_query*>at(arrays, "queries")
        r.any_gates = <const uint16_t*>at(arrays, "any_gates")
        r.value_signals = <const uint16_t*>at(arrays, "value_signals")
        r.values = &values.table
        r.fields = &fields.table
        r.hosts_mask = len(arrays["hosts"]) - 1
        r.suffixes_mask = len(arrays["suffixes"]) - 1
        r.edges_mask = len(arrays["edges"]) - 1
        r.key_edges_mask = len(arrays["key_edges"]) - 1
        r.headers_mask = len(arrays["headers"]) - 1
        r.keys_count = len(arrays["keys"])
        r.providers_count = len(arrays["providers"])
        r.ports_count = len(arrays["ports"])
        r.queries_count = len(arrays["queries"])
        r.any_gates_count = len(arrays["any_gates"])
        r.claude = self.dialects.index("anthropic.messages") + 1 if "anthropic.messages" in self.dialects else 0
        r.key_nodes_count = len(arrays["key_nodes"])
        r.rules_count = len(arrays["rules"])
        r.terminals_count = len(arrays["terminals"])

    def _headers(self, dict arrays):
        """The names that matter, and those that matter even where the host is known."""
        cdef const uint8_t* name
        memset(&self.table.header_filter, 0, sizeof(oisp_rule_filter))
        memset(&self.table.plain_filter, 0, sizeof(oisp_rule_filter))
        for _, start, size, _, _, actions in arrays["headers"].tolist():
            if size:
                name = self.table.pool + <uint32_t>start
                oisp_rule_want(&self.table.header_filter, name, size)
                if actions & ~OISP_HEADER_SIGNAL:
                    oisp_rule_want(&self.table.plain_filter, name, size)

    def _keys(self, dict arrays):
        """Key prefixes by their first byte, in the order in which they are tried."""
        rows = [(row[0][:1], -row[1], i) for i, row in enumerate(arrays["keys"].tolist()) if row[1] and not row[4]]
        order = np.array([i for _, _, i in sorted(rows)] or [0], dtype=np.uint16)
        firsts = [first[0] if first else 0 for first, _, _ in rows]
        for byte in range(257):
            self.table.key_groups[byte] = <uint16_t>sum(first < byte for first in firsts)
        self.table.key_order = <const uint16_t*><uintptr_t>order.__array_interface__["data"][0]
        return order

    def _exact(self, dict arrays):
        """What a walk finds for each path without a placeholder, found once."""
        cdef Path path
        cdef Place place
        cdef Choice choice
        cdef uint32_t i
        entries, found, text = [], [], bytearray()
        terminals = arrays["terminals"]
        spans = list(zip(terminals["rules_first"].tolist(), terminals["rules_count"].tolist()))
        providers = arrays["rules"]["provider"].tolist()
        place.count = 1
        for whole in literal_paths(arrays):
            path.target = slice_of(whole)
            search_path(&self.table, &path)
            entries.append((0, len(text), len(whole), len(found), path.found, 0, path.verbs))
            owners = set()
            for i in range(path.found):
                found.append(path.terminals[i])
                first, count = spans[path.terminals[i] - 1]
                owners.update(providers[first:first + count])
            for owner in sorted(owners):
                place.owners[0] = owner
                gather(&self.table, &place, &path, &choice)
                entries.append((owner, len(text), len(whole), len(found), choice.count, choice.methods, path.verbs))
                found += [choice.own[i] for i in range(choice.count)]
            text += whole
        return self._fill_exact(entries, np.array(found or [0], dtype=np.uint16), bytes(text))

    def _fill_exact(self, list entries, found, bytes text):
        cdef const uint8_t* start = <const uint8_t*><const char*>text
        cdef uint32_t mask = (1 << (2 * len(entries) + 1).bit_length()) - 1, slot, digest
        slots = np.zeros((mask + 1) * sizeof(oisp_rule_exact), dtype=np.uint8)
        cdef oisp_rule_exact* table = <oisp_rule_exact*><uintptr_t>slots.__array_interface__["data"][0]
        for provider, place, size, first, count, methods, verbs in entries:
            digest = oisp_rule_hash(start + <uint32_t>place, size, 0, provider)
            slot = digest & mask
            while table[slot].size:
                slot = (slot + 1) & mask
            table[slot] = oisp_rule_exact(digest, place, first, size, provider, count, methods, verbs, 0)
        self.table.exact = table
        self.table.exact_found = <const uint16_t*><uintptr_t>found.__array_interface__["data"][0]
        self.table.exact_text = start
        self.table.exact_mask = mask
        return slots, found, text

    def match(self, method, target, authority="", headers=(), body=None, *, sni="", port=0, plaintext=False,
              partial=False,
              status=None, response_headers=()):
        cdef oisp_head head
        cdef oisp_verdict verdict
        cdef Py_buffer view
        holder = Head(method, target, authority, headers, sni)
        (<Head>holder).fill(&head)
        head.port = port
        head.plaintext = plaintext
        head.partial = partial
        match_request(self.rules, &head, &verdict)
        if body is not None:
            PyObject_GetBuffer(body, &view, PyBUF_SIMPLE)
            match_request_body(self.rules, <const uint8_t*>view.buf, view.len, &verdict)
            PyBuffer_Release(&view)
        if status is not None:
            answer = Head(b"", b"", b"", response_headers, b"")
            (<Head>answer).fill(&head)
            head.status = status
            match_response(self.rules, &head, &verdict)
        return self._verdict(&verdict)

    cdef object _verdict(self, const oisp_verdict* v):
        arrays = self.owner[0]
        rule = None
        if v.state != OISP_VERDICT_UNDECIDED and v.rule:
            row = arrays["rules"][v.rule - 1]
            rule = bytes(arrays["pool"][row["name"]:row["name"] + row["name_size"]]).decode()
        return Verdict(
            state=("none", "undecided", "ai")[v.state],
            kind=word(words.KINDS, v.kind) if v.state != OISP_VERDICT_NONE else None,
            request_type=word(words.REQUEST_TYPES, v.request_type) if v.state != OISP_VERDICT_NONE else None,
            provider=self.providers[v.provider - 1] if v.provider else None,
            provider_name=word(words.PROVIDER_NAMES, v.provider_name),
            dialect=self.dialects[v.dialect - 1] if v.dialect and v.state != OISP_VERDICT_NONE else None,
            auth_type=word(words.AUTH_TYPES, v.auth_type),
            account_type=word(words.ACCOUNT_TYPES, v.account_type),
            level=word(words.LEVELS, v.level) if v.state == OISP_VERDICT_AI else None,
            method=word(words.DETECTION_METHODS, v.method) if v.state == OISP_VERDICT_AI else None,
            evidence=tuple(name for i, name in enumerate(words.EVIDENCE) if v.evidence >> i & 1),
            rule=rule,
            model=text(v.model),
            key=text(v.key),
            region=text(v.region),
            organization=text(v.organization),
            project=text(v.project),
        )


def literal_paths(arrays):
    """Every whole path that the trie spells without a placeholder, sorted."""
    pool = arrays["pool"].tobytes()
    above = {}
    for row in arrays["edges"][arrays["edges"]["child"] > 0].tolist():
        _, parent, child, start, size = row
        above[child] = parent, pool[start:start + size]
    out = set()
    for node in np.flatnonzero(arrays["nodes"]["terminal"]).tolist():
        tokens = []
        while node in above:  # children are numbered above their parents: it ends
            node, token = above[node]
            tokens.append(token)
        if tokens and node == 0:
            out.add(b"".join(t if t.startswith(b":") else b"/" + t for t in tokens))
    return sorted(out)


cdef object word(table, number):
    return table[number - 1] if number else None


cdef object text(oisp_slice slice):
    return slice.data[:slice.size].decode("utf-8", "replace") if slice.size else None


cdef class Head:
    """Keeps the bytes and fields of a head alive while it is asked about."""

    cdef list kept
    cdef object fields    # bytearray of oisp_field

    def __init__(self, method, target, authority, headers, sni):
        pairs = [x for pair in headers for x in pair]
        self.kept = [x.encode() if isinstance(x, str) else bytes(x) for x in (method, target, authority, sni, *pairs)]
        self.fields = bytearray(max(1, len(pairs) // 2) * sizeof(oisp_field))

    cdef void fill(self, oisp_head* head):
        cdef oisp_field* fields = <oisp_field*><char*>self.fields
        cdef Py_ssize_t i
        memset(head, 0, sizeof(oisp_head))
        head.method = slice_of(self.kept[0])
        head.target = slice_of(self.kept[1])
        head.authority = slice_of(self.kept[2])
        head.sni = slice_of(self.kept[3])
        for i in range((len(self.kept) - 4) // 2):
            fields[i].name = slice_of(self.kept[4 + 2 * i])
            fields[i].value = slice_of(self.kept[5 + 2 * i])
        head.fields = fields
        head.fields_count = (len(self.kept) - 4) // 2


cdef oisp_slice slice_of(bytes text):
    cdef oisp_slice out
    out.data = <const uint8_t*><const char*>text
    out.size = <uint32_t>len(text)
    return out


def load_registry(dialect_names, user_dir=None):
    tables = user_dir if isinstance(user_dir, stored.Tables) else stored.load_tables(user_dir)
    return Registry(tables, dialect_names)
