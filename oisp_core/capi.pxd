# SPDX-License-Identifier: Apache-2.0
# The facade for other extensions: the stable subset, nothing private. include_dirs=[oisp_core.get_include()].
from oisp_core.engine cimport Engine, engine_feed_record, engine_feed_span

# The parsers, each by itself: the quartet of oisp/token.h. What their structs hold is theirs.
from oisp_core.reassemble.eventstream cimport *
from oisp_core.reassemble.grpc cimport *
from oisp_core.reassemble.hpack cimport *
from oisp_core.reassemble.http1 cimport *
from oisp_core.reassemble.http2 cimport *
from oisp_core.reassemble.multipart cimport *
from oisp_core.reassemble.ndjson cimport *
from oisp_core.reassemble.sniff cimport *
from oisp_core.reassemble.sse cimport *
from oisp_core.reassemble.websocket cimport *
from oisp_core.types cimport *
