from contextlib import contextmanager

import pytest

from lehr.errors import InvalidInput, InvalidRequest, NotFound
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.structs import from_struct, to_struct
from lehr.services.add_jobs import AddJobs
from lehr.services.datasets import Datasets
from lehr.services.inputs import Inputs, Upload
from lehr.services.media import shown
from lehr.services.paging import Paging
from lehr.store import add_jobs as add_job_rows
from lehr.store import annotations as annotation_rows
from lehr.store import concepts as concept_rows
from lehr.store import datasets as dataset_rows
from lehr.store import inputs as input_rows

Input, Data, Concept, Image = resources_pb2.Input, resources_pb2.Data, resources_pb2.Concept, resources_pb2.Image
FIRST = Paging(1, 128)
ANA = "ana"


@pytest.fixture
def inputs(db, blobs, queue) -> Inputs:
    return Inputs(db=db, blobs=blobs, queue=queue)


def image(input_id="", *, data=b"bytes", concepts=(), **more):
    return Input(id=input_id, data=Data(image=Image(base64=data), concepts=concepts), **more)


def by_url(url, input_id="", *, again=False):
    return Input(id=input_id, data=Data(image=Image(url=url, allow_duplicate_url=again)))


def said(message):
    return {concept.id: concept.value for concept in message.data.concepts}


def annotations_of(db, ref, input_id):
    with db.read() as tx:
        return annotation_rows.of_inputs(tx, ref, [input_id])[input_id]


# -- taking in --------------------------------------------------------------------------------------------------------


def test_an_upload_is_answered_at_once_and_its_processing_is_queued_in_the_same_transaction(inputs, db, queue, ref):
    rose, fern = Concept(id="rose", value=1), Concept(id="fern")
    done = inputs.post(ref, ANA, Upload(inputs=[image("a", concepts=[rose, fern]), image()], add_job_id="upload-1"))
    assert done.status.code == status_code_pb2.SUCCESS
    assert [each.status.code for each in done.inputs] == [status_code_pb2.INPUT_DOWNLOAD_PENDING] * 2
    assert done.inputs[0].id == "a"
    assert len(done.inputs[1].id) == 32
    assert done.add_job.id == "upload-1"
    assert (done.add_job.progress.pending_count, done.add_job.status.code) == (2, status_code_pb2.JOB_RUNNING)
    [own] = annotations_of(db, ref, "a")
    assert own.input_level
    assert own.user_id == ANA
    assert own.status.code == status_code_pb2.ANNOTATION_SUCCESS
    assert said(own) == {"rose": 1, "fern": 0}
    with db.read() as tx:
        assert {each.id for each in concept_rows.page(tx, ref, page=1, per_page=9)} == {"rose", "fern"}
    job = queue.claim("worker", kinds=["ingest"])
    assert job.payload == {"user_id": "ana", "app_id": "flowers", "input_ids": [each.id for each in done.inputs]}
    assert queue.claim("worker", kinds=["ingest"]) is None


def test_bytes_are_in_the_blobs_and_neither_in_the_row_nor_in_any_answer(inputs, db, blobs, ref):
    done = inputs.post(ref, ANA, Upload(inputs=[image("a", data=b"0123456789" * 100)]))
    with db.read() as tx:
        stored = input_rows.stored(tx, ref, ["a"])["a"]
    assert blobs.read(stored.content_sha) == b"0123456789" * 100
    for message in (*done.inputs, stored.message, inputs.get(ref, "a")):
        answer = shown(message, ref, "http://here:1")
        assert b"0123456789" not in answer.SerializeToString()
        hosted = answer.data.image.hosted
        assert hosted.prefix == "http://here:1/hosted"
        assert hosted.suffix == f"users/ana/apps/flowers/inputs/image/{stored.content_sha}"
        assert answer.data.image.url == f"{hosted.prefix}/orig/{hosted.suffix}"
        assert "orig" in hosted.sizes
    assert "here" not in str(stored.message)


@pytest.mark.parametrize("number", [0, 129])
def test_a_request_of_none_or_of_129_is_refused_whole(inputs, blobs, ref, number):
    with pytest.raises(InvalidInput, match=f"1 to 128 inputs; this one has {number}"):
        inputs.post(ref, ANA, Upload(inputs=[image() for _ in range(number)]))
    assert inputs.list_of(ref, FIRST) == []
    assert list(blobs.list()) == []


