# SPDX-License-Identifier: Apache-2.0
"""What the processes of the scope do, as events: records of the kernel's ring in, NDJSON lines out.

Asks for no privilege; attaching is `oisp_sensor.capture.activity`.
"""

from oisp_sensor.activity.events import ActivityEvents
from oisp_sensor.activity.rules import FileRules

__all__ = ["ActivityEvents", "FileRules"]
