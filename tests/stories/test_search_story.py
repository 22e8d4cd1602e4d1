"""Searching with the real `clarifai` package and with JSON as the public documentation has it."""

from __future__ import annotations

import io

import httpx
import numpy as np
import pytest
from clarifai.client.app import App
from clarifai.client.search import Search
from clarifai.client.user import User
from clarifai.errors import UserError
from clarifai_grpc.grpc.api import resources_pb2 as r
from clarifai_grpc.grpc.api.status import status_code_pb2 as codes
from faces import FACES, GRPC, Client
from google.protobuf import struct_pb2
from lehr_server import TOKEN, Server, wait_until
from PIL import Image

# the package itself leaves files open
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def picture(colour: tuple[int, int, int]) -> bytes:
    pixels = np.random.default_rng(0).integers(-20, 20, (48, 48, 3)) + np.array(colour)
    out = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(out, "PNG")
    return out.getvalue()


def upload(server: Server, app: App, app_id: str) -> None:
    """A labelled dog in the Atlantic, and four more pictures."""
    app.create_dataset("pets")
    inputs = app.inputs()
    metadata = struct_pb2.Struct()
    metadata.update({"Breed": "Saint Bernard", "another-key": {"inner-key": "inner-value"}})
    dog = inputs.get_input_from_bytes(
        "dog",
        image_bytes=picture((200, 40, 40)),
        dataset_id="pets",
        labels=["dog"],
        geo_info=[-30.0, 40.0],
        metadata=metadata,
    )
    others = [inputs.get_input_from_bytes(f"other{n}", image_bytes=picture((20 * n, 80, 200))) for n in range(4)]
    inputs.upload_inputs([dog, *others])
    client = Client(GRPC, server.base, TOKEN, app_id)
    wait_until(lambda: client.must("GetInputCount").counts.processed == 5)


@pytest.fixture(scope="module")
def app_id(server: Server) -> str:
    app = User(user_id="lehr", base_url=server.base, pat=TOKEN).create_app("search-story", base_workflow="Empty")
    upload(server, app, "search-story")
    return "search-story"


def search(server: Server, app_id: str, **options) -> Search:
    return Search(user_id="lehr", app_id=app_id, base_url=server.base, pat=TOKEN, **options)


def hit_ids(pages) -> list[str]:
    return [hit.input.id for page in pages for hit in page.hits]


@pytest.mark.slow  # the built-in models are prepared first
@pytest.mark.timeout(900)
def test_what_nobody_labelled_is_ranked_by_what_general_sees_in_it(server: Server) -> None:
    from sklearn.datasets import load_sample_images

    app = User(user_id="lehr", base_url=server.base, pat=TOKEN).create_app("unlabelled", base_workflow="General")
    client, inputs = Client(GRPC, server.base, TOKEN, "unlabelled"), app.inputs()
    loaded = load_sample_images()
    names = [name.rsplit("/", 1)[-1].removesuffix(".jpg") for name in loaded.filenames]
    photos = [
        inputs.get_input_from_bytes(name, image_bytes=encoded(pixels))
        for name, pixels in zip(names, loaded.images, strict=True)
    ]
    inputs.upload_inputs([*photos, *(inputs.get_input_from_bytes(f"c{n}", picture((90 * n, 80, 9))) for n in range(3))])
    wait_until(lambda: client.must("GetInputCount").counts.reindexed == 5, 600, "the index")
    finds = search(server, "unlabelled")

    def asked(**concept):
        rank = r.Rank(annotation=r.Annotation(data=r.Data(concepts=[r.Concept(**concept)])))

        def answered():  # the built-in classifier is made after the embedder
            answer = client.ask("PostInputsSearches", searches=[r.Search(query=r.Query(ranks=[rank]))])
            return None if answer.status.code == codes.MODEL_LOADING else answer

        return wait_until(answered, 300, "an answer")

    def found(**concept) -> list[str]:
        return [hit.input.id for hit in asked(**concept).hits]

    assert found(name="daisy", value=1)[0] == found(id="daisy", value=1)[0] == "flower"
    assert found(name="Palace", value=1)[0] == "china"
    assert found(name="palace", value=0)[-1] == "china"
    assert hit_ids(finds.query(ranks=[{"concepts": [{"name": "palace", "value": 1}]}]))[0] == "china"
    refused = asked(name="my cat", value=1).status
    assert (refused.code, "nothing is known of how concept 'my cat' looks" in refused.details) == (40002, True)


def encoded(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95)
    return out.getvalue()


