# SPDX-License-Identifier: Apache-2.0
"""Command lines without their secrets, and under `metadata` without their prompts.

`mask` takes credentials out of arguments, whatever the content policy is: values of options and variables whose name
speaks of a secret, Authorization headers, user:password and key parameters in URLs, and texts shaped like the keys of
known services. `shorten` replaces each argument that may be a text by its length and hash. Both are shown by
tests/vectors/sensor/mask.tsv.

It errs towards masking. A secret that looks like an ordinary word in an ordinary place cannot be recognised.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence

__all__ = ["MASK", "Hasher", "mask", "shorten"]

MASK = "[masked]"
LONG = 128

# A name is cut into words (`OPENAI_API_KEY`, `--githubToken`). These tell of a secret wherever they stand,
_ANYWHERE = frozenset(
    {
        "apikey",
        "accesskey",
        "authkey",
        "secretkey",
        "privatekey",
        "authtoken",
        "accesstoken",
        "refreshtoken",
        "credential",
        "credentials",
        "passphrase",
        "passwd",
        "password",
        "passwords",
        "secret",
        "secrets",
        "token",
    }
)
# these inside a longer word (PGPASSWORD),
_WITHIN = ("apikey", "password", "passwd", "passphrase", "secretkey", "accesstoken", "authtoken", "accesskey")
# these only at the end.
_AT_END = frozenset(
    {"auth", "authorization", "bearer", "cookie", "cookies", "dsn", "jwt", "key", "pass", "pat", "pwd", "sas"}
)
# Names that hold none after all: what is counted, and where a secret is kept.
_PLAIN_END = frozenset(
    {
        "budget",
        "count",
        "dir",
        "env",
        "file",
        "files",
        "format",
        "id",
        "ids",
        "length",
        "limit",
        "name",
        "path",
        "prefix",
        "size",
        "store",
        "tokens",
        "type",
        "url",
        "uri",
    }
)
_PLAIN_START = frozenset(
    {
        "bos",
        "budget",
        "cached",
        "completion",
        "context",
        "eos",
        "input",
        "max",
        "min",
        "n",
        "new",
        "num",
        "output",
        "pad",
        "prompt",
        "reasoning",
        "stop",
        "thinking",
        "total",
        "unk",
    }
)
_PLAIN_KEY = frozenset(
    {"foreign", "group", "hot", "host", "idempotency", "partition", "primary", "public", "routing", "shard", "sort"}
)
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
# Short options whose value, in the next argument or glued on, is a secret.
_SHORT_SECRETS = {
    "curl": frozenset({"-u", "-U", "-b"}),
    "mysql": frozenset({"-p"}),
    "mysqldump": frozenset({"-p"}),
    "sshpass": frozenset({"-p"}),
}

_NAME = r"[A-Za-z_][A-Za-z0-9_.\-]{0,127}"
_OPTION = re.compile(rf"(?P<head>-{{1,2}}(?P<name>{_NAME})[=:])(?P<value>\S.*)\Z", re.DOTALL)
_BARE_OPTION = re.compile(rf"-{{1,2}}(?P<name>{_NAME})\Z")
_ASSIGNMENT = re.compile(
    rf"(?P<head>(?:\A|(?<=[\s;,&?'\"{{(]))(?P<name>{_NAME})=)(?P<value>\"[^\"]*\"|'[^']*'|[^\s;,&'\"]+)"
)
_JSON_MEMBER = re.compile(rf"(?P<head>[\"'](?P<name>{_NAME})[\"']\s*:\s*)(?P<value>\"(?:[^\"\\]|\\.)*\"|'[^']*')")
_HEADER = re.compile(
    r"(?P<head>(?:\b|(?<=-H))(?:proxy-)?authorization\s*[:=]\s*(?:(?:bearer|basic|token|digest|apikey|aws4-hmac-sha256)\s+)?"
    r"|(?:\b|(?<=-H))(?:x-[a-z0-9\-]{0,40}(?:key|token|secret|signature|auth)|api-key|cookie|set-cookie|x-amz-security-token)\s*:\s*)"
    r"(?P<value>[^'\"\r\n]+)",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(?P<head>\bbearer\s+)(?P<value>[A-Za-z0-9._~+/=\-]{8,})", re.IGNORECASE)
_URL_USER = re.compile(r"(?P<head>\b[a-z][a-z0-9+.\-]{1,30}://)(?P<value>[^\s/?#]+)(?=@)", re.IGNORECASE)
_KEY_SHAPES = re.compile(
    r"(?<![A-Za-z0-9_\-])(?:"
    r"sk-[A-Za-z0-9_\-]{16,}|(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{10,}"  # OpenAI and like it; Stripe
    r"|gsk_[A-Za-z0-9]{20,}|xai-[A-Za-z0-9\-]{20,}|r8_[A-Za-z0-9]{20,}|hf_[A-Za-z0-9]{20,}|pplx-[A-Za-z0-9]{20,}"
    r"|fw_[A-Za-z0-9]{16,}|tgp_v1_[A-Za-z0-9_\-]{20,}|nvapi-[A-Za-z0-9_\-]{20,}|jina_[A-Za-z0-9_\-]{20,}"
    r"|AIza[A-Za-z0-9_\-]{30,}|ya29\.[A-Za-z0-9_\-]{20,}|GOCSPX-[A-Za-z0-9_\-]{20,}"  # Google
    r"|A(?:KIA|SIA|BIA|CCA)[A-Z0-9]{16}"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_\-]{16,}"
    r"|xox[abeoprs]-[A-Za-z0-9\-]{10,}|SG\.[A-Za-z0-9_\-]{16,}\.[A-Za-z0-9_\-]{16,}|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_\-]{30,}"
    r"|dop_v1_[a-f0-9]{40,}|lin_api_[A-Za-z0-9]{20,}|ntn_[A-Za-z0-9]{20,}"
    r"|eyJ[A-Za-z0-9_\-]{8,}\.eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*"  # JWT
    r")"
)


class Hasher:
    """`sha256:` and 16 hex digits of a text in UTF-8, or `hmac-sha256:` with a key: as in every event."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key

    def __call__(self, text: str) -> str:
        data = text.encode("utf-8", "replace")
        if self._key is None:
            return f"sha256:{hashlib.sha256(data).hexdigest()[:16]}"
        return f"hmac-sha256:{hmac.new(self._key, data, hashlib.sha256).hexdigest()[:16]}"


