"""Which free-form objects contain which: as in a search for metadata. Knows no table.

An object is contained in another when all of its fields are, at whatever depth; a list when each of its entries is
contained in some entry of the other; anything else when it is equal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeGuard

from lehr.protocol.structs import Plain

__all__ = ["contains", "is_told_by_terms", "terms_of", "terms_wanted"]


def contains(have: Plain, want: Plain) -> bool:
    """Whether `want` is contained in `have`."""
    if isinstance(want, Mapping):
        return isinstance(have, Mapping) and all(
            name in have and contains(have[name], value) for name, value in want.items()
        )
    if _is_list(want):
        return _is_list(have) and all(any(contains(one, entry) for one in have) for entry in want)
    return isinstance(have, bool) == isinstance(want, bool) and have == want


def terms_of(value: Plain) -> set[str]:
    """One term for each thing in the value, saying where it stands and what it is. Contained values share them."""
    return {term for term, _ in _walk(value, "")}


def terms_wanted(value: Plain) -> set[str]:
    """The terms that whatever contains the value must have."""
    return {term for term, is_leaf in _walk(value, "") if is_leaf}


def is_told_by_terms(want: Plain) -> bool:
    """Whether having the wanted terms is enough. Not so where fields could come from two entries of one list."""
    if isinstance(want, Mapping):
        return all(is_told_by_terms(value) for value in want.values())
    return not _is_list(want) or all(len(terms_wanted(entry)) == 1 for entry in want)


def _is_list(value: Plain) -> TypeGuard[Sequence[Plain]]:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _walk(value: Plain, place: str) -> Iterator[tuple[str, bool]]:
    """(term, whether it implies all above it that matters)."""
    if isinstance(value, Mapping):
        yield f"{place}{{}}", not value
        for name, each in value.items():
            yield from _walk(each, f"{place}.{json.dumps(name)}")
    elif _is_list(value):
        yield f"{place}[]", not value
        for each in value:
            yield from _walk(each, f"{place}[]")
    else:
        yield f"{place}={json.dumps(value + 0.0 if isinstance(value, float) else value)}", True
