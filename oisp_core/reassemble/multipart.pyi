# SPDX-License-Identifier: Apache-2.0
from typing import final

from oisp_core.reassemble.face import Parser

@final
class MultipartParser(Parser):
    """Reads the parts of a multipart body: form fields, and of files what they are called and how long they are.

    content_type: of the body, with its `boundary`. Raises ValueError where it has none.
    head_max: bytes of the fields of one part; beyond it the status is LIMIT.
    value_max: bytes of one value that are kept; of a longer one `data` is the start (flag 4).

    A part gives FIELD tokens "filename" and "content-type" where it has them, then EVENT with its `name`, its value in
    `data` and the length of its content in `number`. A file has no data. Flags of EVENT: 1 the stream ended inside the
    part, 2 a hole cut it, 4 longer than value_max, 8 a file.
    """

    def __init__(self, content_type: str, *, head_max: int = 16384, value_max: int = 16777216) -> None: ...