FILTERS = {
    "geo": ([{"geo_point": {"longitude": -29.0, "latitude": 40.0, "geo_limit": 100}}], True),
    "geo too far": ([{"geo_point": {"longitude": -29.0, "latitude": 40.0, "geo_limit": 80}}], False),
    "concept": ([{"concepts": [{"name": "dog", "value": 1}]}], True),
    "negative concept": ([{"concepts": [{"name": "dog", "value": 0}]}], False),
    "either concept": ([{"concepts": [{"name": "deer", "value": 1}, {"name": "dog", "value": 1}]}], True),
    "both concepts": ([{"concepts": [{"name": n, "value": 1}]} for n in ("dog", "deer")], False),
    "metadata": ([{"metadata": {"Breed": "Saint Bernard"}}], True),
    "nested metadata": ([{"metadata": {"another-key": {"inner-key": "inner-value"}}}], True),
    "type and status": (
        [{"input_types": ["image"], "concepts": [{"id": "dog", "value": 1}]}, {"input_status_code": 30000}],
        True,
    ),
    "another type": ([{"input_types": ["text", "audio", "video"]}], False),
    "dataset": ([{"input_dataset_ids": ["pets"]}], True),
    "unknown dataset": ([{"input_dataset_ids": ["random_dataset"]}], False),
}


def test_every_filter_of_the_package_finds_the_dog_or_nothing(server, app_id):
    found = {
        name: hit_ids(search(server, app_id, top_k=10).query(filters=asked)) for name, (asked, _) in FILTERS.items()
    }
    assert found == {name: ["dog"] if is_found else [] for name, (_, is_found) in FILTERS.items()}
    either = search(server, app_id).query(filters=[{"input_types": ["text", "audio"], "input_status_code": 30000}])
    assert len(hit_ids(either)) == 5  # types and status are OR-ed


def test_the_package_pages_and_is_told_when_it_asks_too_far(server, app_id):
    paged = search(server, app_id, pagination=True)
    assert [len(page.hits) for page in paged.query(filters=[{"input_types": ["image"]}], page_no=2, per_page=2)] == [2]
    assert len(hit_ids(paged.query())) == 5
    assert len(hit_ids(search(server, app_id, top_k=3).query())) == 3
    with pytest.raises(UserError, match="current pagination settings exceed the limit"):
        list(paged.query(page_no=1_000_000, per_page=1000))


@pytest.mark.parametrize("face", FACES)
def test_searches_are_saved_run_by_id_changed_and_deleted(server, app_id, face):
    client = Client(face, server.base, TOKEN, app_id)
    query = r.Query(filters=[r.Filter(annotation=r.Annotation(data=r.Data(concepts=[r.Concept(id="dog", value=1)])))])
    client.must("PostInputsSearches", searches=[r.Search(id=f"dogs-{face}", save=True, query=query)])
    [hit] = client.must("PostSearchesByID", id=f"dogs-{face}").hits
    assert (hit.input.id, hit.score, hit.app_id) == ("dog", 1, app_id)
    assert hit.input.data.image.url.startswith(server.base)
    assert client.must("GetSearch", id=f"dogs-{face}").search.query == query
    renamed = r.Search(id=f"dogs-{face}", name="All dogs")
    client.must("PatchInputsSearches", searches=[renamed], action="overwrite")
    client.must("PatchSearches", searches=[renamed], action="overwrite")
    assert "All dogs" in [each.name for each in client.must("ListSearches").searches]
    counted = client.must("PostInputsSearches", searches=[r.Search(query=query), r.Search()], only_count=True)
    assert [each.estimated_total for each in counted.hit_counts] == [1, 5]
    client.must("PostAnnotationsSearches", searches=[r.Search(id=f"notes-{face}", save=True, query=query)])
    client.must("PatchAnnotationsSearches", searches=[r.Search(id=f"notes-{face}", name="n")], action="overwrite")
    [note] = client.must("PostAnnotationsSearches", searches=[r.Search(query=query)]).hits
    assert note.annotation.data.concepts[0].name == "dog"
    for name in ("dogs", "notes"):
        client.must("DeleteSearch", id=f"{name}-{face}")
    assert client.ask("GetSearch", id=f"dogs-{face}").status.code == codes.CONN_DOES_NOT_EXIST


