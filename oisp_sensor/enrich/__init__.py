# SPDX-License-Identifier: Apache-2.0
"""Who and where: the host, the process, its user and its application, as ready-encoded members of an event.

Reads /proc and a few files, bounded, and nothing over the network. Raises nothing: what cannot be read is left out.
"""
