# SPDX-License-Identifier: Apache-2.0
# The facade for other extensions: the stable subset, nothing private. include_dirs=[oisp_core.get_include()].
from oisp_core.engine cimport Engine, engine_feed_record, engine_feed_span
from oisp_core.types cimport *
