"""What every folder of tests shares: what may not be skipped, and which part of the slow ones is run."""

from __future__ import annotations

import os
import zlib
from collections.abc import Generator

# gRPC's threads, begun again in a process that was forked to start PostgreSQL as another user, have crashed it
# (SIGBUS, once in many runs). Nothing here goes on after a fork, so gRPC need not look after it.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# Trainings that are compared must compute alike, whatever would be measured.
os.environ.setdefault("LEHR_PRECISION", "bf16")

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With LEHR_NO_SKIPS set, a test that was skipped with an install command fails."""
    report = yield
    if os.environ.get("LEHR_NO_SKIPS") and report.skipped and "install" in str(report.longrepr):
        report.outcome = "failed"
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With LEHR_SLOW_PART=2/4 only every fourth of the slow tests stays, always the same ones of a part."""
    wanted = os.environ.get("LEHR_SLOW_PART")
    if not wanted:
        return
    part, parts = map(int, wanted.split("/"))
    left_out = [
        item
        for item in items
        if item.get_closest_marker("slow") and zlib.crc32(item.nodeid.encode()) % parts != part % parts
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]
