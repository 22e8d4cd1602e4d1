"""A workflow while it is drawn: changed node by node, checked as the server does, carried in an address and as YAML."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lehr.errors import InvalidWorkflow
from lehr.web.drafts import Draft, Using
from lehr.web.sought import Sought
from lehr.web.workflow_yaml import from_yaml, to_yaml

CLASSIFIER = Using(type_id="visual-classifier", id="general-image-recognition", user_id="clarifai", app_id="main")
EMBEDDER = Using(type_id="visual-embedder", id="general-image-embedding", user_id="clarifai", app_id="main")


def drawn() -> Draft:
    draft, classifier = Draft().added(CLASSIFIER)
    draft, _ = draft.added(EMBEDDER)
    draft, _ = draft.added(Using(type_id="concept-threshold"), after=classifier)
    return draft


def test_a_new_node_takes_the_output_of_the_chosen_one_only_where_that_fits():
    draft = drawn()
    assert draft.get("concept-threshold").inputs == ("general-image-recognition",)
    cropped, crop = draft.added(Using(type_id="image-crop"), after="general-image-recognition")
    assert cropped.get(crop).inputs == ()
    assert cropped.problem() is None
    twice, second = draft.added(CLASSIFIER)
    assert second == "general-image-recognition-2"
    assert twice.gives(second) == ("concepts",)


def test_what_cannot_run_is_told_at_its_node():
    draft = drawn().joined("general-image-embedding", "concept-threshold")
    assert draft.problem() is None  # it takes the concepts of one, and what is beside them does no harm
    alone = draft.parted("general-image-recognition", "concept-threshold")
    assert alone.problem()[0] == "concept-threshold"
    assert "takes concepts" in alone.problem()[1]
    circle = drawn().joined("concept-threshold", "general-image-recognition")
    assert "go round in a circle" in circle.problem()[1]
    odd = drawn().changed(replace(drawn().get("concept-threshold"), override={"params": {"threshold": 7}}))
    assert odd.problem()[0] == "concept-threshold"
    assert "threshold is a number from 0 to 1; given 7" in odd.problem()[1]


def test_nodes_are_renamed_and_removed_wherever_they_are_named():
    renamed = drawn().renamed("general-image-recognition", "say")
    assert renamed.get("concept-threshold").inputs == ("say",)
    assert renamed.without("say").get("concept-threshold").inputs == ()


def test_a_draft_comes_back_from_its_address_and_rubbish_is_none():
    draft = drawn()
    assert Draft.from_text(draft.to_text()) == draft
    assert Draft.of(draft.to_nodes()) == draft
    for rubbish in ("", "x", "äö", draft.to_text()[:-24], "eJwDAAAAAAE="):
        assert Draft.from_text(rubbish) is None


def test_yaml_goes_out_and_comes_back():
    draft = drawn().changed(replace(drawn().get("concept-threshold"), is_hidden=True))
    name, read = from_yaml(to_yaml("sure", draft))
    assert name == "sure"
    assert [(node.id, node.inputs, node.is_hidden, node.model.id) for node in read.nodes] == [
        (node.id, node.inputs, node.is_hidden, node.model.id) for node in draft.nodes
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "This is no YAML"),
        ("- a", "`workflow:`"),
        ("workflow: {nodes: [{id: a}]}", "nodes[0] needs an `id` and a `model`"),
        ("workflow: {nodes: [{id: a, model: {user_id: x}}]}", "nodes[0].model needs a `model_id`"),
        ("workflow: {nodes: [{id: a, model: {model_id: b}, node_inputs: [c]}]}", "node_inputs is a list"),
        ("x" * 300_000, "300,000 characters"),
    ],
)
def test_yaml_that_is_no_workflow_is_refused_in_a_sentence(text: str, told: str):
    with pytest.raises(InvalidWorkflow) as refused:
        from_yaml(text)
    assert told in refused.value.details


def test_a_search_is_what_its_address_says_and_nonsense_is_nothing():
    sought = Sought.of({"input": "a", "box": "0.1,0.2,0.5,0.6", "concept": "rose", "kind": "pigeon", "among": "x"})
    assert (sought.kind, sought.among) == ("", "")
    query = sought.search().query
    assert query.ranks[0].annotation.input_id == "a"
    assert round(query.ranks[0].annotation.data.regions[0].region_info.bounding_box.right_col, 3) == 0.6
    assert query.filters[0].annotation.data.concepts[0].id == "rose"
    for box in ("1,2", "a,b,c,d", "0.5,0.5,0.1,0.9"):
        assert Sought.of({"box": box}).box == ""