@pytest.mark.parametrize("face", FACES)
def test_the_older_call_finds_the_same_by_a_query_and_by_searches(server, app_id, face):
    client = Client(face, server.base, TOKEN, app_id)
    breed = struct_pb2.Struct()
    breed.update({"Breed": "Saint Bernard"})
    dog = r.Query(ands=[r.And(input=r.Input(data=r.Data(metadata=breed)))])
    [hit] = client.must("PostSearches", query=dog).hits
    assert (hit.input.id, hit.score) == ("dog", 1)
    labelled = r.Query(
        filters=[r.Filter(annotation=r.Annotation(data=r.Data(concepts=[r.Concept(id="dog", value=1)])))]
    )
    assert client.must("PostSearches", searches=[r.Search(query=labelled)]).hits[0].input.id == "dog"
    pages = [client.must("PostSearches", pagination={"page": page, "per_page": 2}).hits for page in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [2, 2, 1, 0]
    assert len({hit.input.id for page in pages for hit in page}) == 5
    refused = client.ask("PostSearches", searches=[r.Search(), r.Search()]).status
    assert refused.code == codes.SEARCH_INVALID_REQUEST


@pytest.mark.parametrize("face", FACES)
def test_annotation_filters_choose_what_a_version_freezes(server, app_id, face):
    client = Client(face, server.base, TOKEN, app_id)
    query = r.Query(filters=[r.Filter(annotation=r.Annotation(data=r.Data(concepts=[r.Concept(id="dog", value=1)])))])
    wanted = r.AnnotationFilter(id=f"dogs-{face}", search=r.Search(query=query))
    client.must("PostAnnotationFilters", annotation_filters=[wanted])
    client.must("PatchAnnotationFilters", annotation_filters=[wanted], action="overwrite")
    assert client.must("GetAnnotationFilter", annotation_filter_id=wanted.id).annotation_filter.search.query == query
    assert wanted.id in [each.id for each in client.must("ListAnnotationFilters").annotation_filters]
    config = r.AnnotationFilterConfig(annotation_filter=r.AnnotationFilter(id=wanted.id), ignore_empty_inputs=True)
    [made] = client.must(
        "PostDatasetVersions", dataset_id="pets", dataset_versions=[r.DatasetVersion(annotation_filter_config=config)]
    ).dataset_versions
    assert made.annotation_filter_config.annotation_filter.search.query == query
    client.must("DeleteAnnotationFilters", annotation_filter_ids=[wanted.id])


def test_json_as_the_documentation_has_it(server, app_id):
    def ask(path: str, body: dict) -> dict:
        address = f"{server.base}/v2/users/lehr/apps/{app_id}/{path}"
        return httpx.post(address, json=body, headers={"Authorization": f"Key {TOKEN}"}, timeout=30).json()

    by_name = {
        "searches": [{"query": {"filters": [{"annotation": {"data": {"concepts": [{"name": "dog", "value": 1}]}}}]}}]
    }
    hits = ask("annotations/searches", by_name)["hits"]
    assert [(hit["score"], hit["input"]["id"]) for hit in hits] == [(1, "dog")]
    negated = {
        "searches": [{"query": {"filters": [{"negate": True, **by_name["searches"][0]["query"]["filters"][0]}]}}]
    }
    assert len(ask("inputs/searches", negated)["hits"]) == 4
    legacy = {"query": {"ands": [{"input": {"data": {"metadata": {"Breed": "Saint Bernard"}}}}]}}
    assert [hit["input"]["id"] for hit in ask("searches", legacy)["hits"]] == ["dog"]
    box = [{"geo_point": {"longitude": -31, "latitude": 39}}, {"geo_point": {"longitude": -29, "latitude": 41}}]
    in_box = {"searches": [{"query": {"filters": [{"annotation": {"data": {"geo": {"geo_box": box}}}}]}}]}
    assert [hit["input"]["id"] for hit in ask("inputs/searches", in_box)["hits"]] == ["dog"]
    unfit = {"searches": [{"query": {"filters": [{"annotation": {"data": {"geo": {"geo_box": box[:1]}}}}]}}]}
    refused = ask("inputs/searches", unfit)["status"]
    assert refused["code"] == 40002
    assert "needs two corners" in refused["details"]
    ranked = {"searches": [{"query": {"ranks": [{"annotation": {"input_id": "dog"}}]}}]}
    assert "base workflow" in ask("inputs/searches", ranked)["status"]["details"]


def test_a_stranger_finds_nothing_at_all(server, app_id):
    address = f"{server.base}/v2/users/lehr/apps/{app_id}/inputs/searches"
    answer = httpx.post(address, json={"searches": [{}]}, headers={"Authorization": "Key wrong"}, timeout=30).json()
    assert answer["status"]["code"] == codes.CONN_KEY_INVALID
    assert answer["hits"] == []


@pytest.mark.slow
def test_the_package_ranks_by_a_picture_with_the_built_in_base(server):
    app = User(user_id="lehr", base_url=server.base, pat=TOKEN).create_app("rank-story", base_workflow="General")
    upload(server, app, "rank-story")
    red = picture((205, 45, 40))

    client = Client(GRPC, server.base, TOKEN, "rank-story")
    rank = r.Rank(annotation=r.Annotation(data=r.Data(image=r.Image(base64=red))))

    def is_indexed() -> bool:
        answer = client.ask("PostInputsSearches", searches=[r.Search(query=r.Query(ranks=[rank]))])
        assert answer.status.code in (codes.SUCCESS, codes.MODEL_LOADING), answer.status
        return len(answer.hits) == 5

    wait_until(is_indexed, seconds=240)
    best = search(server, "rank-story", top_k=1, metric="euclidean").query(ranks=[{"image_bytes": red}])
    assert hit_ids(best) == ["dog"]
    among = search(server, "rank-story", top_k=10).query(
        ranks=[{"image_bytes": red}], filters=[{"concepts": [{"name": "dog", "value": 1}]}]
    )
    assert hit_ids(among) == ["dog"]
