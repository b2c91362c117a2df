# SPDX-License-Identifier: Apache-2.0
"""Where events go. `exporter` says what an exporter is; each target is one file beside it."""
