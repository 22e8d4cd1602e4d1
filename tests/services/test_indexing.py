"""What arrives is embedded, once and completely, whatever happens on the way."""

from __future__ import annotations

from dataclasses import replace

from films import BLUE, GREEN, RED, colours
from index_shop import COLOURS, plain, two_halves
from small_embedder import make_base, publish
from sqlalchemy import select

from lehr.jobs.runs import perform
from lehr.protocol import resources_pb2
from lehr.services.indexing import KIND
from lehr.services.inputs import Upload
from lehr.services.paging import Paging
from lehr.store import backlog
from lehr.store import embeddings as rows
from lehr.store import inputs as input_rows
from lehr.store.tables import input_annotations
from lehr.store.versions import ModelVersionRef


def box(top: float, left: float, bottom: float, right: float) -> resources_pb2.Region:
    info = resources_pb2.RegionInfo(
        bounding_box=resources_pb2.BoundingBox(top_row=top, left_col=left, bottom_row=bottom, right_col=right)
    )
    return resources_pb2.Region(region_info=info)


def test_an_arrival_is_found_by_a_picture_like_it(shop):
    shop.add(**{name: plain(colour) for name, colour in COLOURS.items()})
    shop.work()
    for name, colour in COLOURS.items():
        assert shop.nearest(plain(colour, seed=9), k=4)[0] == name
    assert shop.serving().last_seq == 4
    assert shop.serving().embedder.version_id == "first"


def test_inputs_that_were_there_before_the_base_workflow_are_embedded_with_the_first_after_it(
    bare_shop, embedder_folder
):
    shop, ref = bare_shop, bare_shop.ref
    shop.add(red=plain(COLOURS["red"]), green=plain(COLOURS["green"]))
    shop.work()
    assert shop.serving() is None
    db = shop.db
    make_base(db, ref, publish(db, shop.bundles, embedder_folder, ModelVersionRef(ref, "colours", "v")), "w")
    shop.add(blue=plain(COLOURS["blue"]))
    shop.work()
    assert set(shop.nearest(plain(COLOURS["red"]), k=5)) == {"red", "green", "blue"}


def test_a_region_is_found_by_what_is_in_it(shop):
    shop.add(flag=two_halves(COLOURS["red"], COLOURS["blue"]), other=plain(COLOURS["white"]))
    shop.work()
    made = shop.annotations.post(
        shop.ref,
        shop.ref.user_id,
        [
            resources_pb2.Annotation(input_id="flag", data=resources_pb2.Data(regions=[box(0, 0, 1, 0.5)])),
            resources_pb2.Annotation(input_id="flag", data=resources_pb2.Data(regions=[box(0, 0.5, 1, 1)])),
        ],
    )
    assert shop.watch.once() == 1
    shop.work()
    [query] = shop.neighbours.embed(shop.ref, [plain(COLOURS["blue"])])
    [best] = shop.neighbours.nearest(shop.ref, query, among=None, k=1, of="annotations")
    with shop.db.read() as tx:
        assert best.annotation_key == annotation_key(tx, made.annotations[1].id)
    assert best.score > 0.99
    assert shop.serving().last_seq == 4


def annotation_key(tx, annotation_id: str) -> int:
    return tx.execute(select(input_annotations.c.key).where(input_annotations.c.id == annotation_id)).scalar_one()


def test_what_is_deleted_is_found_no_more(shop):
    shop.add(**{name: plain(colour) for name, colour in COLOURS.items()})
    shop.work()
    shop.inputs.delete(shop.ref, ["red"])
    assert "red" not in shop.nearest(plain(COLOURS["red"]), k=4)
    with shop.db.read() as tx:
        assert rows.count(tx, shop.serving().key) == 3


def test_an_input_whose_bytes_are_gone_is_an_error_of_its_own(shop, blobs):
    shop.add(red=plain(COLOURS["red"]), blue=plain(COLOURS["blue"]))
    shop.work("ingest")
    with shop.db.read() as tx:
        sha = input_rows.stored(tx, shop.ref, ["red"])["red"].content_sha
    blobs.delete(sha)
    shop.work()
    assert shop.nearest(plain(COLOURS["red"]), k=5) == ["blue"]
    with shop.db.read() as tx:
        assert backlog.counts(tx, shop.serving()) == backlog.Counts(waiting=0, failed=1)
    count = shop.inputs.count(shop.ref)
    assert (count.processed, count.reindexed, count.reindex_errors) == (2, 1, 1)
    [failed] = shop.inputs.list_of(shop.ref, Paging(1, 10), status_code=30502)
    assert (failed.id, failed.status.code) == ("red", 30502)
    assert failed.status.details
    assert [each.id for each in shop.inputs.list_of(shop.ref, Paging(1, 10), status_code=30500)] == ["blue"]
    assert shop.inputs.list_of(shop.ref, Paging(1, 10), status_code=30501) == []