REFUSALS = [
    (Input(id="a/b", data=Data(image=Image(base64=b"x"))), 30104, "'a/b' is not usable"),
    (Input(id="x" * 49, data=Data(image=Image(base64=b"x"))), 30104, "1 to 48"),
    (Input(id="empty"), 30104, "no data"),
    (Input(data=Data(concepts=[Concept(id="rose")])), 30104, "no data"),
    (Input(data=Data(image=Image())), 30104, "neither"),
    (Input(data=Data(image=Image(url="http://a.b/c", base64=b"x"))), 30104, "both"),
    (Input(data=Data(image=Image(base64=b"x"), video=resources_pb2.Video(base64=b"y"))), 30104, "one of them"),
    (Input(data=Data(text=resources_pb2.Text())), 30104, "raw or url"),
    (Input(data=Data(text=resources_pb2.Text(raw="x" * 2**20))), 30104, "at most 1048576"),
    (by_url("file:///etc/passwd"), 30106, "http or https"),
    (by_url("http://[broken"), 30106, "http or https"),
    (by_url("not a url"), 30106, "http or https"),
    (image(concepts=[Concept(value=1)]), 30104, "Concept id ''"),
    (image(concepts=[Concept(id="a/b")]), 30104, "no slashes"),
    (image(concepts=[Concept(id="rose", value=float("nan"))]), 30104, "must be a number"),
    (image(dataset_ids=["nowhere"]), 30104, "'nowhere'"),
]


@pytest.mark.parametrize(("bad", "code", "words"), REFUSALS, ids=[words for _, _, words in REFUSALS])
def test_one_bad_input_gets_a_sentence_and_the_others_are_taken_in(inputs, ref, bad, code, words):
    done = inputs.post(ref, ANA, Upload(inputs=[image("good"), bad], add_job_id="job"))
    assert done.status.code == status_code_pb2.MIXED_STATUS
    assert done.inputs[1].status.code == code
    assert words in done.inputs[1].status.details
    assert [each.id for each in inputs.list_of(ref, FIRST)] == ["good"]
    assert (done.add_job.progress.pending_count, done.add_job.progress.failed_count) == (1, 1)
    alone = inputs.post(ref, ANA, Upload(inputs=[bad]))
    assert alone.status.code == status_code_pb2.FAILURE
    assert words in alone.status.details


def test_a_job_is_there_even_when_every_input_was_refused(inputs, db, queue, ref):
    inputs.post(ref, ANA, Upload(inputs=[Input(id="empty")], add_job_id="all-bad"))
    job = AddJobs(db=db, queue=queue).get(ref, "all-bad")
    assert (job.progress.failed_count, job.status.code) == (1, status_code_pb2.JOB_COMPLETED)


def test_a_taken_id_is_refused_in_exactly_the_words_that_clients_compare_with(inputs, ref, other_ref):
    inputs.post(ref, ANA, Upload(inputs=[image("a", data=b"first")]))
    done = inputs.post(ref, ANA, Upload(inputs=[image("a"), image("b"), image("b")]))
    assert [each.status.details for each in done.inputs] == [
        "Input has a duplicate ID.",
        "",
        "Input has a duplicate ID.",
    ]
    assert [each.status.code for each in done.inputs] == [30100, 30001, 30100]
    assert inputs.post(other_ref, ANA, Upload(inputs=[image("a")])).status.code == status_code_pb2.SUCCESS


def test_a_taken_id_gets_a_suffix_where_the_client_asks_for_that(inputs, ref):
    inputs.post(ref, ANA, Upload(inputs=[image("a"), image("a-1"), image("x" * 48)]))
    orders = [image("a"), image("a"), image("x" * 48), image("new")]
    done = inputs.post(ref, ANA, Upload(inputs=orders, with_suffixes=True))
    assert [each.id for each in done.inputs] == ["a-2", "a", "x" * 46 + "-1", "new"]
    assert [each.status.code for each in done.inputs] == [30001, 30100, 30001, 30001]


def test_the_same_url_twice_is_refused_unless_the_client_allows_it(inputs, ref):
    url = "https://example.com/cat.jpg"
    first = inputs.post(ref, ANA, Upload(inputs=[by_url(url, "a"), by_url(url, "b")]))
    assert [each.status.code for each in first.inputs] == [30001, 30100]
    assert "URL" in first.inputs[1].status.details
    again = inputs.post(ref, ANA, Upload(inputs=[by_url(url, "c"), by_url(url, "d", again=True)]))
    assert [each.status.code for each in again.inputs] == [30100, 30001]
    assert inputs.get(ref, "a").data.image.url == url


