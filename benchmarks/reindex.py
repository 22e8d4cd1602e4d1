"""A re-index: how fast beside the bare network, and what searches notice of it.

    python benchmarks/reindex.py --inputs 200 --searches 100
    python benchmarks/reindex.py --inputs 20000 --searches 10000        # the whole: about 20 minutes on two cores

A server with an app of JPEG photographs (500 x 375, drawn by chance), embedded by the base that comes with Lehr.
Copies of that base are published as models of the app. First the index is built on one of them with nobody searching:
its images a second, between a tenth and nine tenths of them, stand beside those of the same network on the same
machine, alone, fed with decoded pictures, at the batch size and the number of lanes that suit it best (the mean of
before and after), and those of the network with decoding before it in one program. Then the same once more with the
pictures in a pack, as a training on them leaves one. Then searches by image, one after the other, give the quiet times;
then searches go on while the index is built on one copy after another.
Goals: throughput at least 90 % of the bare network's; no search fails; p99 at most twice the quiet p99.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import httpx
import numpy as np
from clarifai_grpc.channel.clarifai_channel import ClarifaiChannel
from clarifai_grpc.grpc.api import resources_pb2 as r
from clarifai_grpc.grpc.api import service_pb2, service_pb2_grpc
from machine import described
from PIL import Image
from server import TOKEN, running

from lehr.protocol import resources_pb2 as own
from lehr.protocol import status_code_pb2
from lehr.protocol.ids import PUBLIC_APP, AppRef
from lehr.protocol.statuses import status
from lehr.services.built_in_catalogue import BY_MODEL_ID, EMBEDDING
from lehr.services.bundles import Bundles
from lehr.store import bundles as bundle_rows
from lehr.store import models as model_rows
from lehr.store import versions as version_rows
from lehr.store.blobs import LocalBlobs
from lehr.store.db import Database
from lehr.store.versions import ModelVersionRef

if TYPE_CHECKING:
    from lehr.learn.predictor import Predictor

APP = AppRef("lehr", "bench")
COPIES = [f"copy-{number}" for number in range(1, 15)]
BATCHES = (1, 4, 8, 16, 32)
DECODING = "with decoding"
BASE = ModelVersionRef(PUBLIC_APP, EMBEDDING, BY_MODEL_ID[EMBEDDING].version_id)
KEY = (("authorization", f"Key {TOKEN}"),)
WAIT_SECONDS = 7200.0


class App:
    """The app, asked as a client would."""

    def __init__(self, base: str) -> None:
        host, port = base.removeprefix("http://").split(":")
        self.stub = service_pb2_grpc.V2Stub(ClarifaiChannel.get_insecure_grpc_channel(base=host, port=int(port)))
        self.http = httpx.Client(base_url=base, headers={"Authorization": f"Key {TOKEN}"}, timeout=120)
        self.who = r.UserAppIDSet(user_id=APP.user_id, app_id=APP.app_id)

    def make(self) -> None:
        """With the base that comes with Lehr."""
        app = r.App(id=APP.app_id, default_workflow=r.Workflow(id="General"))
        who = r.UserAppIDSet(user_id=APP.user_id)
        done = self.stub.PostApps(service_pb2.PostAppsRequest(user_app_id=who, apps=[app]), metadata=KEY)
        assert done.status.code == 10000, done.status

    def add(self, number: int) -> None:
        """So many photographs."""
        for start in range(0, number, 64):
            some = range(start, min(number, start + 64))
            inputs = [r.Input(id=f"p{seed}", data=r.Data(image=r.Image(base64=photograph(seed)))) for seed in some]
            request = service_pb2.PostInputsRequest(user_app_id=self.who, inputs=inputs)
            done = self.stub.PostInputs(request, metadata=KEY)
            assert done.status.code == 10000, done.status

    def counts(self) -> r.InputCount:
        """How far the index is."""
        request = service_pb2.GetInputCountRequest(user_app_id=self.who)
        return self.stub.GetInputCount(request, metadata=KEY).counts

    def search(self, seed: int) -> float:
        """Seconds of one search by image; negative if it failed."""
        rank = r.Rank(annotation=r.Annotation(data=r.Data(image=r.Image(base64=photograph(seed)))))
        search = r.Search(query=r.Query(ranks=[rank]))
        request = service_pb2.PostInputsSearchesRequest(user_app_id=self.who, searches=[search])
        began = time.perf_counter()
        try:
            answer = self.stub.PostInputsSearches(request, metadata=KEY)
        except grpc.RpcError as error:
            print(f"a search failed: {error}")
            return -1.0
        if answer.status.code != 10000 or not answer.hits:
            print(f"a search failed: {answer.status}")
            return -1.0
        return time.perf_counter() - began

    def reindex(self, model_id: str) -> None:
        """On the model of this id."""
        node = {"id": "embed", "model": {"id": model_id, "model_version": {"id": "v1"}}}
        body = {"workflows": [{"id": "base", "nodes": [node]}], "action": "merge", "reindex": True}
        answer = self.http.patch(f"/v2/users/{APP.user_id}/apps/{APP.app_id}/base-workflows", json=body).json()
        assert answer["status"]["code"] == 10000, answer

    def serves(self, model_id: str) -> bool:
        """Whether the index is on the model of this id."""
        told = self.http.get(f"/v2/users/{APP.user_id}/apps/{APP.app_id}/base-workflows").json()
        return any(each["state"] == "SERVING" and f"/{model_id}/" in each["embedder"] for each in told["generations"])


def photograph(seed: int) -> bytes:
    """Soft colours with a little grain, as a JPEG of about 60 kB."""
    rng = np.random.default_rng(seed)
    soft = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(
        (500, 375), Image.Resampling.BICUBIC
    )
    grain = rng.integers(-12, 13, (375, 500, 3))
    file = io.BytesIO()
    Image.fromarray((np.asarray(soft) + grain).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=200)
    parser.add_argument("--searches", type=int, default=100)
    parser.add_argument("--bare", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        print(json.dumps(bare(Path(options.bare))))
        return
    print(f"re-index of {options.inputs:,} photographs; {described()}", flush=True)
    with tempfile.TemporaryDirectory(prefix="lehr-bench-") as folder:
        home = Path(folder) / "home"
        with running(home) as server:
            measure(App(server.base), home, options)


def measure(app: App, home: Path, options: argparse.Namespace) -> None:
    """Everything, in order."""
    app.make()
    app.add(options.inputs)
    until(lambda: app.counts().reindexed == options.inputs, "the first index")
    folder = publish_copies(home)
    decoded = reindexed(app, "copy-1")
    pack(home, folder, options.inputs)
    before = told_bare(folder)
    packed = reindexed(app, "copy-2")
    after = told_bare(folder)
    told = {way: (before[way] + after[way]) / 2 for way in before}
    decoding = told.pop(DECODING)
    best = max(told, key=lambda way: told[way])
    print(f"the bare network: {told[best]:.0f} images/s, {best}; with decoding, in one program: {decoding:.0f}")
    print("  " + "; ".join(f"{way} {rate:.0f}" for way, rate in told.items()))
    for what, (rate, seconds) in {"decoding": decoded, "from a pack": packed}.items():
        share = f"{100 * rate / told[best]:.0f} % of the bare network"
        print(f"re-index, {what}: {rate:.0f} images/s, {share}; {seconds:.1f} s from the request to the switch")
    quiet = [app.search(10**6 + seed) for seed in range(max(20, options.searches // 10))]
    tell("searches, quiet", quiet)
    tell("searches during a re-index", list(while_building(app, options.searches)))


def reindexed(app: App, model_id: str) -> tuple[float, float]:
    """On this model: images a second between a tenth and nine tenths of them, and seconds of the whole."""
    began, marks = time.perf_counter(), []
    app.reindex(model_id)
    while not app.serves(model_id):
        counts = app.counts()
        marks.append((time.perf_counter(), counts.reindexed / max(1, counts.reindexed + counts.to_reindex), counts))
        if time.perf_counter() - began > WAIT_SECONDS:
            raise TimeoutError(f"the re-index is not complete after {WAIT_SECONDS:.0f} s")
        time.sleep(2 if len(marks) > 10 else 0.2)  # counting costs the machine something too
    within = [(moment, counts.reindexed) for moment, share, counts in marks if 0.1 <= share <= 0.9]
    (first, before), (last, after) = within[0], within[-1]
    return (after - before) / (last - first), time.perf_counter() - began


def pack(home: Path, folder: Path, number: int) -> None:
    """As a training at the network's size leaves it."""
    from lehr.learn.bundle import read_bundle
    from lehr.learn.data.packs import Packs, Source

    files = {hashlib.sha256(data).hexdigest(): data for data in map(photograph, range(number))}
    sources = [Source(sha, lambda data=data: data) for sha, data in files.items()]
    Packs(home / "cache" / "packs").build(sources, read_bundle(folder).preprocessing.image_size)
    os.sync()  # a training's pack has long been on the disk; writing gigabytes would disturb what is measured