def _is_secret(name: str) -> bool:
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in _PLAIN_END:
        return False
    last = words[-1]
    if last == "key" and len(words) > 1 and words[-2] in _PLAIN_KEY:
        return False
    if last == "token" and words[0] in _PLAIN_START:
        return False
    if last in _AT_END:
        return (last, len(words)) != ("pwd", 1)  # PWD alone is a folder
    return any(word in _ANYWHERE or any(part in word for part in _WITHIN) for word in words)


def _named(found: re.Match[str]) -> str:
    if not _is_secret(found["name"]):
        return found[0]
    value = found["value"]
    quote = value[0] if value[0] in "\"'" and value[-1] == value[0] and len(value) > 1 else ""
    return f"{found['head']}{quote}{MASK}{quote}"


def _valued(found: re.Match[str]) -> str:
    return f"{found['head']}{MASK}"


def _inside(argument: str) -> str:
    """Secrets that show themselves within one argument."""
    option = _OPTION.match(argument)
    if option and _is_secret(option["name"]):
        return f"{option['head']}{MASK}"
    text = _URL_USER.sub(_valued, argument)
    text = _HEADER.sub(_valued, text)
    text = _BEARER.sub(_valued, text)
    text = _ASSIGNMENT.sub(_named, text)
    text = _JSON_MEMBER.sub(_named, text)
    return _KEY_SHAPES.sub(MASK, text)


def mask(arguments: Sequence[str]) -> list[str]:
    """The arguments with every credential that can be recognised replaced by MASK. As many as were given."""
    program = arguments[0].rpartition("/")[2] if arguments else ""
    short = _SHORT_SECRETS.get(program, frozenset[str]())
    masked = []
    hide_next = False
    for argument in arguments:
        if hide_next and not (argument.startswith("--") and _BARE_OPTION.match(argument)):
            masked.append(MASK)
            hide_next = False
            continue
        bare = _BARE_OPTION.match(argument)
        hide_next = (argument in short and program not in ("mysql", "mysqldump")) or bool(
            bare and _is_secret(bare["name"])
        )
        glued = next((flag for flag in short if argument.startswith(flag) and argument != flag), None)
        if glued and not argument.startswith("--"):
            masked.append(glued + MASK)
        else:
            masked.append(_inside(argument))
    return masked


def shorten(arguments: Sequence[str], hasher: Hasher) -> list[str]:
    """Under `metadata`: an argument with blanks, or longer than 128 characters, may be a prompt."""
    return [_shortened(a, hasher) if len(a) > LONG or any(c.isspace() for c in a) else a for a in arguments]


def _shortened(argument: str, hasher: Hasher) -> str:
    return f"<{len(argument)} characters, {hasher(argument)}>"
