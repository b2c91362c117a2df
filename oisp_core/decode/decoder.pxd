# SPDX-License-Identifier: Apache-2.0
# Bodies and events -> oisp_exchange, by the tables of the dialects.
from libc.stdint cimport uint8_t, uint16_t
from oisp_core.types cimport oisp_exchange, oisp_limits, oisp_slice, oisp_status

cdef extern from "oisp/dialect.h" nogil:
    ctypedef struct oisp_dialects:
        pass
    enum:
        OISP_FRAMING_NONE      # one document
        OISP_FRAMING_SSE
        OISP_FRAMING_NDJSON
        OISP_FRAMING_JSON_ARRAY
        OISP_FRAMING_EVENTSTREAM
        OISP_FRAMING_GRPC      # found by the content type alone
        OISP_FRAMING_WEBSOCKET   # of a connection after its upgrade

# Immutable; shared by any number of engines. names: list of dialect names, index = verdict.dialect - 1.
cdef class Dialects:
    cdef const oisp_dialects* table
    cdef readonly object names

cdef oisp_exchange* exchange_new(const oisp_limits* limits) noexcept nogil
cdef void exchange_reset(oisp_exchange* x) noexcept nogil    # wipes the arena, keeps the memory
cdef void exchange_free(oisp_exchange* x) noexcept nogil

# The model that the path names (percent-decoded), before decode_request; a body that names one wins.
cdef void exchange_path_model(oisp_exchange* x, const uint8_t* model, size_t size) noexcept nogil

# What its target says besides: that a stream is asked for. x.dialect must be set.
cdef void exchange_target(const oisp_dialects* t, oisp_exchange* x, oisp_slice target) noexcept nogil

# Brings what decode_known will read of an exchange near, before it is called: 0, then, some records later, 1.
cdef void exchange_fetch(const oisp_exchange* x, int step) noexcept nogil

# What an exception frame says besides its document, after decode_event.
cdef void exchange_error(oisp_exchange* x, const uint8_t* type, size_t size) noexcept nogil
# What went wrong, in words, percent-encoded UTF-8 as gRPC has it; where the document itself has not said it.
cdef void exchange_error_message(oisp_exchange* x, const uint8_t* text, size_t size) noexcept nogil

# How the response's body is framed: by content type, dialect, and first bytes. Parameters may be empty.
cdef int dialect_framing(const oisp_dialects* t, uint16_t dialect, oisp_slice content_type, const uint8_t* first, size_t size) noexcept nogil
# x.dialect must be set (1-based). complete = 0: the body is cut, read what is there.
cdef oisp_status decode_request(const oisp_dialects* t, oisp_exchange* x, const uint8_t* data, size_t size, bint complete) noexcept nogil
# One whole document of the response.
cdef oisp_status decode_response(const oisp_dialects* t, oisp_exchange* x, const uint8_t* data, size_t size, bint complete) noexcept nogil
# The event with its lines that stands at the start of a server-sent stream, if all of it is there and a learned shape takes
# it: how many bytes it has, its blank line included. 0: decode_event has to read it. As decode_event otherwise.
cdef size_t decode_known(oisp_exchange* x, const uint8_t* data, size_t size) noexcept nogil
# The same of an event without lines (NDJSON, the payload of a frame), whose name is known. whole: nothing may follow it.
cdef size_t decode_fitting(oisp_exchange* x, oisp_slice name, const uint8_t* data, size_t size, bint whole) noexcept nogil
# One event of a streamed response; sets x.chunk_* and x.first_content.
cdef oisp_status decode_event(const oisp_dialects* t, oisp_exchange* x, oisp_slice name, const uint8_t* data, size_t size) noexcept nogil
# One message of a session (WebSocket), sent by the client or received: request and answer of the turn in x grow with it.
# Answers bits of enum oisp_says: at ASK (or BEGIN without an ASK before it) the request is complete and can be given out, at
# END decode_finish is due, then exchange_next_turn. Sets x.chunk_* as decode_event does.
cdef int decode_message(const oisp_dialects* t, oisp_exchange* x, bint sent, const uint8_t* data, size_t size, oisp_status* status) noexcept nogil
# Ready for the next turn: model, system prompt and tools of the session stay, everything else is wiped; what the client said
# while the answer came is read. Answers as decode_message does (the client may have asked already).
cdef int exchange_next_turn(const oisp_dialects* t, oisp_exchange* x) noexcept nogil
# What is read late (running usage, of which only the last counts) is read now. decode_event and decode_finish do it by themselves.
cdef void exchange_settle(const oisp_dialects* t, oisp_exchange* x) noexcept nogil
# After the last byte: derived values (finish, usage normalised, joined arguments checked). status: HTTP status, 0 unknown.
cdef void decode_finish(const oisp_dialects* t, oisp_exchange* x, int status) noexcept nogil
# Of a retrieval: the contract's word for what is asked, and its name where the path says it. Empty where it is none.
cdef void dialect_source(const oisp_dialects* t, uint16_t dialect, oisp_slice target, oisp_slice* kind, oisp_slice* name) noexcept nogil
cdef oisp_slice dialect_name(const oisp_dialects* t, uint16_t dialect) noexcept nogil
