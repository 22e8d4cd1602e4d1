"""What follows when a job's run ended badly. Pure: decides, does nothing."""

from __future__ import annotations

from dataclasses import dataclass

from lehr.errors import DownloadFailed, LehrError, Refused, StoreUnusable, TrainingStopped, UndecodableImage, WorkerDied

__all__ = ["MAX_ATTEMPTS", "GiveUp", "RetryIn", "after_failure", "sentence"]

MAX_ATTEMPTS = 5
MAX_ATTEMPTS_OF_A_BUG = 3
LONGEST_SECONDS = 60.0

_FINAL = (DownloadFailed, Refused, StoreUnusable, TrainingStopped, UndecodableImage)
_PASSING = (LehrError, OSError, WorkerDied)


@dataclass(frozen=True)
class RetryIn:
    """Try again after so many seconds."""

    seconds: float


@dataclass(frozen=True)
class GiveUp:
    """It will not succeed; the sentence says why."""

    reason: str


def after_failure(attempt: int, error: Exception) -> RetryIn | GiveUp:
    """Decides by the error and by how many attempts were made without progress (the first is 1).

    A refusal is final. What may pass (a killed process, a full disk, a lost connection) is tried 5 times; any other
    exception is most likely a bug of ours, and 3 times are enough to know. Waits 1, 2, 4, … seconds, at most 60.
    """
    if isinstance(error, _FINAL):
        return GiveUp(sentence(error))
    allowed = MAX_ATTEMPTS if isinstance(error, _PASSING) or _is_database_trouble(error) else MAX_ATTEMPTS_OF_A_BUG
    if attempt >= allowed:
        return GiveUp(f"{sentence(error)} (given up after {attempt} attempts)")
    return RetryIn(min(LONGEST_SECONDS, 2.0 ** (attempt - 1)))


def sentence(error: Exception) -> str:
    """What is kept of an error: our own sentence, or a stranger's type and words."""
    if isinstance(error, LehrError):
        return error.details or type(error).__name__
    return f"{type(error).__name__}: {error}"


def _is_database_trouble(error: Exception) -> bool:
    from sqlalchemy.exc import OperationalError

    return isinstance(error, OperationalError)
