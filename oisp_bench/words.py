# SPDX-License-Identifier: Apache-2.0
"""Text as models and their users write it, out of a seeded generator: prose, code, some of it not ASCII."""

from __future__ import annotations

import random

PROSE = """
the a of and to in is that it for on with as this be at by from or an are was not have you can will which if one
all there their has more when other some would into time only could these two may then do first any my now such
like our over even most made after also did many before must through years where much way well down should
because each just those people how too little state good very make world still own see men work long get here
between both life being under never day same another know while last might us great old year off come since
against go came right used take three function returns value error request response server client model token
stream database index query cache memory thread process file path line number string list object class method
""".split()  # noqa: SIM905
CODE = (
    "def handle(self, request):\n    return self.next(request)\n",
    "for (size_t i = 0; i < count; i++) {\n\ttotal += items[i].size;\n}\n",
    'if name == "":\n    raise ValueError("a name is needed")\n',
    'const rows = await db.query("SELECT id, name FROM users WHERE id = $1", [id]);\n',
    "| column | type | note |\n|---|---|---|\n| `id` | uuid | primary key |\n",
)
OTHER = ("Prüfe bitte, ob die Straße gültig ist. ", "日本語の説明も必要です。", "Ça marche déjà — très bien. ", "🙂 ")


def text(rng: random.Random, size: int) -> str:
    """About `size` bytes of UTF-8: three quarters prose, the rest code, one sentence in fourteen in another script."""
    parts: list[str] = []
    have = 0
    while have < size:
        kind = rng.random()
        if kind < 0.16:
            part = rng.choice(CODE)
        elif kind < 0.23:
            part = rng.choice(OTHER)
        else:
            part = " ".join(rng.choices(PROSE, k=rng.randrange(8, 18))).capitalize() + (
                ". " if kind < 0.85 else ".\n\n"
            )
        parts.append(part)
        have += len(part.encode())
    whole = "".join(parts).encode()[:size].decode("utf-8", "ignore")
    return whole or "ok"


def tokens(rng: random.Random, count: int) -> list[str]:
    """The pieces in which a model streams a text: mostly a word with its blank, some marks, newlines, other scripts."""
    pieces: list[str] = []
    for _ in range(count):
        kind = rng.random()
        if kind < 0.80:
            pieces.append(" " + rng.choice(PROSE))
        elif kind < 0.92:
            pieces.append(rng.choice((",", ".", "(", ")", ":", "s", "ing", " =", "`")))
        elif kind < 0.96:
            pieces.append(rng.choice(("\n", "\n\n", "\n    ", ' "', '"', "\\n")))
        else:
            pieces.append(rng.choice(("ß", "é", "—", "日", "本", "の", " 🙂", "ü")))
    return pieces


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def letters(rng: random.Random, count: int) -> str:
    return "".join(rng.choices(LETTERS, k=count))