def test_texts_are_done_at_once_and_audio_is_kept_with_an_honest_status(inputs, queue, blobs, ref):
    text = Input(id="t", data=Data(text=resources_pb2.Text(raw="hello")))
    captioned = Input(id="c", data=Data(text=resources_pb2.Text(raw="a cat"), image=Image(base64=b"picture")))
    audio = Input(id="s", data=Data(audio=resources_pb2.Audio(base64=b"song")))
    video = Input(id="v", data=Data(video=resources_pb2.Video(base64=b"film")))
    done = inputs.post(ref, ANA, Upload(inputs=[text, captioned, audio, video]))
    assert [each.status.code for each in done.inputs] == [30000, 30001, 30101, 30001]
    assert "audio is not processed" in done.inputs[2].status.details
    assert inputs.get(ref, "t").data.text.raw == "hello"
    assert inputs.get(ref, "c").data.text.raw == "a cat"
    assert blobs.read(inputs.get(ref, "s").data.audio.hosted.suffix) == b"song"
    assert queue.claim("worker", kinds=["ingest"]).payload["input_ids"] == ["c", "v"]


def test_regions_sent_with_an_input_become_annotations_of_their_own(inputs, db, ref):
    box = resources_pb2.BoundingBox(top_row=0.1, left_col=0.1, bottom_row=0.5, right_col=0.5)
    region = resources_pb2.Region(
        region_info=resources_pb2.RegionInfo(bounding_box=box), data=Data(concepts=[Concept(id="petal", value=1)])
    )
    order = image("a", concepts=[Concept(id="rose", value=1)])
    order.data.regions.append(region)
    inputs.post(ref, ANA, Upload(inputs=[order]))
    whole, part = annotations_of(db, ref, "a")
    assert whole.input_level
    assert not part.input_level
    assert said(part.data.regions[0]) == {"petal": 1}
    assert part.data.regions[0].id
    assert not inputs.get(ref, "a").data.regions
    box.top_row = 0.9
    order.id = "b"
    order.data.regions[0].region_info.bounding_box.CopyFrom(box)
    [bad] = inputs.post(ref, ANA, Upload(inputs=[order])).inputs
    assert "top_row 0.9 must be less than bottom_row 0.5" in bad.status.details


def test_inputs_go_into_the_data_sets_they_name(inputs, db, ref):
    Datasets(db=db).create(ref, [resources_pb2.Dataset(id="train"), resources_pb2.Dataset(id="test")])
    inputs.post(
        ref,
        ANA,
        Upload(inputs=[image("a", dataset_ids=["train"]), image("b", dataset_ids=["test", "train"]), image("c")]),
    )
    with db.read() as tx:
        assert dataset_rows.input_ids_in(tx, ref, "train", ["a", "b", "c"]) == {"a", "b"}
        assert dataset_rows.input_ids_in(tx, ref, "test", ["a", "b", "c"]) == {"b"}


def test_what_a_client_says_of_hosting_and_sizes_is_not_believed(inputs, ref):
    order = image("a")
    order.data.image.hosted.suffix = "users/eve/apps/secret/inputs/image/0"
    order.data.image.image_info.width = 7
    inputs.post(ref, ANA, Upload(inputs=[order]))
    stored = inputs.get(ref, "a").data.image
    assert "eve" not in str(stored)
    assert not stored.HasField("image_info")


def test_a_crash_between_bytes_and_rows_leaves_no_row_and_a_repeat_brings_everything(
    inputs, db, blobs, queue, ref, monkeypatch
):
    @contextmanager
    def power_cut():
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(db, "write", power_cut)
    with pytest.raises(KeyboardInterrupt):
        inputs.post(ref, ANA, Upload(inputs=[image("a", data=b"lost?")]))
    monkeypatch.undo()
    assert inputs.list_of(ref, FIRST) == []
    assert len(list(blobs.list())) == 1
    inputs.post(ref, ANA, Upload(inputs=[image("a", data=b"lost?")]))
    assert len(list(blobs.list())) == 1
    assert blobs.read(inputs.get(ref, "a").data.image.hosted.suffix) == b"lost?"


def test_a_failure_within_the_transaction_leaves_nothing_behind(inputs, db, queue, ref, monkeypatch):
    def fail(*args, **more):
        raise RuntimeError("disk full")

    monkeypatch.setattr(queue, "add", fail)
    with pytest.raises(RuntimeError):
        inputs.post(ref, ANA, Upload(inputs=[image("a", concepts=[Concept(id="rose")])], add_job_id="j"))
    assert inputs.list_of(ref, FIRST) == []
    with db.read() as tx:
        assert concept_rows.count(tx, ref) == 0
        assert add_job_rows.get(tx, ref, "j") is None


