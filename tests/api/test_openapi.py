"""The OpenAPI document says what the routes do, and only that."""

from __future__ import annotations

import json
import re

import pytest

from lehr.api import openapi
from lehr.protocol import dialect, resources_pb2
from lehr.protocol.rpcs import NOT_OFFERED, RPCS


@pytest.fixture(scope="module")
def document():
    return json.loads(openapi.document())


def _without_names(template: str) -> str:
    return re.sub("{[^}]*}", "{}", template)


def test_every_offered_route_is_described_and_no_other(document):
    described = {
        (method.upper(), _without_names(template))
        for template, operations in document["paths"].items()
        for method in operations
    }
    offered = {
        (binding.method, _without_names(binding.template))
        for rpc in RPCS.values()
        if rpc.name not in NOT_OFFERED
        for binding in rpc.bindings
    }
    assert described == offered


def test_every_reference_leads_somewhere(document):
    text = openapi.document().decode()
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(document["components"]["schemas"])


def test_an_answer_in_the_dialect_fits_its_schema(document):
    """Checked by another's validator: enums as numbers, maps as objects, times as text."""
    import jsonschema_rs

    model = resources_pb2.Model(id="m", model_type_id="visual-classifier", visibility={"gettable": 50})
    model.metadata["wings"] = 2
    model.created_at.FromSeconds(1_700_000_000)
    schema = {"$ref": "#/components/schemas/clarifai.api.Model", "components": document["components"]}
    validator = jsonschema_rs.Draft202012Validator(schema)
    assert validator.is_valid(dialect.to_json(model))
    assert not validator.is_valid({"id": 7})


def test_parameters_of_a_path_are_required_and_of_a_query_are_not(document):
    listed = document["paths"]["/v2/users/{user_id}/apps/{app_id}/inputs"]["get"]
    by_name = {one["name"]: one for one in listed["parameters"]}
    assert by_name["app_id"]["required"]
    assert not by_name["per_page"]["required"]
