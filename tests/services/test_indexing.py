"""What arrives is embedded, once and completely, whatever happens on the way."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_embedder import make_base, publish, write_embedder

from lehr.jobs.runs import perform
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.services.annotations import Annotations
from lehr.services.bundles import Bundles
from lehr.services.indexing import KIND, Indexing, Watch
from lehr.services.ingest import Ingest
from lehr.services.inputs import Inputs, Upload
from lehr.services.neighbours import Neighbours
from lehr.serving.decoders import DecoderPool
from lehr.serving.occasional import Occasional
from lehr.serving.predictors import Predictors
from lehr.store import backlog
from lehr.store import embeddings as rows
from lehr.store import inputs as input_rows
from lehr.store.versions import ModelVersionRef

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "white": (240, 240, 240)}


@pytest.fixture(scope="module")
def decoders() -> Iterator[DecoderPool]:
    with DecoderPool(1) as pool:
        yield pool


@pytest.fixture(scope="module")
def predictors() -> Iterator[Predictors]:
    with Predictors(1) as started:
        yield started


@pytest.fixture(scope="module")
def embedder_folder(tmp_path_factory) -> Path:
    return write_embedder(tmp_path_factory.mktemp("embedder") / "bundle")


class Shop:
    """The services of one app, as server and worker have them."""

    def __init__(self, db, blobs, queue, decoders, predictors, home: Path, ref: AppRef) -> None:
        self.db, self.queue, self.ref = db, queue, ref
        self.bundles = Bundles(db=db, blobs=blobs, cache=home / "bundles")
        self.inputs = Inputs(db=db, blobs=blobs, queue=queue)
        self.annotations = Annotations(db=db)
        self.ingest = Ingest(db=db, blobs=blobs, queue=queue, decoders=decoders, fetcher=None)
        self.watch = Watch(db=db, queue=queue)
        self.indexing = Indexing(
            db=db,
            blobs=blobs,
            queue=queue,
            bundles=self.bundles,
            decoders=decoders,
            predictor=Occasional(lambda: Predictors(1)),
        )
        self.neighbours = Neighbours(db=db, bundles=self.bundles, decoders=decoders, predictors=predictors)

    def add(self, **pictures: bytes) -> None:
        upload = [
            resources_pb2.Input(id=name, data=resources_pb2.Data(image=resources_pb2.Image(base64=data)))
            for name, data in pictures.items()
        ]
        self.inputs.post(self.ref, self.ref.user_id, Upload(inputs=upload))

    def work(self, *kinds: str) -> int:
        """Runs every job that is ready; answers how many."""
        num = 0
        runs = {"ingest": self.ingest.run, KIND: self.indexing.run}
        while job := self.queue.claim("test", kinds=list(kinds or runs)):
            perform(self.queue, job, runs[job.kind], {KIND: self.indexing.failed})
            num += 1
        return num

    def serving(self) -> rows.Generation:
        with self.db.read() as tx:
            return rows.serving(tx, self.ref)

    def key_of(self, input_id: str) -> int:
        with self.db.read() as tx:
            return input_rows.keys_of(tx, self.ref, [input_id])[input_id]

    def nearest(self, data: bytes, k: int = 1, **options) -> list[str]:
        [query] = self.neighbours.embed(self.ref, [data])
        found = self.neighbours.nearest(self.ref, query, among=None, k=k, **options)
        with self.db.read() as tx:
            ids = input_rows.ids_of(tx, [each.input_key for each in found])
        return [ids[each.input_key] for each in found]


@pytest.fixture
def shop(db, blobs, queue, decoders, predictors, tmp_path, ref, embedder_folder) -> Shop:
    shop = Shop(db, blobs, queue, decoders, predictors, tmp_path, ref)
    vref = publish(db, shop.bundles, embedder_folder, ModelVersionRef(ref, "colours", "first"))
    make_base(db, ref, vref, "by-colour")
    return shop


def plain(colour: tuple[int, int, int], seed: int = 0, size: int = 24) -> bytes:
    noise = np.random.default_rng(seed).integers(-15, 16, (size, size, 3))
    out = io.BytesIO()
    Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def two_halves(left: tuple[int, int, int], right: tuple[int, int, int]) -> bytes:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40], pixels[:, 40:] = left, right
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


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
    db, blobs, queue, decoders, predictors, tmp_path, ref, embedder_folder
):
    shop = Shop(db, blobs, queue, decoders, predictors, tmp_path, ref)
    shop.add(red=plain(COLOURS["red"]), green=plain(COLOURS["green"]))
    shop.work()
    assert shop.serving() is None
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
        assert best.annotation_key == backlog_key(tx, made.annotations[1].id)
    assert best.score > 0.99
    assert shop.serving().last_seq == 4


def backlog_key(tx, annotation_id: str) -> int:
    from sqlalchemy import select

    from lehr.store.tables import input_annotations

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
