"""The REST dialect, held against protobuf's own JSON as the slow oracle and against the public client's rules."""

import base64
import json

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lehr.errors import BadFormat
from lehr.protocol import dialect, resources_pb2, service_pb2
from lehr.protocol.rpcs import RPCS

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
PLAIN = st.recursive(
    st.none() | st.booleans() | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def scalar(field):
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    return {
        1: st.floats(allow_nan=False, allow_infinity=False),
        2: FLOATS,
        3: st.integers(-(2**63), 2**63 - 1),
        4: st.integers(0, 2**64 - 1),
        5: st.integers(-(2**31), 2**31 - 1),
        8: st.booleans(),
        9: TEXT,
        12: st.binary(max_size=20),
        13: st.integers(0, 2**32 - 1),
    }[field.type]


def fill(draw, message, depth):
    """Sets some fields of any message; times are whole microseconds, as the dialect's are."""
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Struct":
        message.update(draw(st.dictionaries(TEXT, PLAIN, max_size=3)))
    elif name == "google.protobuf.Value":
        json_format.ParseDict(draw(PLAIN), message)
    elif name in ("google.protobuf.Timestamp", "google.protobuf.Duration"):
        message.seconds, message.nanos = draw(st.integers(0, 10**10)), draw(st.integers(0, 999_999)) * 1000
    else:
        fields = list(message.DESCRIPTOR.fields)
        for field in draw(st.lists(st.sampled_from(fields), max_size=4)) if fields else []:
            fill_field(draw, message, field, depth)


def fill_field(draw, message, field, depth):
    value = getattr(message, field.name)
    if field.message_type is not None and depth == 0:
        return
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, inner = draw(TEXT), field.message_type.fields_by_name["value"]
        if inner.message_type is None:
            value[key] = draw(scalar(inner))
        else:
            fill(draw, value[key], depth - 1)
    elif field.message_type is not None:
        target = value.add() if field.is_repeated else value
        target.SetInParent()
        fill(draw, target, depth - 1)
    elif field.is_repeated:
        value.extend(draw(st.lists(scalar(field), max_size=3)))
    else:
        setattr(message, field.name, draw(scalar(field)))


CLASSES = sorted(
    {c for rpc in RPCS.values() for c in (rpc.request, rpc.response)} | {resources_pb2.Data, resources_pb2.Model},
    key=lambda c: c.DESCRIPTOR.full_name,
)


@st.composite
def messages(draw):
    message = draw(st.sampled_from(CLASSES))()
    fill(draw, message, 4)
    return message


many = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(messages())
@many
def test_any_message_survives_the_dialect(message):
    again = type(message)()
    dialect.parse(dialect.dump(message), again)
    assert again == message


@given(messages())
@many
def test_protobufs_own_json_reads_what_the_dialect_writes_and_the_other_way_round(message):
    by_oracle = type(message)()
    json_format.ParseDict(json.loads(dialect.dump(message)), by_oracle)
    assert by_oracle == message

    written = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    by_dialect = type(message)()
    dialect.from_json(by_dialect, written)
    assert by_dialect == message


def test_answers_have_integer_enums_and_show_empty_fields_that_clients_need():
    concept = resources_pb2.Concept(id="cat", value=0.0)
    answer = service_pb2.SingleConceptResponse(concept=concept)
    answer.status.code = 10000
    written = dialect.to_json(answer)
    assert written["status"] == {"code": 10000}
    assert written["concept"]["value"] == 0.0
    assert dialect.to_json(service_pb2.MultiModelResponse()) == {"models": []}


def test_a_concept_without_value_in_a_request_is_a_positive_and_one_with_zero_is_not():
    request = service_pb2.PostInputsRequest()
    dialect.parse(
        b'{"inputs":[{"data":{"concepts":[{"id":"a"},{"id":"b","value":0},{"id":"c","value":null}]}}]}', request
    )
    assert [c.value for c in request.inputs[0].data.concepts] == [1.0, 0.0, 1.0]


def test_the_spellings_that_clients_use_are_read():
    request = service_pb2.PostModelsRequest()
    dialect.parse(
        b"""{"unknown": [1, {"a": 2}], "model": {"modelTypeId": "visual-classifier",
            "visibility": {"gettable": "PUBLIC"},
            "trainInfo": {"params": {"num_epochs": 2, "deep": {"list": [1, null, "x"]}}},
            "output_info": {"output_config": {"closed_environment": "True", "max_concepts": "20"}}}}""",
        request,
    )
    model = request.model
    assert model.visibility.gettable == 50
    assert model.model_type_id == "visual-classifier"
    assert dialect.to_json(model.train_info)["params"] == {"num_epochs": 2, "deep": {"list": [1, None, "x"]}}
    assert model.output_info.output_config.closed_environment
    assert model.output_info.output_config.max_concepts == 20


@pytest.mark.parametrize("body", [b"", b"  \n", b"{}"])
def test_an_empty_body_says_nothing(body):
    request = service_pb2.PostModelVersionsRequest()
    dialect.parse(body, request)
    assert request == service_pb2.PostModelVersionsRequest()


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"inputs": [', "not JSON"),
        (b"\xff\xfe\xfd", "not JSON"),
        (b"[1]", "the body is"),
        (b'{"inputs": {}}', "inputs is {}; it must be a list"),
        (b'{"inputs": [1]}', "inputs[0] is 1; it must be an object"),
        (b'{"inputs": [{"id": 5}]}', "inputs[0].id is 5; it must be a string"),
        (b'{"inputs": [{"data": {"image": {"base64": "\xc3\xa9"}}}]}', "inputs[0].data.image.base64"),
        (b'{"inputs": [{"data": {"image": {"base64": "a"}}}]}', "base64"),
        (b'{"inputs": [{"data": {"concepts": [{"value": "x"}]}}]}', "concepts[0].value is 'x'; it must be a number"),
        (b'{"inputs": [{"data": {"concepts": [{"value": 1e39}]}}]}', "32-bit"),
        (b'{"inputs": [{"data": {"concepts": [{"value": NaN}]}}]}', "NaN"),
        (b'{"inputs": [{"created_at": "yesterday"}]}', "a time such as"),
        (b'{"inputs": [{"id": "\\ud800"}]}', "Unicode"),
        (b'{"inputs": [{"status": {"code": "GREAT"}}]}', "inputs[0].status.code is 'GREAT'; it must be one of"),
        (b'{"inputs": [{"status": {"percent_completed": 2.5}}]}', "a whole number"),
        (b'{"inputs": [{"status": {"percent_completed": -1}}]}', "between 0 and 4294967295"),
        (b'{"inputs": [{"status": {"percent_completed": true}}]}', "a whole number"),
        (b'{"inputs": [{"data": {"metadata": [1]}}]}', "metadata is [1]; it must be an object"),
        (b'{"a":' * 100_000, "not JSON"),
        (b'{"inputs":[{"data":{"metadata":{"a":' + b"[" * 50 + b"]" * 50 + b"}}}]}", "nested too deeply"),
        (b'{"inputs":[{"data":' + b'{"regions":[{"data":' * 90 + b"{}" + b"}]}" * 90 + b"}]}", "nested too deeply"),
        (b'{"page": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_what_cannot_be_read_gets_a_sentence(body, sentence):
    with pytest.raises(BadFormat) as refused:
        dialect.parse(body, service_pb2.PostInputsRequest())
    assert sentence in refused.value.details
    assert len(refused.value.details) < 400


@pytest.mark.parametrize("spelling", ["aGVsbG8/", "aGVsbG8_", "aGVs\nbG8/\n"])
def test_base64_is_read_in_every_common_form(spelling):
    image = resources_pb2.Image()
    dialect.from_json(image, {"base64": spelling})
    assert image.base64 == b"hello?"


def test_times_have_at_most_six_digits_and_large_integers_are_exact():
    data = resources_pb2.Input()
    data.created_at.seconds, data.created_at.nanos = 1_700_000_000, 123_456_789
    assert dialect.to_json(data)["created_at"] == "2023-11-14T22:13:20.123456Z"
    data.created_at.nanos = 999
    assert dialect.to_json(data)["created_at"] == "2023-11-14T22:13:20Z"
    assert dialect.to_json(resources_pb2.Data(int_value=2**53))["int_value"] == 2**53
    assert dialect.to_json(resources_pb2.Data(int_value=2**53 + 1))["int_value"] == str(2**53 + 1)


def test_floats_are_written_as_short_as_they_were_meant():
    vector = [0.9, 1 / 3, 1e-30, 3.4028235e38, 16777216.0]
    written = dialect.to_json(resources_pb2.Embedding(vector=vector))["vector"]
    assert written[0] == 0.9
    assert list(resources_pb2.Embedding(vector=written).vector) == list(resources_pb2.Embedding(vector=vector).vector)


def test_what_json_cannot_say_of_numbers_is_said_in_words():
    written = dialect.dump(resources_pb2.Embedding(vector=[float("nan"), float("inf")]))
    assert written == b'{"vector":["NaN","Infinity"]}'


def test_query_strings_fill_nested_repeated_and_typed_fields():
    request = service_pb2.ListInputsRequest()
    pairs = [("user_app_id.user_id", "me"), ("ids", "a"), ("ids", "b"), ("page", "2")]
    dialect.from_query(request, [*pairs, ("nonsense.x", "1"), ("page.x", "1"), ("user_app_id", "x")])
    assert request == service_pb2.ListInputsRequest(
        user_app_id=resources_pb2.UserAppIDSet(user_id="me"), ids=["a", "b"], page=2
    )
    with pytest.raises(BadFormat, match="page is 'two'"):
        dialect.from_query(request, [("page", "two")])


def test_a_large_picture_is_read_whole():
    picture = bytes(range(256)) * 400_000  # 102 MB
    body = b'{"inputs":[{"data":{"image":{"base64":"' + base64.b64encode(picture) + b'"}}}]}'
    request = service_pb2.PostInputsRequest()
    dialect.parse(body, request)
    assert request.inputs[0].data.image.base64 == picture