def while_building(app: App, number: int) -> Iterator[float]:
    """Searches while the index is built on one copy after another: when one serves, it is built on the next."""
    later = iter(COPIES[2:])
    building = next(later)
    app.reindex(building)
    for seed in range(number):
        yield app.search(2 * 10**6 + seed)
        if seed % 20 == 0 and app.serves(building):
            building = next(later, "")
            if not building:
                print(f"the last re-index was over after {seed + 1} searches; take more inputs for more")
                return
            app.reindex(building)


def tell(what: str, seconds: list[float]) -> None:
    """How many failed, and how long the others took."""
    good = [each for each in seconds if each >= 0]
    p50, p99 = (1000 * float(np.quantile(good, share)) for share in (0.5, 0.99))
    print(f"{what}: {len(seconds)}, {len(seconds) - len(good)} failed; p50 {p50:.1f} ms, p99 {p99:.1f} ms")


def until(claim: Callable[[], bool], what: str) -> float:
    """Seconds until it is so."""
    began = time.perf_counter()
    while not claim():
        if time.perf_counter() - began > WAIT_SECONDS:
            raise TimeoutError(f"{what} is not complete after {WAIT_SECONDS:.0f} s")
        time.sleep(0.2)
    return time.perf_counter() - began


def publish_copies(home: Path) -> Path:
    """The built-in base as models of the app; answers its folder on this machine."""
    db = Database(f"sqlite:///{home / 'lehr.db'}")
    bundles = Bundles(db=db, blobs=LocalBlobs(home / "blobs"), cache=home / "cache" / "bundles")
    folder = bundles.folder_of(BASE)
    with db.write() as tx:
        bundle = bundle_rows.get(tx, BASE)
        assert bundle is not None, "the base has been used"
        for model_id in COPIES:
            model_rows.insert(tx, APP, [own.Model(id=model_id, name=model_id, model_type_id="visual-embedder")])
            version = own.ModelVersion(id="v1", status=status(status_code_pb2.MODEL_TRAINED))
            version_rows.insert(tx, APP, model_id, version)
            bundle_rows.put(tx, ModelVersionRef(APP, model_id, "v1"), bundle)
    db.close()
    return folder


