# SPDX-License-Identifier: Apache-2.0
import sys

from oisp_bench.cli import main

sys.exit(main())
