"""The knn-concept node: each new label counts at once, and the votes are those of the nearest."""

import numpy as np
import pytest

from lehr.index.library import Library
from lehr.protocol import resources_pb2 as r
from lehr.protocol import status_code_pb2
from lehr.protocol.statuses import status
from lehr.services.neighbours import Neighbours
from lehr.services.node_stages import Vote
from lehr.services.telling import Choice
from lehr.store import annotations, embeddings
from lehr.store import inputs as input_rows
from lehr.store.embeddings import State, Vector
from lehr.store.versions import ModelVersionRef

LABELLED = status_code_pb2.ANNOTATION_SUCCESS
AWAITING = status_code_pb2.ANNOTATION_PENDING


@pytest.fixture
def neighbours(db, tmp_path):
    library = Library(tmp_path / "index")
    return Neighbours(db=db, bundles=None, decoders=None, predictors=None, library=library)


def directions(*degrees):
    return np.stack([(np.cos(np.radians(d)), np.sin(np.radians(d))) for d in degrees]).astype(np.float32)


def placed(db, ref, degrees):
    """One input per direction."""
    with db.write() as tx:
        start = embeddings.add(tx, ref, ModelVersionRef(ref, "e", "v"), workflow=b"", state=State.SERVING)
        inputs = [r.Input(id=f"at{degree}") for degree in degrees]
        input_rows.insert(tx, ref, [input_rows.NewInput(message=each) for each in inputs])
        keys = input_rows.keys_of(tx, ref, [each.id for each in inputs])
        vectors = zip(inputs, directions(*degrees), strict=True)
        embeddings.append(tx, start.key, [Vector(input_key=keys[each.id], values=vector) for each, vector in vectors])


def label(db, ref, input_id, concept_id, code=LABELLED):
    said = r.Annotation(id=f"{input_id}-{concept_id}", input_id=input_id, user_id=ref.user_id)
    said.status.CopyFrom(status(code))
    said.data.concepts.add(id=concept_id, value=1)
    with db.write() as tx:
        annotations.insert(tx, ref, [said])


def test_the_nearest_labelled_inputs_vote_with_their_likeness(db, ref, neighbours):
    placed(db, ref, [0, 10, 20, 90, 100, 180])
    for input_id, concept_id in (("at0", "east"), ("at20", "east"), ("at90", "north"), ("at100", "north")):
        label(db, ref, input_id, concept_id)
    label(db, ref, "at10", "north", AWAITING)
    vote = Vote(neighbours=neighbours, ref=ref, k=3, concepts={}, choice=Choice())
    [data] = vote(directions(9), False)
    weights = {degree: (1 + np.cos(np.radians(degree - 9))) / 2 for degree in (0, 20, 90)}
    expected = (weights[0] + weights[20]) / sum(weights.values())
    assert [concept.id for concept in data.concepts] == ["east", "north"]
    assert data.concepts[0].value == pytest.approx(expected, abs=1e-3)
    label(db, ref, "at180", "west")
    [data] = vote(directions(175), False)
    assert data.concepts[0].id in {"west", "north"}
    [only] = Vote(neighbours=neighbours, ref=ref, k=1, concepts={"west": "West"}, choice=Choice())(directions(0), False)
    assert [(concept.name, concept.value) for concept in only.concepts] == [("West", 1.0)]