# -- reading, deleting, counting --------------------------------------------------------------------------------------


def test_an_empty_delete_deletes_nothing(inputs, ref):
    inputs.post(ref, ANA, Upload(inputs=[image("a"), image("b")]))
    assert inputs.delete(ref, []) == 0
    assert [each.id for each in inputs.list_of(ref, FIRST)] == ["a", "b"]
    with pytest.raises(NotFound):
        inputs.delete_one(ref, "")
    assert len(inputs.list_of(ref, FIRST)) == 2


def test_what_is_deleted_does_not_exist_with_the_code_clients_wait_for(inputs, db, ref, other_ref):
    inputs.post(ref, ANA, Upload(inputs=[image("a", concepts=[Concept(id="rose", value=1)]), image("b")]))
    assert inputs.delete(other_ref, ["a"]) == 0
    assert inputs.delete(ref, ["a", "unknown"]) == 1
    with pytest.raises(NotFound) as caught:
        inputs.get(ref, "a")
    assert caught.value.code == 11101
    with db.read() as tx:
        assert annotation_rows.count(tx, ref) == 0
    with pytest.raises(NotFound):
        inputs.delete_one(ref, "a")


def test_any_number_of_inputs_can_be_deleted_at_once(inputs, ref):
    inputs.post(ref, ANA, Upload(inputs=[image("a"), image("b")]))
    assert inputs.delete(ref, [f"n{number}" for number in range(40_000)] + ["a", "b"]) == 2


def test_a_list_is_narrowed_by_ids_and_status_and_ends_with_an_empty_page(inputs, ref, other_ref):
    texts = [Input(id=f"t{number}", data=Data(text=resources_pb2.Text(raw="x"))) for number in range(3)]
    inputs.post(ref, ANA, Upload(inputs=[*texts, image("a")]))

    def ids(*args, **more):
        return [each.id for each in inputs.list_of(ref, *args, **more)]

    assert ids(Paging(1, 2)) == ["t0", "t1"]
    assert ids(Paging(2, 2)) == ["t2", "a"]
    assert ids(Paging(3, 2)) == []
    assert ids(FIRST, ids=["a", "t1", "unknown"]) == ["t1", "a"]
    assert ids(FIRST, ids=["a", "t1"], status_code=30000) == ["t1"]
    assert inputs.list_of(other_ref, FIRST) == []
    with pytest.raises(InvalidInput, match="at most 1000"):
        inputs.list_of(ref, FIRST, ids=["x"] * 1001)


def test_inputs_are_counted_by_what_became_of_them(inputs, ref):
    text = Input(data=Data(text=resources_pb2.Text(raw="x")))
    audio = Input(data=Data(audio=resources_pb2.Audio(base64=b"song")))
    inputs.post(ref, ANA, Upload(inputs=[text, image(), image(), audio]))
    counts = inputs.count(ref)
    assert (counts.processed, counts.to_process, counts.processing, counts.errors) == (1, 2, 0, 1)


# -- changing ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def labelled(inputs, ref):
    order = image("a", concepts=[Concept(id="rose", value=1), Concept(id="fern", value=1)])
    order.data.metadata.CopyFrom(to_struct({"camera": "x", "lens": {"f": 2}}))
    inputs.post(ref, ANA, Upload(inputs=[order]))
    return inputs


def change(concepts=(), metadata=None):
    made = Input(id="a", data=Data(concepts=concepts))
    if metadata is not None:
        made.data.metadata.CopyFrom(to_struct(metadata))
    return made


@pytest.mark.parametrize(
    ("action", "concepts", "after"),
    [
        ("merge", [Concept(id="rose", value=0), Concept(id="lily", value=1)], {"rose": 0, "fern": 1, "lily": 1}),
        ("overwrite", [Concept(id="lily", value=1)], {"lily": 1}),
        ("remove", [Concept(id="fern")], {"rose": 1}),
    ],
)
def test_patched_concepts_are_the_same_in_the_input_and_in_its_annotation(labelled, db, ref, action, concepts, after):
    [done] = labelled.patch(ref, ANA, [change(concepts)], action)
    [own] = annotations_of(db, ref, "a")
    assert said(done) == said(labelled.get(ref, "a")) == said(own) == after
    with db.read() as tx:
        assert concept_rows.get(tx, ref, "fern") is not None
        assert not after.get("lily") or concept_rows.get(tx, ref, "lily").name == "lily"


