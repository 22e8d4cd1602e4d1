"""Graphs that run, and graphs that are refused with the node's name."""

import pytest

from lehr.errors import InvalidWorkflow
from lehr.protocol import resources_pb2 as r
from lehr.services.node_kinds import KINDS
from lehr.services.operator_types import UNTRAINED_TYPES
from lehr.services.workflow_graph import steps_of


def graph(**nodes):
    """name="type" or name=("type", "input", …)."""
    made = []
    for name, spec in nodes.items():
        type_id, *inputs = (spec,) if isinstance(spec, str) else spec
        node = r.WorkflowNode(id=name, model=r.Model(model_type_id=type_id))
        node.node_inputs.extend(r.NodeInput(node_id=before) for before in inputs)
        made.append(node)
    return made


def fits(**nodes):
    return {step.node.id: step.fit for step in steps_of(graph(**nodes))}


def test_a_classifier_behind_a_crop_works_on_every_region():
    found = fits(find="visual-detector", crop=("image-crop", "find"), classify=("visual-classifier", "crop"))
    assert found["classify"].per_region
    assert found["classify"].gives == {"regions", "regions.concepts"}


def test_a_head_behind_an_embedder_works_on_its_vectors_and_alone_on_the_image():
    found = fits(embed="visual-embedder", head=("embedding-classifier", "embed"), alone="embedding-classifier")
    assert (found["head"].field, found["alone"].field) == ("embeddings", "image")


def test_nodes_may_be_sent_in_any_order():
    nodes = graph(classify=("visual-classifier", "crop"), crop=("image-crop", "find"), find="visual-detector")
    assert [step.node.id for step in steps_of(nodes)] == ["find", "crop", "classify"]


@pytest.mark.parametrize(
    ("nodes", "named", "sentence"),
    [
        ({"a": ("concept-threshold", "b"), "b": ("concept-threshold", "a")}, "a", "circle"),
        ({"a": ("visual-classifier", "nobody")}, "a", "'nobody'"),
        ({"find": "visual-detector", "classify": ("visual-classifier", "find")}, "classify", "Put an image-crop"),
        ({"embed": "visual-embedder", "classify": ("visual-classifier", "embed")}, "classify", "takes image"),
        ({"c": "visual-classifier", "crop": ("image-crop", "c")}, "crop", "takes regions"),
        ({"c": "visual-classifier", "t": ("region-thresholder", "c")}, "t", "takes regions.concepts"),
        ({"t": "text-classifier"}, "t", "cannot be nodes"),
        (
            {"a": "visual-embedder", "b": "visual-embedder", "h": ("embedding-classifier", "a", "b")},
            "h",
            "one embedding",
        ),
    ],
)
def test_a_graph_that_cannot_run_is_refused_with_the_name_of_the_node(nodes, named, sentence):
    with pytest.raises(InvalidWorkflow) as refused:
        steps_of(graph(**nodes))
    assert refused.value.code == 22107
    assert repr(named) in refused.value.details
    assert sentence in refused.value.details


def test_two_nodes_of_one_name_are_refused():
    with pytest.raises(InvalidWorkflow, match=r"'a'.*two nodes"):
        steps_of([*graph(a="visual-classifier"), *graph(a="visual-embedder")])


def test_every_type_that_can_be_made_without_training_can_be_a_node():
    assert {operator.model_type_id for operator in UNTRAINED_TYPES} <= set(KINDS)
