# SPDX-License-Identifier: Apache-2.0
"""A function of our own that does nothing, to be probed: what a trap costs a process is not the same on two machines.

Its first instruction is one that the kernel executes out of line, as nearly all functions of TLS libraries begin (and as
every RET is): the dearer kind of trap.
"""
from libc.stdint cimport uint64_t, uintptr_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <time.h>
    void oisp_sensor_trap(void);
    #if defined(__x86_64__)
    __asm__(".pushsection .text\\n.p2align 4\\n.hidden oisp_sensor_trap\\n.globl oisp_sensor_trap\\n"
            ".type oisp_sensor_trap, @function\\noisp_sensor_trap:\\n"
            "sub $8, %rsp\\nadd $8, %rsp\\nret\\n.size oisp_sensor_trap, .-oisp_sensor_trap\\n.popsection");
    #elif defined(__aarch64__)
    __asm__(".pushsection .text\\n.p2align 4\\n.hidden oisp_sensor_trap\\n.globl oisp_sensor_trap\\n"
            ".type oisp_sensor_trap, %function\\noisp_sensor_trap:\\n"
            "sub sp, sp, #16\\nadd sp, sp, #16\\nret\\n.size oisp_sensor_trap, .-oisp_sensor_trap\\n.popsection");
    #else
    void oisp_sensor_trap(void) {}
    #endif
    static uint64_t trap_now(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    }
    /* The sum of each call's time where it was cheapest: what interrupts and neighbours add is left out. */
    static uint64_t trap_run(uint64_t times) {
        uint64_t least = UINT64_MAX;
        for (uint64_t i = 0; i < times; i++) {
            uint64_t before = trap_now(), spent;
            oisp_sensor_trap();
            spent = trap_now() - before;
            if (spent < least)
                least = spent;
        }
        return least * times;
    }
    """
    void oisp_sensor_trap() noexcept nogil
    uint64_t trap_run(uint64_t times) noexcept nogil


def address():
    """Where the function lies in this process."""
    return <uintptr_t> &oisp_sensor_trap


def run(uint64_t times):
    """Nanoseconds that so many calls take, by the cheapest of them."""
    cdef uint64_t spent
    with nogil:
        spent = trap_run(times)
    return spent
