# SPDX-License-Identifier: Apache-2.0
# Which conversation an exchange belongs to: t.thread.
from oisp_core.turn cimport oisp_shared, oisp_turn

cdef void thread_of_request(oisp_shared* s, oisp_turn* t) noexcept nogil    # once its body is decoded
cdef void thread_of_response(oisp_shared* s, oisp_turn* t) noexcept nogil   # once it is decoded
