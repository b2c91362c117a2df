# SPDX-License-Identifier: Apache-2.0
"""Names of users and groups, asked for once each: the machine's own view, whatever a container calls them."""

from __future__ import annotations

from functools import lru_cache

try:
    import grp
    import pwd
except ImportError:  # not a Unix
    grp = pwd = None  # type: ignore[assignment]

__all__ = ["group_name", "user_name"]


@lru_cache(1024)
def user_name(uid: int) -> str:
    """Empty where the uid has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError, AttributeError):
        return ""


@lru_cache(1024)
def group_name(gid: int) -> str:
    """The number itself where the gid has no name."""
    try:
        return grp.getgrgid(gid).gr_name
    except (KeyError, OverflowError, AttributeError):
        return str(gid)
