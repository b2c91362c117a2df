# SPDX-License-Identifier: Apache-2.0
"""The corpus's own renderer, from beside its data."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def render(corpus: Any) -> ModuleType:
    spec = importlib.util.spec_from_file_location("corpus_render", corpus.render_py)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
