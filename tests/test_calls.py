"""Every call in scope is implemented and called by a test, and the page of calls says what the code says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def page():
    spec = importlib.util.spec_from_file_location("rpc_table", ROOT / "dev/rpc_table.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["rpc_table"] = module
    spec.loader.exec_module(module)
    return module


def test_every_call_is_implemented(page):
    assert not set(page.offered()) - set(page.implemented_by())


def test_every_call_is_made_by_a_test(page):
    assert not set(page.offered()) - set(page.tested_by())


def test_the_page_is_what_the_code_says(page):
    assert page.TARGET.read_text() == page.table(), "run: .venv/bin/python dev/rpc_table.py"
