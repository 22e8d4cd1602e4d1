"""Every RPC of concepts, inputs, annotations and data sets once, as the door calls it."""

import pytest

from lehr.api.calls import Call, Caller
from lehr.api.rpcs.annotations import AnnotationRpcs
from lehr.api.rpcs.concepts import ConceptRpcs
from lehr.api.rpcs.datasets import DatasetRpcs
from lehr.api.rpcs.inputs import InputRpcs
from lehr.errors import InvalidRequest, InvalidSearch
from lehr.protocol import resources_pb2
from lehr.protocol.rpcs import RPCS, TIER_A
from lehr.services.add_jobs import AddJobs
from lehr.services.annotations import Annotations
from lehr.services.concepts import Concepts
from lehr.services.dataset_versions import DatasetVersions
from lehr.services.datasets import Datasets
from lehr.services.inputs import Inputs

BASE = "http://lehr.example:8080"
STORY = [
    ("PostConcepts", {"concepts": [{"id": "rose"}]}),
    ("GetConcept", {"concept_id": "rose"}),
    ("ListConcepts", {}),
    ("PatchConcepts", {"concepts": [{"id": "rose", "name": "Rose"}], "action": "overwrite"}),
    ("PostConceptsSearches", {"concept_query": {"name": "ro*"}}),
    ("PostDatasets", {"datasets": [{"id": "d"}, {"id": "e"}]}),
    ("GetDataset", {"dataset_id": "d"}),
    ("ListDatasets", {"sort_by_id": True, "sort_ascending": True}),
    ("PatchDatasets", {"datasets": [{"id": "d", "notes": "n"}], "action": "merge"}),
    (
        "PostInputs",
        {
            "inputs": [
                {"id": "a", "data": {"image": {"base64": b"bytes"}, "concepts": [{"id": "rose", "value": 1}]}},
                {"id": "b", "data": {"text": {"raw": "hello"}}, "dataset_ids": ["e"]},
            ],
            "inputs_add_job_id": "job",
        },
    ),
    ("GetInput", {"input_id": "a"}),
    ("ListInputs", {"ids": ["a"], "per_page": 1, "status": {"code": 30001}}),
    ("StreamInputs", {"last_id": "a", "per_page": 5}),
    ("PatchInputs", {"inputs": [{"id": "a", "data": {"concepts": [{"id": "fern", "value": 1}]}}], "action": "merge"}),
    ("GetInputCount", {}),
    ("GetInputsAddJob", {"id": "job"}),
    ("ListInputsAddJobs", {}),
    ("CancelInputsAddJob", {"id": "job"}),
    (
        "PostAnnotations",
        {"annotations": [{"id": "n", "input_id": "b", "data": {"concepts": [{"id": "x", "value": 1}]}}]},
    ),
    ("GetAnnotation", {"input_id": "b", "annotation_id": "n"}),
    ("ListAnnotations", {"input_ids": ["b"], "ids": ["n"], "list_all_annotations": True}),
    (
        "PatchAnnotations",
        {"annotations": [{"id": "n", "input_id": "b", "data": {"concepts": [{"id": "x"}]}}], "action": "remove"},
    ),
    ("DeleteAnnotation", {"input_id": "b", "annotation_id": "n"}),
    ("DeleteAnnotations", {"input_ids": ["b"]}),
    ("PostDatasetInputs", {"dataset_id": "d", "dataset_inputs": [{"input": {"id": "a"}}]}),
    (
        "PostDatasetInputs",
        {"dataset_id": "d", "search": {"query": {"filters": [{"input": {"dataset_ids": ["e"]}}]}}},
    ),
    ("ListDatasetInputs", {"dataset_id": "d"}),
    ("GetDatasetInput", {"dataset_id": "d", "input_id": "a"}),
    ("ListAnnotationWorkers", {}),
    ("PostDatasetVersions", {"dataset_id": "d", "dataset_versions": [{"id": "v"}]}),
    ("GetDatasetVersion", {"dataset_id": "d", "dataset_version_id": "v"}),
    ("ListDatasetVersions", {"dataset_id": "d"}),
    (
        "PatchDatasetVersions",
        {"dataset_id": "d", "dataset_versions": [{"id": "v", "description": "x"}], "action": "merge"},
    ),
    ("DeleteDatasetVersions", {"dataset_id": "d", "dataset_version_ids": ["v"]}),
    ("DeleteDatasetInputs", {"dataset_id": "d", "input_ids": ["a"]}),
    ("DeleteDatasets", {"dataset_ids": ["d"]}),
    ("DeleteInput", {"input_id": "a"}),
    ("DeleteInputs", {"ids": []}),
]


