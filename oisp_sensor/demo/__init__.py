# SPDX-License-Identifier: Apache-2.0
"""A provider double and an agent that talks to it: what `./oisp run` captures, and what the live tests compare with.

Nothing here decodes what the engine decodes, and nothing here is needed to capture anything else.
"""
