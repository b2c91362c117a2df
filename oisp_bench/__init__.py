# SPDX-License-Identifier: Apache-2.0
"""`oisp-bench`: how fast the engine is, measured so that anyone can repeat it.

A case (benchmarks/cases/*.toml) names traffic, engines and the right answer. Traffic is made here, from a seed; every
engine must give the same events, field by field, before anything is timed.
"""
