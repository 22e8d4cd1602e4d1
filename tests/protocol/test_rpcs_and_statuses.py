import pytest

from lehr import errors
from lehr.protocol import status_code_pb2, statuses
from lehr.protocol.rpcs import NOT_OFFERED, RPCS, SCOPES, missing_scopes, with_implied
from lehr.protocol.tiers import TIER_A, TIER_B


def test_the_whole_service_is_known_and_sorted_into_tiers():
    assert len(RPCS) == 273
    assert sum(len(rpc.bindings) for rpc in RPCS.values()) == 467
    assert (len(TIER_A), len(TIER_B), len(NOT_OFFERED)) == (72, 100, 101)
    assert set(RPCS) >= TIER_A | TIER_B
    assert not TIER_A & TIER_B


def test_every_request_can_be_refused_in_band():
    assert all("status" in rpc.response.DESCRIPTOR.fields_by_name for rpc in RPCS.values())


def test_who_may_call_is_read_from_the_descriptors():
    assert {name for name, rpc in RPCS.items() if not rpc.needs_key} == {
        "ListOpenSourceLicenses",
        "ListStatusCodes",
        "GetStatusCode",
    }
    assert RPCS["PostModels"].takes_app_key
    assert not RPCS["DeleteApp"].takes_app_key
    assert missing_scopes(RPCS["GetModel"], {"Models_Get", "Apps_Get"}) == {"Concepts_Get"}
    assert not missing_scopes(RPCS["PostKeys"], {"All"})


def test_a_scope_brings_those_it_cannot_do_without():
    assert with_implied({"Inputs_Delete"}) >= {"Inputs_Delete", "Inputs_Add", "Inputs_Get"}
    assert all(implied in SCOPES for scope in SCOPES for implied in SCOPES[scope])


@pytest.mark.parametrize(
    ("code", "description", "http"),
    [
        (10000, "Ok", 200),
        (10010, "Mixed Success", 207),
        (10040, "Not implemented", 501),
        (11007, "API key has insufficient scopes", 403),
        (11008, "Invalid API key or Invalid API key/application pair", 401),
        (11100, "Bad request format", 400),
        (11101, "Resource does not exist", 404),
        (11103, "Method not allowed", 405),
        (21100, "Model trained successfully", 200),
        (21103, "Custom model is currently in queue for training, waiting on inputs to process.", 200),
        (21200, "Model does not exist", 404),
        (21355, "Model loading", 503),
        (30000, "Download complete", 200),
        (40003, "Invalid request", 400),
        (99009, "Internal error", 500),
    ],
)
def test_clients_match_on_these_words(code, description, http):
    made = statuses.status(code, "why", req_id="r")
    assert (made.code, made.description, made.details, made.req_id) == (code, description, "why", "r")
    assert made.http_status_code == http


def test_every_code_has_words_and_a_sensible_http_status():
    for code in status_code_pb2.StatusCode.values():
        assert statuses.describe(code)
        assert 200 <= statuses.http_status(code) < 600
    assert statuses.describe(123456) == "Status 123456"


def test_every_error_of_ours_has_a_code_that_clients_know():
    def classes(root):
        return {root, *(c for child in root.__subclasses__() for c in classes(child))}

    assert all(error.code in statuses.NAMES for error in classes(errors.LehrError))
