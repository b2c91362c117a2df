# SPDX-License-Identifier: Apache-2.0
import sys

from benchmarks.overhead.measure import main

sys.exit(main())
