# SPDX-License-Identifier: Apache-2.0
"""`python -m oisp_sensor.demo`: see `oisp_sensor.demo.run`."""

import sys

from oisp_sensor.demo.run import main

if __name__ == "__main__":
    sys.exit(main())
