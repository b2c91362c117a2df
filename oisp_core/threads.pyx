# SPDX-License-Identifier: Apache-2.0
"""Conversations: a thread of requests, each of which extends what was seen, or names what went before.

By the name that the wire gives; by the id of the answer before it; by the history, with the answer or without; by the id of
a call. Histories are known by keyed hashes, which never leave the engine. `oisp/thread.h` has the chain of hashes.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from oisp_core.links cimport links_put
from oisp_core.reasons cimport REASON_RETRY
from oisp_core.turn cimport OISP_TURN_RESPONSE_HEAD, oisp_link, oisp_shared, oisp_table_get, oisp_turn
from oisp_core.types cimport oisp_exchange, oisp_slice, oisp_text, oisp_text_data


cdef extern from "oisp/thread.h" nogil:
    enum:
        OISP_THREAD_WINDOW
    ctypedef struct oisp_history:
        uint64_t prefix[128]
        uint32_t answer[128]
        uint32_t count
    void oisp_history_read(const oisp_exchange* x, const uint64_t* key, oisp_history* h)
    uint64_t oisp_history_answered(const oisp_exchange* x, const uint64_t* key, const oisp_history* h, uint32_t n)
    uint64_t oisp_history_answer(const oisp_exchange* x, const uint64_t* key, uint64_t prefix)
    uint64_t oisp_fast_hash(const uint64_t* key, const uint8_t* data, size_t size)

cdef enum:
    THREAD_ANSWER = 8     # salts of the ids of answers and of calls
    THREAD_CALL = 9


cdef void thread_secret(oisp_shared* s, const oisp_turn* t, uint64_t* key) noexcept nogil:
    """Conversations of two processes, or with two providers, are two."""
    key[0] = s.hash_key[0] ^ t.origin.process
    key[1] = s.hash_key[1] ^ (<uint64_t> t.verdict.provider << 16)
    if t.verdict.provider == 0:
        key[1] ^= oisp_fast_hash(s.hash_key, t.authority.data, t.authority.size)


cdef bint is_plain_id(const uint8_t* data, uint32_t size) noexcept nogil:
    cdef uint32_t i
    for i in range(size):
        if data[i] < 33 or data[i] > 126 or data[i] == c'"' or data[i] == c"\\":
            return False
    return 0 < size <= 64


cdef void name_thread(oisp_turn* t, const void* id, uint32_t size) noexcept nogil:
    memcpy(t.thread, id, size)
    t.thread_size = <uint8_t> size


cdef bint name_by_session(oisp_turn* t) noexcept nogil:
    """By the fields of the head with which this program names its conversation."""
    cdef const oisp_slice* a = &t.asker.session[0]
    cdef const oisp_slice* b = &t.asker.session[1]
    if a.size + b.size + 1 > 64 or not is_plain_id(a.data, a.size) or (b.size and not is_plain_id(b.data, b.size)):
        return False
    name_thread(t, a.data, a.size)
    if b.size:
        t.thread[a.size] = c"/"
        memcpy(t.thread + a.size + 1, b.data, b.size)
        t.thread_size = <uint8_t> (a.size + 1 + b.size)
    return True


cdef bint join_thread(oisp_shared* s, oisp_turn* t, uint64_t key) noexcept nogil:
    cdef oisp_link* link = <oisp_link*> oisp_table_get(&s.threads.map, key)
    if link == NULL:
        return False
    name_thread(t, link.name, link.name_size)
    return True


cdef uint64_t id_key(const oisp_exchange* x, const oisp_text* id, const uint64_t* secret, uint64_t salt) noexcept nogil:
    return oisp_fast_hash(secret, oisp_text_data(x, id), id.size) ^ salt


cdef bint thread_by_call(oisp_shared* s, oisp_turn* t, const uint64_t* secret) noexcept nogil:
    """By the last call of the history: ids of calls are unique where they are more than a number."""
    cdef uint32_t i = t.x.history_count
    while i and t.x.history_count - i < 8:
        i -= 1
        if t.x.history[i].id.size >= 12 and join_thread(s, t, id_key(t.x, &t.x.history[i].id, secret, THREAD_CALL)):
            return True
    return False


cdef bint answer_is_known(oisp_shared* s, oisp_turn* t, const uint64_t* secret, const oisp_history* h, uint32_t n) noexcept nogil:
    """The first n messages with the answer at their end; where the question was not seen, nor was the answer."""
    if h.answer[n % OISP_THREAD_WINDOW] == 0:
        return False
    if n > 1 and oisp_table_get(&s.threads.map, h.prefix[(n - 1) % OISP_THREAD_WINDOW]) == NULL:
        return False
    return join_thread(s, t, oisp_history_answered(t.x, secret, h, n))


cdef bint thread_by_history(oisp_shared* s, oisp_turn* t, const uint64_t* secret, const oisp_history* h) noexcept nogil:
    """The longest history that was seen, with its answer or without."""
    cdef uint32_t n = h.count
    cdef oisp_link* link
    while n and h.count - n < OISP_THREAD_WINDOW - 1:
        if answer_is_known(s, t, secret, h, n):
            return True
        link = <oisp_link*> oisp_table_get(&s.threads.map, h.prefix[n % OISP_THREAD_WINDOW])
        # The same once more is another conversation, but where the first one was not answered.
        if link != NULL and (n < h.count or link.failed):
            if n == h.count:
                t.asked.reasons |= REASON_RETRY
            name_thread(t, link.name, link.name_size)
            return True
        n -= 1
    return False


cdef void keep_thread(oisp_shared* s, oisp_turn* t, uint64_t key, bint failed) noexcept nogil:
    cdef oisp_link* link = links_put(&s.threads, key)
    if link != NULL:
        memcpy(link.name, t.thread, t.thread_size)
        link.name_size = t.thread_size
        link.failed = failed


cdef void thread_of_request(oisp_shared* s, oisp_turn* t) noexcept nogil:
    cdef oisp_exchange* x = t.x
    cdef oisp_history h
    cdef uint64_t secret[2]
    cdef bint known = False
    thread_secret(s, t, secret)
    oisp_history_read(x, secret, &h)
    if h.count == 0 and x.previous_id.size == 0 and x.conversation.size == 0:
        return
    if x.conversation.size:
        if not is_plain_id(oisp_text_data(x, &x.conversation), x.conversation.size):
            return  # written as it is, not followed
        name_thread(t, oisp_text_data(x, &x.conversation), x.conversation.size)
        known = True
    elif t.asker.session[0].size:
        known = name_by_session(t)
    if not known and x.previous_id.size:
        known = join_thread(s, t, id_key(x, &x.previous_id, secret, THREAD_ANSWER))
    if not known:
        known = thread_by_history(s, t, secret, &h) or thread_by_call(s, t, secret)
    if not known:
        name_thread(t, t.request_event.text, 26)
    t.thread_key = h.prefix[h.count % OISP_THREAD_WINDOW]
    if h.count and x.previous_id.size == 0:
        keep_thread(s, t, t.thread_key, False)


cdef void thread_of_response(oisp_shared* s, oisp_turn* t) noexcept nogil:
    """What the next request of this conversation may name: the answer, its id, its calls."""
    cdef oisp_exchange* x = t.x
    cdef uint64_t secret[2]
    cdef uint32_t i
    if t.thread_size == 0:
        return
    thread_secret(s, t, secret)
    if not x.success or t.status >= 400 or not t.flags & OISP_TURN_RESPONSE_HEAD:
        if oisp_table_get(&s.threads.map, t.thread_key) != NULL:
            keep_thread(s, t, t.thread_key, True)
        return
    if x.previous_id.size == 0:
        keep_thread(s, t, oisp_history_answer(x, secret, t.thread_key), False)
    if x.response_id.size:
        keep_thread(s, t, id_key(x, &x.response_id, secret, THREAD_ANSWER), False)
    for i in range(x.calls_count if x.calls_count < 16 else 16):
        if x.calls[i].id.size >= 12:
            keep_thread(s, t, id_key(x, &x.calls[i].id, secret, THREAD_CALL), False)
