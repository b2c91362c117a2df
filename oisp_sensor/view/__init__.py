# SPDX-License-Identifier: Apache-2.0
"""Events for people: who asked which model what, what it cost, which tools it called.

`lines` turns one event into readable lines, `filters` chooses events, `summary` adds them up, `printer` writes them. An
event is taken as it comes: a member that is missing, or of another type than the contract says, is left out.
"""
