"""Says the same in the app's own concepts: each concept is replaced by those that the app relates to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lehr.protocol import resources_pb2
from lehr.services.operators.item import Item, Scene
from lehr.services.operators.operator import Operator, Parameter, Settings

Synonyms = Mapping[str, Sequence[resources_pb2.Concept]]


def run(item: Item, scene: Scene, settings: Settings) -> Item:
    """The same data in other concepts; one without a synonym is left out, of two that become one the higher counts."""
    known = dict(scene.synonyms(settings.values["knowledge_graph_id"]))
    for name, wanted in settings.values["mapping"].items():
        known[name] = (resources_pb2.Concept(id=wanted, name=wanted),)
    data = resources_pb2.Data()
    data.CopyFrom(item.data)
    for part in (data, *(region.data for region in data.regions)):
        said = _said(part.concepts, known)
        del part.concepts[:]
        part.concepts.extend(said)
    return Item(data=data, crops=item.crops)


def _said(concepts: Sequence[resources_pb2.Concept], known: Synonyms) -> list[resources_pb2.Concept]:
    best: dict[str, resources_pb2.Concept] = {}
    for concept in concepts:
        for synonym in known.get(concept.id) or known.get(concept.name) or ():
            said = resources_pb2.Concept()
            said.CopyFrom(synonym)
            said.value = concept.value
            if synonym.id not in best or best[synonym.id].value < said.value:
                best[synonym.id] = said
    return sorted(best.values(), key=lambda concept: -concept.value)


OPERATOR = Operator(
    model_type_id="concept-synonym-mapper",
    title="Concept Synonym Mapper",
    description="Replaces concepts by the app's own concepts that are related to them as synonyms.",
    input_fields=("concepts",),
    output_fields=("concepts",),
    parameters=(
        Parameter(
            name="knowledge_graph_id",
            kind="text",
            default="",
            sentence="The knowledge graph whose relations count; none: all of the app's.",
        ),
        Parameter(
            name="mapping",
            kind="mapping",
            default={},
            sentence="Beside the relations: id or name of a concept that comes in → id of the one that goes out.",
        ),
    ),
    run=run,
)
