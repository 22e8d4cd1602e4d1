"""Small questions that many pages ask of an app: its concepts, its datasets, how many there are of what."""

from __future__ import annotations

from lehr.web.page import Visit

MOST = 1000
"""Of a list in a choice; there is a search field for more."""


async def concept_names(visit: Visit) -> dict[str, str]:
    """Concept id → name."""
    found = (await visit.ask("ListConcepts", page=1, per_page=MOST)).concepts
    return {each.id: each.name or each.id for each in found}


async def dataset_ids(visit: Visit) -> list[str]:
    """The app's datasets, last changed first."""
    return [each.id for each in (await visit.ask("ListDatasets", page=1, per_page=MOST)).datasets]


async def how_many(visit: Visit, name: str, field: str) -> str:
    """How many a list RPC has, in words: exactly up to a thousand."""
    found = len(getattr(await visit.ask(name, page=1, per_page=MOST), field))
    return f"{MOST:,}+" if found == MOST else str(found)
