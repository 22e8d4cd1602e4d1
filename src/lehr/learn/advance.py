"""Making the next thing while the last one is in use, and several at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

Asked = TypeVar("Asked")
Made = TypeVar("Made")


def made_in_advance(
    make: Callable[[Asked], Made], asked: Iterable[Asked], *, beside: bool
) -> Generator[Made, None, None]:
    """`make(one)` for each of `asked`, in their order.

    `beside`: each is made in a thread while the one before it is in use, for whoever uses it waits for a GPU anyway; an
    error is raised where its result would have come. Else each is made when it is asked for. Closing ends the thread.
    """
    if not beside:
        yield from map(make, asked)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="lehr-advance") as thread:
        coming: Future[Made] | None = None
        for one in asked:
            following = thread.submit(make, one)
            if coming is not None:
                yield coming.result()
            coming = following
        if coming is not None:
            yield coming.result()


def made_together(make: Callable[[Asked], Made], asked: Iterable[Asked]) -> list[Made]:
    """`make(one)` for each of `asked`, in their order, in several threads: for what leaves Python free meanwhile."""
    return list(_makers().map(make, asked))


@lru_cache(maxsize=1)
def _makers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="lehr-make")
