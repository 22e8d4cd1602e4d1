"""What a search page looks for, as its address says, and how that is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from lehr.protocol import dialect, resources_pb2
from lehr.web.components.boxes import Corners, corners

KINDS = {"": "Any kind", "image": "Pictures", "video": "Videos", "text": "Texts"}
AMONG = {"": "Whole inputs", "annotations": "Labels and boxes one by one"}


@dataclass(frozen=True, kw_only=True)
class Sought:
    """An empty field asks for nothing."""

    input: str = ""
    """To be like this input of the app."""
    picture: str = ""
    """To be like a picture that the browser keeps under this id."""
    box: str = ""
    """The part of it that counts: top, left, bottom and right, with commas between."""
    like: str = ""
    """To look like what is labelled with this concept."""
    concept: str = ""
    """To be labelled with this concept."""
    dataset: str = ""
    kind: str = ""
    """A kind of input."""
    among: str = ""
    """What is found: inputs, or annotations."""
    cluster: str = ""
    """A cluster, or a group of near-duplicates: `VERSION:ID`, of the version of the clusterer that found it."""
    saved: str = ""
    """A saved search, in place of all else."""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Sought:
        """What an address's query says; what makes no sense counts as nothing."""
        found = cls(**{field.name: query.get(field.name, "") for field in fields(cls)})
        return replace(
            found,
            kind=found.kind if found.kind in KINDS else "",
            among=found.among if found.among in AMONG else "",
            box=found.box if found.corners else "",
        )

    @property
    def corners(self) -> Corners | None:
        """The box as numbers."""
        try:
            sides = corners(self.box.split(","))
        except ValueError:
            return None
        return sides if sides[2] > sides[0] and sides[3] > sides[1] else None

    @property
    def is_ranked(self) -> bool:
        """Whether hits have scores."""
        return bool(self.input or self.picture or self.like)

    @property
    def is_nothing(self) -> bool:
        """Whether nothing is asked for."""
        return self == Sought(among=self.among)

    def to_query(self) -> dict[str, str]:
        """As an address's query."""
        return {field.name: getattr(self, field.name) for field in fields(self) if getattr(self, field.name)}

    def search(self) -> resources_pb2.Search:
        """As PostInputsSearches takes it; a picture of the browser's is filled in there, into the first rank."""
        query = resources_pb2.Query(filters=self._filters())
        if self.input or self.picture:
            query.ranks.append(resources_pb2.Rank(annotation=self._picture()))
        if self.like:
            like = resources_pb2.Concept(id=self.like, value=1)
            query.ranks.append(resources_pb2.Rank(annotation={"data": {"concepts": [like]}}))
        return resources_pb2.Search(query=query)

    def source(self) -> dict[str, Any]:
        """As the wall of hits asks for it: see `static/hits.js`."""
        return {
            "kind": "hits",
            "search": dialect.to_json(self.search()),
            "picture": self.picture,
            "among": self.among or "inputs",
            "saved": self.saved,
            "isRanked": self.is_ranked or bool(self.saved),
        }

    def _picture(self) -> resources_pb2.Annotation:
        annotation = resources_pb2.Annotation(input_id=self.input, data=resources_pb2.Data())
        if self.corners:
            top, left, bottom, right = self.corners
            box = resources_pb2.BoundingBox(top_row=top, left_col=left, bottom_row=bottom, right_col=right)
            annotation.data.regions.add().region_info.bounding_box.CopyFrom(box)
        return annotation

    def _filters(self) -> list[resources_pb2.Filter]:
        filters = []
        if self.concept:
            concept = resources_pb2.Concept(id=self.concept, value=1)
            filters.append(resources_pb2.Filter(annotation={"data": {"concepts": [concept]}}))
        if self.dataset:
            filters.append(resources_pb2.Filter(input={"dataset_ids": [self.dataset]}))
        if self.cluster:
            filters.append(of_cluster(self.cluster))
        if self.kind:
            data = resources_pb2.Data()
            getattr(data, self.kind).SetInParent()
            filters.append(resources_pb2.Filter(input=resources_pb2.Input(data=data)))
        return filters


def of_cluster(name: str) -> resources_pb2.Filter:
    """The inputs that a version of a clusterer put together: `VERSION:ID`."""
    version_id, _, id_ = name.partition(":")
    annotation = resources_pb2.Annotation(model_version_id=version_id)
    annotation.data.clusters.add(id=id_)
    return resources_pb2.Filter(annotation=annotation)
