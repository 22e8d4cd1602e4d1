"""The services of one app that indexing is made of, as server and worker have them, for tests."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from lehr.index.library import Library
from lehr.jobs.runs import perform
from lehr.learn.data.packed import Packed
from lehr.learn.data.packs import Packs
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.services.annotations import Annotations
from lehr.services.bundles import Bundles
from lehr.services.indexing import KIND, Indexing, Watch
from lehr.services.ingest import Ingest
from lehr.services.inputs import Inputs, Upload
from lehr.services.neighbours import Neighbours
from lehr.serving.occasional import Occasional
from lehr.serving.predictors import Predictors
from lehr.store import embeddings as rows
from lehr.store import inputs as input_rows

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "white": (240, 240, 240)}


class Shop:
    """The services of one app, as server and worker have them."""

    def __init__(self, *, db, blobs, queue, machines, home: Path, ref: AppRef) -> None:
        decoders, predictors = machines
        self.db, self.queue, self.ref = db, queue, ref
        self.bundles = Bundles(db=db, blobs=blobs, cache=home / "bundles")
        self.inputs = Inputs(db=db, blobs=blobs, queue=queue)
        self.annotations = Annotations(db=db)
        self.ingest = Ingest(db=db, blobs=blobs, queue=queue, decoders=decoders, fetcher=None)
        self.watch = Watch(db=db, queue=queue)
        self.packs = Packs(home / "packs")
        self.indexing = Indexing(
            db=db,
            blobs=blobs,
            queue=queue,
            bundles=self.bundles,
            decoders=decoders,
            predictor=Occasional(lambda: Predictors(1), idle_seconds=5),
            packed=Packed(packs=self.packs),
        )
        self.neighbours = Neighbours(
            db=db,
            bundles=self.bundles,
            decoders=decoders,
            predictors=predictors,
            library=Library(home / "index"),
        )

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
