# SPDX-License-Identifier: Apache-2.0
"""Aho-Corasick, search form: finds any of many byte patterns in one pass. See automaton.pyi for the promise.

It is not a regex engine and it never builds a table: `trie.py` does, and `_load` checks what it is given, so that a
table from a cache file can be wrong but never lead outside of it.

A step depends on the step before it, so one scan is bound by the latency of a load, not by what the machine could do.
Long data is therefore cut into blocks of six lanes that are walked in turns. A lane that starts in the middle begins
`longest` bytes earlier, from the root: no state can remember more than that, so it arrives at its first byte in the
very state that the whole scan would be in. What lanes find is noted per lane and reported lane after lane: the order
is that of one scan.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.ref cimport Py_INCREF
from libc.stdint cimport UINT32_MAX, uint8_t, uint32_t, uintptr_t
from libc.stdlib cimport free, qsort, realloc
from libc.string cimport memcpy, memset

import numpy as np

from oisp_core.match import trie

__all__ = ["Automaton"]

cdef enum:
    LANES = 6             # fewer wait for memory, more do not fit into the registers (measured: 4 to 8)
    LANE = 1024           # bytes of a lane: what it can note, at one match per byte, fits on the stack
    LANE_MIN = 96         # below this a lane does not pay for its beginning
    LANE_LONGEST = 256    # patterns longer than this are scanned in one lane
    GIL_BYTES = 65536     # a scan longer than this lets other threads run


cdef struct Hit:
    uint32_t state
    uint32_t at


cdef inline uint32_t higher(uint32_t x, uint32_t y) noexcept nogil:
    return x if x > y else y


cdef inline bint report(const oisp_automaton* a, uint32_t state, size_t end, oisp_match_sink sink,
                        void* context) noexcept nogil:
    """Everything that ends at `end` in match state `state`."""
    cdef uint32_t row = (state - a.first_match) // a.classes_count
    cdef uint32_t i, pattern
    for i in range(a.out_start[row], a.out_start[row + 1]):
        pattern = a.outputs[i]
        # In a table of our own making this always holds; one from a file may say otherwise.
        if a.lengths[pattern] > end:
            continue
        if not sink(context, pattern, end - a.lengths[pattern], end):
            return 0
    return 1


cdef inline bint scan_one(const oisp_automaton* a, const uint8_t* data, size_t begin, size_t end, uint32_t* state,
                          oisp_match_sink sink, void* context) noexcept nogil:
    cdef uint32_t s = state[0]
    cdef uint32_t first = a.first_match
    cdef const uint32_t* following = a.next
    cdef const uint8_t* classes = oisp_automaton_classes(a)
    cdef size_t i
    for i in range(begin, end):
        s = following[s + classes[data[i]]]
        if s >= first:
            if not report(a, s, i + 1, sink, context):
                return 0
    state[0] = s
    return 1


cdef inline void warm(const oisp_automaton* a, const uint8_t* data, size_t begin, size_t lane,
                      uint32_t* s) noexcept nogil:
    """States of a scan of everything before each lane but the first. Lanes are longer than `longest`."""
    cdef const uint8_t* p = data + begin + lane - a.longest
    cdef size_t i
    cdef uint32_t s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0
    for i in range(a.longest):
        s1 = a.next[s1 + a.classes[p[i]]]
        s2 = a.next[s2 + a.classes[p[i + lane]]]
        s3 = a.next[s3 + a.classes[p[i + 2 * lane]]]
        s4 = a.next[s4 + a.classes[p[i + 3 * lane]]]
        s5 = a.next[s5 + a.classes[p[i + 4 * lane]]]
    s[1] = s1
    s[2] = s2
    s[3] = s3
    s[4] = s4
    s[5] = s5


cdef bint scan_lanes(const oisp_automaton* a, const uint8_t* data, size_t begin, size_t lane, uint32_t* state,
                     oisp_match_sink sink, void* context) noexcept nogil:
    """Six lanes of `lane` bytes from `begin` on. Match states are the highest rows: one look at the highest of six."""
    cdef Hit[LANES][LANE] hits
    cdef uint32_t[LANES] counts
    cdef uint32_t[LANES] s
    cdef const uint8_t* p = data + begin
    cdef const uint8_t* q = p
    cdef const uint8_t* r = p + 3 * lane
    cdef const uint8_t* stop = p + lane
    cdef const uint32_t* following = a.next
    cdef const uint8_t* classes = oisp_automaton_classes(a)
    cdef uint32_t first = a.first_match
    cdef uint32_t s0, s1, s2, s3, s4, s5, high, k
    cdef size_t j
    s[0] = state[0]
    warm(a, data, begin, lane, s)
    memset(counts, 0, sizeof(counts))
    s0 = s[0]
    s1 = s[1]
    s2 = s[2]
    s3 = s[3]
    s4 = s[4]
    s5 = s[5]
    # Two pointers and one distance name all six places: what more would need, registers have no room for.
    while q < stop:
        s0 = following[s0 + classes[q[0]]]
        s1 = following[s1 + classes[q[lane]]]
        s2 = following[s2 + classes[q[2 * lane]]]
        s3 = following[s3 + classes[r[0]]]
        s4 = following[s4 + classes[r[lane]]]
        s5 = following[s5 + classes[r[2 * lane]]]
        q += 1
        r += 1
        high = higher(higher(higher(s0, s1), higher(s2, s3)), higher(s4, s5))
        if high >= first:
            s[0] = s0
            s[1] = s1
            s[2] = s2
            s[3] = s3
            s[4] = s4
            s[5] = s5
            for k in range(LANES):
                if s[k] >= first:
                    hits[k][counts[k]].state = s[k]
                    hits[k][counts[k]].at = <uint32_t>(q - p)
                    counts[k] += 1
    state[0] = s5
    for k in range(LANES):
        for j in range(counts[k]):
            if not report(a, hits[k][j].state, begin + k * lane + hits[k][j].at, sink, context):
                return 0
    return 1


cdef bint automaton_scan(const oisp_automaton* a, const uint8_t* data, size_t size, oisp_match_sink sink,
                         void* context) noexcept nogil:
    cdef size_t at = 0
    cdef size_t lane
    cdef uint32_t state = 0
    if a.states == 0:
        return 1
    if a.longest <= LANE_LONGEST:
        while True:
            lane = (size - at) // LANES
            if lane > LANE:
                lane = LANE
            if lane < LANE_MIN or lane < 2 * a.longest:
                break
            if not scan_lanes(a, data, at, lane, &state, sink, context):
                return 0
            at += LANES * lane
    return scan_one(a, data, at, size, &state, sink, context)


cdef uint32_t automaton_prefix(const oisp_automaton* a, const uint8_t* data, size_t size) noexcept nogil:
    cdef uint32_t s = 0
    cdef uint32_t best = UINT32_MAX
    cdef uint32_t row, i
    cdef size_t at
    if a.states == 0:
        return best
    if size > a.longest:
        size = a.longest
    for at in range(size):
        s = a.next[s + a.classes[data[at]]]
        if s >= a.first_match:
            row = (s - a.first_match) // a.classes_count
            for i in range(a.out_start[row], a.out_start[row + 1]):
                if a.lengths[a.outputs[i]] == at + 1:  # begins where data begins
                    best = a.outputs[i]
    return best


# What a scan from Python collects. Kept on the stack until it is more than a few.
cdef struct Found:
    oisp_match* at
    uint32_t count
    uint32_t capacity
    bint heap
    bint failed


cdef int collect(void* context, uint32_t pattern, size_t start, size_t end) noexcept nogil:
    cdef Found* found = <Found*>context
    cdef oisp_match* grown
    if found.count == found.capacity:
        grown = <oisp_match*>realloc(found.at if found.heap else NULL, 2 * <size_t>found.capacity * sizeof(oisp_match))
        if grown == NULL:
            found.failed = 1
            return 0
        if not found.heap:
            memcpy(grown, found.at, found.count * sizeof(oisp_match))
        found.at = grown
        found.heap = 1
        found.capacity *= 2
    found.at[found.count].pattern = pattern
    found.at[found.count].start = <uint32_t>start
    found.at[found.count].end = <uint32_t>end
    found.count += 1
    return 1


cdef int by_start(const void* left, const void* right) noexcept nogil:
    """By start, then the longer first, then the lower number."""
    cdef const oisp_match* x = <const oisp_match*>left
    cdef const oisp_match* y = <const oisp_match*>right
    if x.start != y.start:
        return 1 if x.start > y.start else -1
    if x.end != y.end:
        return 1 if x.end < y.end else -1
    return (x.pattern > y.pattern) - (x.pattern < y.pattern)


cdef void keep_leftmost(Found* found) noexcept nogil:
    """Of matches that overlap keep the one that begins first; of those that begin together the longest."""
    cdef uint32_t i, kept = 0, end = 0
    qsort(found.at, found.count, sizeof(oisp_match), by_start)
    for i in range(found.count):
        if found.at[i].start >= end:
            end = found.at[i].end
            found.at[kept] = found.at[i]
            kept += 1
    found.count = kept


cdef list as_list(const Found* found):
    cdef list out = PyList_New(found.count)
    cdef uint32_t i
    for i in range(found.count):
        item = (found.at[i].pattern, found.at[i].start, found.at[i].end)
        Py_INCREF(item)
        PyList_SET_ITEM(out, i, item)
    return out


cdef class Automaton:
    def __init__(self, patterns, *, ignore_case=True, matches="all"):
        self.patterns = [p.encode() if isinstance(p, str) else bytes(p) for p in patterns]
        self._options(ignore_case, matches)
        self._load(trie.build(self.patterns, bool(ignore_case)))

    def _options(self, ignore_case, matches):
        if matches not in ("all", "leftmost"):
            raise ValueError(f"matches: expected one of all, leftmost; got {matches!r}")
        self.ignore_case = bool(ignore_case)
        self.leftmost = matches == "leftmost"

    @classmethod
    def from_arrays(cls, patterns, arrays, *, ignore_case=True, matches="all"):
        cdef Automaton self = cls.__new__(cls)
        self.patterns = [bytes(p) for p in patterns]
        self._options(ignore_case, matches)
        self._load(arrays)
        return self

    def to_arrays(self):
        return dict(self.owner)

    def __len__(self):
        return len(self.patterns)

    def _load(self, arrays):
        """Checks every number that a scan would follow, then points the table at the arrays (which are kept)."""
        kept = {name: np.ascontiguousarray(arrays[name], dtype=np.uint8 if name == "classes" else np.uint32)
                for name in ("next", "classes", "out_start", "outputs", "lengths")}
        trie.check(kept, [len(p) for p in self.patterns])
        for array in kept.values():
            array.setflags(write=False)
        classes_count = int(kept["classes"].max()) + 1
        states = len(kept["next"]) // classes_count
        self.owner = kept
        self.table.next = <const uint32_t*><uintptr_t>kept["next"].__array_interface__["data"][0]
        self.table.out_start = <const uint32_t*><uintptr_t>kept["out_start"].__array_interface__["data"][0]
        self.table.outputs = <const uint32_t*><uintptr_t>kept["outputs"].__array_interface__["data"][0]
        self.table.lengths = <const uint32_t*><uintptr_t>kept["lengths"].__array_interface__["data"][0]
        memcpy(self.table.classes, <const void*><uintptr_t>kept["classes"].__array_interface__["data"][0], 256)
        self.table.classes_count = classes_count
        self.table.states = states
        self.table.first_match = (states - (len(kept["out_start"]) - 1)) * classes_count
        self.table.patterns = len(self.patterns)
        self.table.longest = max((len(p) for p in self.patterns), default=0)

    def scan(self, data):
        cdef Py_buffer view
        cdef Found found
        cdef oisp_match[64] first
        found.at = first
        found.count = 0
        found.capacity = 64
        found.heap = 0
        found.failed = 0
        if PyBytes_CheckExact(data):
            self._scan(<const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), &found)
        else:
            PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
            self._scan(<const uint8_t*>view.buf, view.len, &found)
            PyBuffer_Release(&view)
        try:
            if found.failed:
                raise MemoryError
            return as_list(&found)
        finally:
            if found.heap:
                free(found.at)

    cdef void _scan(self, const uint8_t* data, size_t size, void* context):
        cdef Found* found = <Found*>context
        if size > UINT32_MAX:
            size = UINT32_MAX
        if size > GIL_BYTES:
            with nogil:
                automaton_scan(&self.table, data, size, collect, found)
        else:
            automaton_scan(&self.table, data, size, collect, found)
        if self.leftmost and found.count > 1:
            keep_leftmost(found)