@pytest.fixture
def call(ref) -> Call:
    return Call(caller=Caller(user_id="ana", key_id="k"), app=ref, user_id="ana", base_url=BASE, req_id="r")


@pytest.fixture
def implementations(db, blobs, queue):
    return [
        ConceptRpcs(concepts=Concepts(db=db)),
        InputRpcs(inputs=Inputs(db=db, blobs=blobs, queue=queue), add_jobs=AddJobs(db=db, queue=queue, wait_seconds=0)),
        AnnotationRpcs(annotations=Annotations(db=db)),
        DatasetRpcs(datasets=Datasets(db=db), versions=DatasetVersions(db=db)),
    ]


@pytest.fixture
def answer(call, implementations):
    def answered(name, **request):
        [method] = [getattr(each, name) for each in implementations if hasattr(each, name)]
        return method(call, RPCS[name].request(**request))

    return answered


def test_every_rpc_answers_in_its_own_type(answer):
    answers = {}
    for name, request in STORY:
        answers[name] = answer(name, **request)
        assert isinstance(answers[name], RPCS[name].response), name
        assert answers[name].status.code in (0, 10000), (name, answers[name].status)
    assert answers["GetInput"].input.data.image.url.startswith(f"{BASE}/hosted/orig/users/ana/apps/flowers/")
    assert [each.id for each in answers["ListInputs"].inputs] == ["a"]
    assert [item.input.id for item in answers["ListDatasetInputs"].dataset_inputs] == ["a", "b"]
    assert answers["ListDatasetInputs"].dataset_inputs[0].input.data.image.hosted.prefix == f"{BASE}/hosted"
    assert [each.id for each in answers["PostConceptsSearches"].concepts] == ["rose"]
    assert answers["CancelInputsAddJob"].inputs_add_job.progress.failed_count == 1
    assert answer("GetInputCount").counts.processed == 1  # b is left: the empty delete deleted nothing


def test_no_rpc_of_the_first_tier_about_these_nouns_is_missing(implementations):
    names = {name for each in implementations for name in dir(each)}
    about = [name for name in TIER_A if any(noun in name for noun in ("Concept", "Input", "Annotation", "Dataset"))]
    elsewhere = {"ListModelConcepts", "PostInputsSearches", "PostAnnotationsSearches"}
    assert set(about) - elsewhere <= names
    assert {name for name, _ in STORY} == names & set(RPCS)


@pytest.mark.parametrize(
    "name",
    ["ListConcepts", "ListInputs", "ListInputsAddJobs", "ListAnnotations", "ListDatasets", "ListDatasetInputs"],
)
def test_pages_out_of_reach_are_refused_in_the_words_clients_look_for(answer, name):
    with pytest.raises(InvalidRequest, match="page \\* perPage cannot exceed"):
        answer(name, page=4_000_000_000, per_page=1000)
    with pytest.raises(InvalidRequest, match="at most 1000"):
        answer(name, per_page=1001)


def test_concepts_of_models_are_not_searched_here(answer):
    with pytest.raises(InvalidSearch, match="ListModelConcepts"):
        answer("PostConceptsSearches", concept_query={"model": resources_pb2.Model(id="m")})
