# SPDX-License-Identifier: Apache-2.0
"""`python -m oisp_sensor` is `oisp-sensor`."""

from __future__ import annotations

import sys

from oisp_sensor.cli import main

if __name__ == "__main__":
    sys.exit(main())
