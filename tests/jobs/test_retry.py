"""What follows a failure, decided without time."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError

from lehr.errors import Busy, InvalidModel, NoPositives, UndecodableImage, WorkerDied
from lehr.jobs.retry import GiveUp, RetryIn, after_failure


@pytest.mark.parametrize("error", [NoPositives("no positives"), InvalidModel("no"), UndecodableImage("torn")])
def test_what_can_never_succeed_is_given_up_at_once_in_its_own_words(error) -> None:
    assert after_failure(1, error) == GiveUp(error.details)


@pytest.mark.parametrize(
    "error",
    [WorkerDied("killed"), OSError(28, "No space left"), OperationalError("", {}, Exception()), Busy("loading")],
)
def test_what_may_pass_is_tried_five_times_with_growing_pauses(error) -> None:
    assert [after_failure(attempt, error) for attempt in (1, 2, 3, 4)] == [
        RetryIn(1),
        RetryIn(2),
        RetryIn(4),
        RetryIn(8),
    ]
    end = after_failure(5, error)
    assert isinstance(end, GiveUp)
    assert "given up after 5 attempts" in end.reason


def test_a_bug_is_believed_after_three_attempts() -> None:
    assert [type(after_failure(attempt, KeyError("x"))) for attempt in (1, 2, 3)] == [RetryIn, RetryIn, GiveUp]
    assert after_failure(3, KeyError("x")).reason.startswith("KeyError: 'x'")
