"""What every folder of tests shares: where nothing may be skipped, a program that is missing is a failure."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With LEHR_NO_SKIPS set, a test that was skipped with an install command fails."""
    report = yield
    if os.environ.get("LEHR_NO_SKIPS") and report.skipped and "install" in str(report.longrepr):
        report.outcome = "failed"
    return report
