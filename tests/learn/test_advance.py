"""What is made a step ahead is what would have been made in time."""

from __future__ import annotations

import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
import torch

from lehr.learn import loop
from lehr.learn.advance import made_in_advance
from lehr.learn.events import Stepped

sys.path.insert(0, str(Path(__file__).parent))
from small_trainings import classifier, detector, embedder


def test_the_next_is_made_while_one_is_in_use_and_no_more_than_that() -> None:
    begun: list[int] = []
    second = threading.Event()

    def make(number: int) -> int:
        begun.append(number)
        if number == 1:
            second.set()
        return 10 * number

    with closing(made_in_advance(make, range(100), beside=True)) as made:
        assert next(made) == 0
        assert second.wait(10), "the second was not begun"
        assert begun == [0, 1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lehr-advance")]
    assert list(made_in_advance(make, range(5), beside=True)) == [0, 10, 20, 30, 40]
    assert list(made_in_advance(make, [], beside=True)) == []


@pytest.mark.parametrize("beside", [True, False])
def test_an_error_comes_where_the_result_would_have_come(beside: bool) -> None:
    made = made_in_advance(lambda number: 6 // (2 - number), range(5), beside=beside)
    assert [next(made), next(made)] == [3, 6]
    with pytest.raises(ZeroDivisionError):
        next(made)


@pytest.mark.parametrize("lesson", [classifier, pytest.param(embedder, marks=pytest.mark.slow), detector])
def test_a_training_whose_batches_are_drawn_ahead_is_the_same_and_goes_on_from_the_middle(
    lesson: object, digits_folder: Path, packs_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, data = lesson(digits_folder, packs_folder)  # type: ignore[operator]
    states = [event.state() for event in loop.train(recipe, data) if isinstance(event, Stepped)]
    threads: set[str] = set()
    draw = loop.made_in_advance

    def ahead(make, asked, *, beside):
        assert not beside, "there is no GPU here"

        def watched(one):
            threads.add(threading.current_thread().name)
            return make(one)

        return draw(watched, asked, beside=True)

    monkeypatch.setattr(loop, "made_in_advance", ahead)
    for begin in (None, states[len(states) // 2 - 1]):
        *_, last = (event.state() for event in loop.train(recipe, data, begin) if isinstance(event, Stepped))
        assert last.tensors.keys() == states[-1].tensors.keys()
        assert all(torch.equal(value, states[-1].tensors[name]) for name, value in last.tensors.items())
    assert threads == {"lehr-advance_0"}
