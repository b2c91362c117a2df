# SPDX-License-Identifier: Apache-2.0
"""The privileged side of the sensor: loads the kernel programs, follows the scope, plants and removes probes.

It reads no traffic. What it offers the pipeline is the ring's descriptor and one channel of small messages
(messages.py); see docs/CAPTURE.md.
"""

from __future__ import annotations

from oisp_sensor.capture.capture import Capture
from oisp_sensor.capture.errors import CaptureError, SpawnError
from oisp_sensor.capture.scope import Scope

__all__ = ["Capture", "CaptureError", "Scope", "SpawnError"]