def test_a_second_job_leaves_the_work_to_the_one_that_runs(shop):
    shop.add(red=plain(COLOURS["red"]))
    shop.work("ingest")
    running = shop.queue.claim("one", kinds=[KIND])
    with shop.db.write() as tx:
        shop.queue.add(tx, KIND, running.payload, running.subject)
    assert shop.work() == 1
    assert shop.serving().last_seq == 0
    perform(shop.queue, running, shop.indexing.run, {})
    assert shop.serving().last_seq == 1


def test_a_job_whose_turn_is_over_goes_on_until_another_is_due(shop, monkeypatch):
    monkeypatch.setattr("lehr.services.indexing.FILL", 7)
    monkeypatch.setattr("lehr.services.indexing.PAGE", 5)
    monkeypatch.setattr("lehr.services.indexing.LOOK_SECONDS", 0.0)
    hasty = replace(shop.indexing, slice_seconds=0.0)
    shop.add(**{f"p{number}": plain((number * 5, 100, 50), seed=number) for number in range(40)})
    shop.work("ingest")
    with shop.db.write() as tx:
        other = shop.queue.add(tx, "other", {}, "somebody else's")
    running = shop.queue.claim("one", kinds=[KIND])
    perform(shop.queue, running, hasty.run, {})
    assert shop.serving().last_seq == 0
    shop.queue.claim("two", job_id=other)
    following = shop.queue.claim("one", kinds=[KIND])
    assert following is not None, "it queued another one behind the other job"
    perform(shop.queue, following, hasty.run, {})
    assert shop.serving().last_seq == 40
    assert shop.queue.claim("one", kinds=[KIND]) is None


def test_a_run_that_dies_half_way_loses_nothing_and_repeats_nothing(shop, monkeypatch):
    pictures = {f"p{number}": plain((number * 2 % 255, 100, 50), seed=number) for number in range(100)}
    shop.add(**pictures)
    shop.work("ingest")
    settle = backlog.settle
    calls = []

    def dies_once(tx, key, settled):
        calls.append(len(settled))
        settle(tx, key, settled)
        if len(calls) == 1:
            raise OSError("the machine went away before the commit")

    monkeypatch.setattr(backlog, "settle", dies_once)
    monkeypatch.setattr("lehr.services.indexing.ROUND_SECONDS", 0.0)
    monkeypatch.setattr("lehr.jobs.retry.LONGEST_SECONDS", 0.0)
    shop.work()
    with shop.db.read() as tx:
        vectors = rows.read(tx, shop.serving().key, after=0, limit=1000)
    assert sorted(vectors.input_keys) == sorted({shop.key_of(name) for name in pictures})
    assert list(vectors.seqs) == list(range(1, 101))
    assert len(calls) > 2


def test_every_frame_of_a_video_is_found_with_its_time(shop):
    shown = colours((RED, 2.0), (GREEN, 2.0), (BLUE, 1.0))
    video = resources_pb2.Data(video=resources_pb2.Video(base64=shown))
    upload = Upload(inputs=[resources_pb2.Input(id="film", data=video)])
    shop.inputs.post(shop.ref, shop.ref.user_id, upload)
    shop.add(white=plain(COLOURS["white"]))
    shop.work()
    with shop.db.read() as tx:
        found = rows.vectors_of(tx, shop.serving().key, [shop.key_of("film")])
    assert found.frames_ms.tolist() == [500, 1500, 2500, 3500, 4500]
    for colour, times in ((RED, (500, 1500)), (GREEN, (2500, 3500)), (BLUE, (4500,))):
        [query] = shop.neighbours.embed(shop.ref, [plain(colour, seed=3)])
        nearest, other = shop.neighbours.nearest(shop.ref, query, among=None, k=5)
        assert (nearest.input_key, other.input_key) == (shop.key_of("film"), shop.key_of("white"))
        assert nearest.frame_ms in times


def test_a_region_of_one_frame_is_found_by_what_is_in_it(shop):
    shown = colours((RED, 1.0), (BLUE, 1.0))
    video = resources_pb2.Data(video=resources_pb2.Video(base64=shown))
    shop.inputs.post(shop.ref, shop.ref.user_id, Upload(inputs=[resources_pb2.Input(id="film", data=video)]))
    shop.work()
    info = resources_pb2.FrameInfo(index=1, time=1500)
    frame = resources_pb2.Frame(frame_info=info, data=resources_pb2.Data(regions=[box(0.2, 0.2, 0.8, 0.8)]))
    note = resources_pb2.Annotation(input_id="film", data=resources_pb2.Data(frames=[frame]))
    shop.annotations.post(shop.ref, shop.ref.user_id, [note])
    shop.watch.once()
    shop.work()
    [query] = shop.neighbours.embed(shop.ref, [plain(BLUE)])
    [found] = shop.neighbours.nearest(shop.ref, query, among=None, k=1, of="annotations")
    assert (found.input_key, found.frame_ms) == (shop.key_of("film"), 1500)
    assert found.score > 0.99
