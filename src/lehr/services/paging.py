"""What every list call makes of `page` and `per_page`."""

from __future__ import annotations

from typing import NamedTuple

from lehr.errors import InvalidRequest

DEFAULT_PER_PAGE = 128
MAX_PER_PAGE = 1000
MAX_REACH = 10_000_000


class Paging(NamedTuple):
    """A checked page: both numbers are at least 1. Field names are those of the store's page functions."""

    page: int
    per_page: int


def paging(page: int, per_page: int) -> Paging:
    """The page asked for; 0 means the default. Raises InvalidRequest with the words that clients match on."""
    page, per_page = page or 1, per_page or DEFAULT_PER_PAGE
    if per_page > MAX_PER_PAGE:
        raise InvalidRequest(f"per_page is {per_page}; at most {MAX_PER_PAGE} are returned at once.")
    if page * per_page > MAX_REACH:
        raise InvalidRequest(f"page * perPage cannot exceed {MAX_REACH}; it is {page} * {per_page}.")
    return Paging(page, per_page)
