# SPDX-License-Identifier: Apache-2.0
"""What capture raises to its user. Traffic never raises; only what somebody asked for and cannot have."""

from __future__ import annotations

from oisp_core.errors import OispError


class CaptureError(OispError):
    """Capture cannot do what was asked: `what`, and the `remedy` (empty where there is none).

    `detail` is for a bug report, not for the one line that the user sees: a verifier's log.
    """

    def __init__(self, what: str, remedy: str = "", detail: str = "") -> None:
        super().__init__(f"{what}; {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy
        self.detail = detail


class SpawnError(CaptureError):
    """The command could not be started. `exit_code` is what a shell would give: 126 or 127."""

    def __init__(self, what: str, exit_code: int) -> None:
        super().__init__(what)
        self.exit_code = exit_code
