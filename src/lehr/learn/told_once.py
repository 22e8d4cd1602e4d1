"""Warnings about this machine: each is logged once in a process, however often what it says is found. No torch."""

from __future__ import annotations

import functools
import logging

_log = logging.getLogger(__name__)


@functools.cache
def warn_once(sentence: str) -> None:
    """Logs the sentence as a warning, the first time."""
    _log.warning("%s", sentence)