def told_bare(folder: Path) -> dict[str, float]:
    """`bare`, in a process of its own."""
    found: dict[str, float] = json.loads(subprocess.check_output([sys.executable, __file__, "--bare", str(folder)]))
    return found


def bare(folder: Path) -> dict[str, float]:
    """Images a second of the network alone, on crops that are ready, in each way to run it; and with decoding."""
    from lehr.learn.predictor import Predictor

    soonest, much = Predictor.load(folder), Predictor.load_for_much(folder)
    rates = {}
    for predictor in (soonest, much):
        for batch in BATCHES:
            rates[f"{batch} in {predictor.lanes} lanes"] = rate_of(predictor, batch)
    return rates | {DECODING: decoded_and_run(soonest, 8)}


def rate_of(predictor: Predictor, batch: int) -> float:
    """Images a second on crops that are ready, every lane busy."""
    side = predictor.bundle.preprocessing.side
    crops = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
    until = time.perf_counter() + 3

    def go_on() -> int:
        done = 0
        while time.perf_counter() < until:
            predictor.run(crops)
            done += batch
        return done

    with ThreadPoolExecutor(predictor.lanes) as threads:
        began = time.perf_counter()
        done = sum(future.result() for future in [threads.submit(go_on) for _ in range(predictor.lanes)])
        return done / (time.perf_counter() - began)


def decoded_and_run(predictor: Predictor, batch: int) -> float:
    """Images a second of the least that a re-index must do: JPEGs decoded in threads, while the network runs."""
    from lehr.learn.data.decode import decode

    files = [photograph(seed) for seed in range(batch)]
    with ThreadPoolExecutor(2) as threads:

        def begin() -> list[Future[np.ndarray]]:
            return [
                threads.submit(lambda data: decode(data, shorter_side=predictor.image_size).pixels, f) for f in files
            ]

        coming, began, done = begin(), time.perf_counter(), 0
        while time.perf_counter() - began < 5:
            pixels, coming = [future.result() for future in coming], begin()
            predictor.predict(pixels)
            done += batch
        return done / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
