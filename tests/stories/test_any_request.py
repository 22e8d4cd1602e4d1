"""Requests made at random from the OpenAPI document: each gets a sentence, none an error of ours, none hangs."""

from __future__ import annotations

import json
import warnings

import httpx
import pytest
import schemathesis
from faces import GRPC, Client
from hypothesis import HealthCheck, Phase, given, settings

EXAMPLES = 7
"""Of each call by its first route; by every other route of it there is one, the smallest."""
KNOWN = {
    "user_id": "lehr",
    "app_id": "anything",
    "model_id": "m",
    "input_id": "i",
    "dataset_id": "d",
    "concept_id": "c",
    "workflow_id": "w",
    "version_id": "v",
}
"""What paths are filled with; the rest is made up."""
OURS = range(98000, 100000)
"""Status codes that mean the server itself failed."""


@pytest.fixture(scope="module")
def document(server):
    """What the server says of itself; here without fields that nobody reads, so that chance plays with real ones."""
    whole = httpx.get(f"{server.base}/openapi.json").json()
    for schema in whole["components"]["schemas"].values():
        schema["additionalProperties"] = False
    return whole


@pytest.fixture(scope="module")
def client(server):
    """An app with one of each noun, so that requests get past the first door."""
    one = Client(GRPC, server.base, server.token, "anything")
    one.ask("PostApps", apps=[{"id": "anything"}])
    one.ask("PostConcepts", concepts=[{"id": "c"}])
    one.ask("PostInputs", inputs=[{"id": "i", "data": {"text": {"raw": "words"}, "metadata": {"a": 1}}}])
    one.ask("PostDatasets", datasets=[{"id": "d"}])
    one.ask("PostModels", models=[{"id": "m", "model_type_id": "visual-classifier"}])
    with httpx.Client(base_url=server.base, headers={"Authorization": f"Key {server.token}"}, timeout=30) as http:
        yield http


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_request_breaks_the_server(server, document, client):
    schema = schemathesis.openapi.from_dict(document)
    failures = []
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.label == "DELETE /v2/users/{user_id}/apps/{app_id}":
            continue  # the app that the others live in
        is_first = "_" not in operation.definition.raw["operationId"]
        failures += _failures_of(operation, client, EXAMPLES if is_first else 1)
    assert not failures, "\n".join(failures[:40])
    assert client.get("/readyz").status_code == 200
    assert "Traceback" not in server.log()


def _failures_of(operation, client, examples) -> list[str]:
    failures: list[str] = []

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case) -> None:
        said = _said(operation, case, client)
        if said and len(failures) < 3:
            failures.append(f"{operation.label}: {said}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ask()
    return failures


def _said(operation, case, client) -> str:
    """What was wrong with the answer; nothing, where all is well."""
    path = operation.path
    for name, value in {**(case.path_parameters or {}), **KNOWN}.items():
        path = path.replace(f"{{{name}}}", httpx.URL(f"/{value}").raw_path.decode()[1:].replace("?", "%3F") or "x")
    body = case.body if isinstance(case.body, dict | list) else None
    query = {k: v for k, v in (case.query or {}).items() if v is not None}
    try:
        answer = client.request(operation.method, path, params=query, content=_encoded(body), headers=_JSON)
    except httpx.InvalidURL:
        return ""
    except httpx.TimeoutException:
        return f"no answer to {str(body)[:300]}"
    if not path.startswith("/v2"):
        return ""
    try:
        status = json.loads(answer.text.splitlines()[0])["status"] if answer.text else {"code": 10000}
    except (ValueError, KeyError):
        return f"HTTP {answer.status_code} without a status: {answer.text[:200]}"
    broken = answer.status_code >= 500 or status["code"] in OURS
    return f"HTTP {answer.status_code} {status} to {str(body)[:400]} {query}" if broken else ""


_JSON = {"content-type": "application/json"}


def _encoded(body) -> bytes | None:
    return None if body is None else json.dumps(body).encode("utf-8", "surrogatepass")