def test_metadata_is_merged_deeply_overwritten_or_removed_by_key(labelled, ref):
    def meta(action, value):
        [done] = labelled.patch(ref, ANA, [change(metadata=value)], action)
        return from_struct(done.data.metadata)

    assert meta("merge", {"lens": {"mm": 50}}) == {"camera": "x", "lens": {"f": 2, "mm": 50}}
    assert meta("remove", {"lens": {"f": True}}) == {"camera": "x", "lens": {"mm": 50}}
    assert meta("overwrite", {"y": 1}) == {"y": 1}
    assert said(labelled.get(ref, "a")) == {"rose": 1, "fern": 1}


def test_a_patch_keeps_the_picture_the_status_and_the_memberships(labelled, ref):
    before = labelled.get(ref, "a")
    order = Input(id="a", status=resources_pb2.Input().status, dataset_ids=["elsewhere"])
    order.status.code = 30000
    order.data.image.url = "https://example.com/other.png"
    order.data.image.base64 = b"other"
    order.data.image.hosted.suffix = "0" * 64
    order.data.concepts.append(Concept(id="rose", value=0))
    [after] = labelled.patch(ref, ANA, [order], "overwrite")
    assert after.data.image == before.data.image
    assert (after.status, after.created_at, list(after.dataset_ids)) == (before.status, before.created_at, [])
    assert said(after) == {"rose": 0}


def test_a_patch_is_all_or_nothing_and_says_what_is_wrong(labelled, ref):
    good = change([Concept(id="rose", value=0)])
    with pytest.raises(NotFound, match="'nobody'"):
        labelled.patch(ref, ANA, [good, Input(id="nobody")], "merge")
    with pytest.raises(InvalidRequest, match="merge, overwrite, remove"):
        labelled.patch(ref, ANA, [good], "delete")
    with pytest.raises(InvalidInput, match="PatchAnnotations"):
        labelled.patch(ref, ANA, [Input(id="a", data=Data(regions=[resources_pb2.Region()]))], "merge")
    with pytest.raises(InvalidInput, match="at most 1048576"):
        labelled.patch(ref, ANA, [change(metadata={"x": "y" * 2**20})], "merge")
    assert said(labelled.get(ref, "a")) == {"rose": 1, "fern": 1}


def test_the_first_concepts_of_an_input_come_by_patch_too(inputs, db, ref):
    inputs.post(ref, ANA, Upload(inputs=[image("a")]))
    assert annotations_of(db, ref, "a") == []
    inputs.patch(ref, ANA, [change([Concept(id="rose", value=1)])], "merge")
    [own] = annotations_of(db, ref, "a")
    assert own.input_level
    assert said(own) == {"rose": 1}


# -- uploads ----------------------------------------------------------------------------------------------------------


def test_a_cancelled_upload_waits_for_nothing_any_more(inputs, db, queue, ref):
    jobs = AddJobs(db=db, queue=queue, wait_seconds=0)
    text = Input(id="t", data=Data(text=resources_pb2.Text(raw="x")))
    inputs.post(ref, ANA, Upload(inputs=[image("a"), text], add_job_id="job"))
    assert jobs.get(ref, "job").progress.pending_count == 1
    done = jobs.cancel(ref, "job")
    assert (done.progress.pending_count, done.progress.failed_count, done.progress.success_count) == (0, 1, 1)
    assert jobs.get(ref, "job").status.code == status_code_pb2.JOB_CANCELLED
    assert queue.claim("worker", kinds=["ingest"]) is None
    assert "cancelled" in inputs.get(ref, "a").status.details
    with pytest.raises(NotFound):
        jobs.cancel(AppRef("ana", "cars"), "job")


def test_several_uploads_may_share_one_job_and_jobs_are_listed_newest_first(inputs, db, queue, ref):
    jobs = AddJobs(db=db, queue=queue, wait_seconds=0)
    for job_id in ("one", "two", "one"):
        inputs.post(ref, ANA, Upload(inputs=[image(), image()], add_job_id=job_id))
    listed = jobs.list_of(ref, FIRST)
    assert [(each.id, each.progress.pending_count) for each in listed] == [("two", 2), ("one", 4)]
    with pytest.raises(NotFound):
        jobs.get(ref, "three")
