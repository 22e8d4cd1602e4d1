"""Which inputs a page shows, as its address says: a dataset, a concept, a state; and how they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlencode

from google.protobuf.message import Message

from lehr.protocol import dialect, resources_pb2, status_code_pb2, status_pb2
from lehr.web.page import Visit

STATES = {
    "": "Any state",
    "good": "Ready",
    "waiting": "Waiting",
    "bad": "Refused",
}
_CODES = {
    "good": status_code_pb2.INPUT_DOWNLOAD_SUCCESS,
    "waiting": status_code_pb2.INPUT_DOWNLOAD_PENDING,
    "bad": status_code_pb2.INPUT_DOWNLOAD_FAILED,
}


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A selection of an app's inputs; an empty field means any."""

    dataset: str = ""
    concept: str = ""
    state: str = ""
    ids: str = ""
    """Ids with commas between: what a finding names."""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Chosen:
        """What an address's query says; a state that is none counts as any."""
        found = {field.name: query.get(field.name, "") for field in fields(cls)}
        return cls(**{**found, "state": found["state"] if found["state"] in STATES else ""})

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out."""
        return self == Chosen()

    def to_query(self) -> dict[str, str]:
        """As an address's query."""
        return {field.name: getattr(self, field.name) for field in fields(self) if getattr(self, field.name)}

    def source(self) -> dict[str, Any]:
        """What the browser asks page by page: see `components/gallery.js`."""
        if self.concept or (self.dataset and self.state):
            return {"kind": "search", "search": _json(self.search())}
        if self.dataset:
            return {"kind": "dataset", "dataset_id": self.dataset}
        return {"kind": "inputs", "status": _CODES.get(self.state, 0), "ids": self._ids()}

    def _ids(self) -> list[str]:
        return [each for each in self.ids.split(",") if each]

    def search(self) -> resources_pb2.Search:
        """The same selection as a search, as PostDatasetInputs and PostInputsSearches take it."""
        filters = []
        if self.concept:
            concept = resources_pb2.Concept(id=self.concept, value=1)
            filters.append(resources_pb2.Filter(annotation={"data": {"concepts": [concept]}}))
        if self.dataset:
            filters.append(resources_pb2.Filter(input={"dataset_ids": [self.dataset]}))
        if self.state:
            status = status_pb2.Status(code=_CODES[self.state])
            filters.append(resources_pb2.Filter(input=resources_pb2.Input(status=status)))
        return resources_pb2.Search(query=resources_pb2.Query(filters=filters))

    async def inputs(self, visit: Visit, page: int, per_page: int) -> list[resources_pb2.Input]:
        """A page of them, in the gallery's order."""
        source = self.source()
        if source["kind"] == "search":
            paging = {"page": page, "per_page": per_page}
            answer = await visit.ask("PostInputsSearches", searches=[self.search()], pagination=paging)
            return [hit.input for hit in answer.hits]
        if source["kind"] == "dataset":
            answer = await visit.ask("ListDatasetInputs", dataset_id=self.dataset, page=page, per_page=per_page)
            return [each.input for each in answer.dataset_inputs]
        status = status_pb2.Status(code=source["status"])
        return list(
            (await visit.ask("ListInputs", status=status, ids=self._ids(), page=page, per_page=per_page)).inputs
        )


def query_string(chosen: Chosen) -> str:
    """For addresses."""
    return urlencode(chosen.to_query())


def _json(message: Message) -> Any:
    return dialect.to_json(message)
