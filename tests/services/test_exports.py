"""A trained version from the order to its file: what is in it, how it is fetched, and what may go wrong."""

from __future__ import annotations

import io
import json
import shutil
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from starlette.applications import Starlette
from starlette.testclient import TestClient

from lehr.api.calls import Call, Caller
from lehr.api.files import Files
from lehr.api.rpcs.model_exports import ModelExportRpcs
from lehr.errors import InvalidModel, ModelNotFound, NotFound, Untrained
from lehr.jobs.queue import Queue
from lehr.jobs.queue import State as JobState
from lehr.jobs.runs import perform
from lehr.learn.exports import program
from lehr.learn.predictor import Predictor
from lehr.protocol import resources_pb2 as r
from lehr.protocol import service_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.statuses import status
from lehr.protocol.structs import to_struct
from lehr.services import exports, training
from lehr.services.bases import Bases
from lehr.services.bundles import Bundles
from lehr.services.dataset_exports import DatasetExports
from lehr.services.exporting import Exporting
from lehr.services.exports import Exports
from lehr.services.keys import Keys
from lehr.services.media import HostedMedia
from lehr.services.models import Models
from lehr.services.signing import Signer
from lehr.services.training import Orders, Training
from lehr.serving.decoders import DecoderPool
from lehr.store import annotations, apps, concepts, inputs, users, versions
from lehr.store.blobs import LocalBlobs
from lehr.store.db import Database
from lehr.store.inputs import NewInput
from lehr.store.versions import ModelVersionRef

APP = AppRef("ana", "digits")
VREF = ModelVersionRef(APP, "m", "v")
PARAMS = {"template": "classification_cifar10_v1", "num_epochs": 1, "batch_size": 16, "width_multiplier": 0.125}
EXPORTED, PENDING, FAILED = (
    status_code_pb2.MODEL_EXPORTED,
    status_code_pb2.MODEL_EXPORT_PENDING,
    status_code_pb2.MODEL_EXPORTING_FAILED,
)


@dataclass(frozen=True, kw_only=True)
class House:
    """A store with one trained version, and everything that exports it."""

    db: Database
    blobs: LocalBlobs
    queue: Queue
    bundles: Bundles
    decoders: DecoderPool

    @property
    def exports(self) -> Exports:
        return Exports(db=self.db, queue=self.queue)

    @property
    def worker(self) -> Exporting:
        fields = {name: getattr(self, name) for name in ("db", "blobs", "queue", "bundles", "decoders")}
        return Exporting(**fields)

    def work(self, **claim) -> None:
        while job := self.queue.claim("test", kinds=[exports.KIND], **claim):
            perform(self.queue, job, self.worker.run, {exports.KIND: self.worker.failed})

    def zip(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(io.BytesIO(self.blobs.read(self.exports.sha(VREF))))


def house(home: Path, decoders: DecoderPool) -> House:
    db, blobs = Database(f"sqlite:///{home / 'lehr.db'}"), LocalBlobs(home / "blobs")
    bundles = Bundles(db=db, blobs=blobs, cache=home / "cache")
    return House(db=db, blobs=blobs, queue=Queue(db), bundles=bundles, decoders=decoders)


@pytest.fixture(scope="module")
def decoders() -> Iterator[DecoderPool]:
    with DecoderPool(1) as pool:
        yield pool


@pytest.fixture(scope="module")
def pattern(tmp_path_factory, decoders) -> Path:
    """A home in which one small training has been run by its real service."""
    home = tmp_path_factory.mktemp("pattern")
    one = house(home, decoders)
    one.db.upgrade()
    with one.db.write() as tx:
        users.insert(tx, r.User(id="ana"))
        apps.insert(tx, r.App(id=APP.app_id, user_id="ana"))
        concepts.insert(tx, APP, [r.Concept(id=f"d{n}", name=f"Digit {n}") for n in range(3)])
        for index in range(60):
            add_digit(tx, one.blobs, index)
    Models(db=one.db, queue=one.queue).create(
        APP, [r.Model(id="m", name="My digits", model_type_id="visual-classifier")]
    )
    version = r.ModelVersion(id="v", train_info=r.TrainInfo(params=to_struct(PARAMS)))
    request = service_pb2.PostModelVersionsRequest(model_versions=[version])
    Orders(db=one.db, queue=one.queue, bases=Bases(db=one.db, bundles=one.bundles)).request(APP, "m", request)
    fields = {name: getattr(one, name) for name in ("db", "blobs", "queue", "bundles", "decoders")}
    Training(**fields, packs=home / "packs").run(one.queue.claim("test", kinds=[training.KIND]))
    one.db.close()
    return home


def add_digit(tx, blobs, index: int) -> None:
    digits, file = load_digits(), io.BytesIO()
    Image.fromarray((digits.images[index] * 15.9).astype(np.uint8)).save(file, "PNG")
    message = r.Input(id=f"i{index}", status=status(status_code_pb2.INPUT_DOWNLOAD_SUCCESS))
    inputs.insert(tx, APP, [NewInput(message=message, content_sha=blobs.put(file.getvalue()))])
    note = r.Annotation(id=f"n{index}", input_id=f"i{index}", user_id="ana")
    note.data.concepts.add(id=f"d{digits.target[index] % 3}", value=1)
    note.status.code = status_code_pb2.ANNOTATION_SUCCESS
    annotations.insert(tx, APP, [note])


@pytest.fixture
def home(pattern, tmp_path, decoders) -> Iterator[House]:
    shutil.copytree(pattern, tmp_path / "home")
    one = house(tmp_path / "home", decoders)
    yield one
    one.db.close()


def test_an_export_holds_everything_and_was_compared_on_the_users_items(home, tmp_path):
    assert home.exports.request(VREF).status.code == PENDING
    assert home.exports.request(VREF).status.code == PENDING, "asked twice, made once"
    home.work()
    done = home.exports.get(VREF)
    assert (done.status.code, done.status.percent_completed) == (EXPORTED, 100)
    assert "compared on 16 items of the data: largest difference" in done.status.details
    with home.zip() as archive:
        assert done.size == archive.fp.seek(0, 2)
        archive.extractall(tmp_path / "out")
    sheet = json.loads((tmp_path / "out" / "model.json").read_text())
    assert sheet["model"]["name"] == "My digits"
    assert json.loads((tmp_path / "out" / "labels.json").read_text())[0] == {"id": "d0", "name": "Digit 0"}
    assert sheet["thresholds"].keys() == {"d0", "d1", "d2"}
    assert sheet["comparison"]["are_real"]
    assert "My digits" in (tmp_path / "out" / "README.md").read_text()

    exported = program.Model(tmp_path / "out")
    pixels = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    [ours] = Predictor.load(home.bundles.folder_of(VREF), "cpu").predict([pixels])
    np.testing.assert_allclose(exported.values(pixels), ours, atol=0.05)
    assert home.exports.request(VREF).status.code == EXPORTED, "what is there is not made again"
    assert home.queue.claim("test", kinds=[exports.KIND]) is None


def test_an_export_whose_worker_is_killed_is_made_by_another(home):
    home.exports.request(VREF)
    dead = home.queue.claim("dead", kinds=[exports.KIND], lease_seconds=0.05)
    home.worker._told(dead, VREF, "half way")
    assert home.exports.get(VREF).status.code == status_code_pb2.MODEL_EXPORTING
    time.sleep(0.1)
    home.work()
    assert home.exports.get(VREF).status.code == EXPORTED
    assert not list(home.bundles.scratch().glob("export-*"))


def test_an_export_without_any_item_left_says_on_what_it_was_compared(home):
    with home.db.write() as tx:
        inputs.delete(tx, APP, [f"i{index}" for index in range(60)])
    home.exports.request(VREF)
    home.work()
    assert "8 drawn pictures, since no item" in home.exports.get(VREF).status.details
    with home.zip() as archive:
        assert not json.loads(archive.read("model.json"))["comparison"]["are_real"]


def test_an_export_that_disagrees_fails_with_a_sentence_and_can_be_tried_again(home, monkeypatch):
    real = program.openvino_network
    monkeypatch.setattr(program, "openvino_network", lambda path: lambda x: [out[:, ::-1] for out in real(path)(x)])
    home.exports.request(VREF)
    home.work()
    call = Call(caller=Caller(user_id="ana", key_id="k"), app=APP, user_id="ana", base_url="http://here", req_id="1")
    rpcs = ModelExportRpcs(exports=home.exports, signer=Signer(secret=b"s" * 32))
    asked = service_pb2.GetModelVersionExportRequest(model_id="m", version_id="v")
    answer = rpcs.GetModelVersionExport(call, asked)
    assert answer.status.code == answer.export.status.code == FAILED
    assert "does not answer as the trained model does" in answer.status.details
    assert not answer.export.url
    monkeypatch.undo()
    assert home.exports.request(VREF).status.code == PENDING
    home.work()
    assert rpcs.GetModelVersionExport(call, asked).export.url.startswith("http://here/exports/users/ana/apps/digits/")


def test_what_cannot_be_exported_is_refused(home):
    with pytest.raises(NotFound, match="PutModelVersionExports") as refused:
        home.exports.get(VREF)
    assert refused.value.code == 11101
    with pytest.raises(NotFound, match="not been exported"):
        home.exports.sha(VREF)
    models = Models(db=home.db, queue=home.queue)
    models.create(APP, [r.Model(id="raw", model_type_id="visual-classifier", model_version=r.ModelVersion(id="u"))])
    with pytest.raises(Untrained, match="'u' of model 'raw' is not trained"):
        home.exports.request(ModelVersionRef(APP, "raw", "u"))
    with pytest.raises(ModelNotFound):
        home.exports.request(ModelVersionRef(APP, "m", "nothing"))
    crop = r.ModelVersion(id="c", status=status(status_code_pb2.MODEL_TRAINED))
    with home.db.write() as tx:
        versions.insert(tx, APP, "raw", crop)
    with pytest.raises(InvalidModel, match="computes without weights"):
        home.exports.request(ModelVersionRef(APP, "raw", "c"))
    home.exports.request(VREF)
    models.delete_version(APP, "m", "v")
    with home.db.read() as tx:
        assert home.queue.of_subject(tx, str(VREF))[0].state is JobState.CANCELLED
    with pytest.raises(ModelNotFound):
        home.exports.get(VREF)


def test_the_file_is_fetched_whole_or_in_parts_by_its_signed_address_alone(home):
    home.exports.request(VREF)
    home.work()
    signer = Signer(secret=b"s" * 32)
    files = Files(
        db=home.db,
        media=HostedMedia(db=home.db),
        blobs=home.blobs,
        signer=signer,
        identify=Keys(db=home.db).identify,
        exports=home.exports,
        dataset_exports=DatasetExports(db=home.db, queue=home.queue),
        parts=dict,
    )
    path = exports.path_of(VREF)
    with TestClient(Starlette(routes=files.routes())) as client:
        whole = client.get(signer.signed(path))
        assert (whole.status_code, whole.headers["content-type"]) == (200, "application/zip")
        assert whole.content == home.blobs.read(home.exports.sha(VREF))
        size, tag = len(whole.content), whole.headers["etag"]

        def part(wanted: str, **headers):
            return client.get(signer.signed(path), headers={"Range": wanted, **headers})

        first = part("bytes=0-999")
        assert (first.status_code, first.headers["content-range"]) == (206, f"bytes 0-999/{size}")
        rest = part("bytes=1000-", **{"If-Range": tag})
        assert first.content + rest.content == whole.content
        assert part("bytes=-7").content == whole.content[-7:]
        assert part(f"bytes=5-{size * 2}").content == whole.content[5:]
        for ignored in ("bytes=9-3", "bytes=0-1,5-6", "lines=0-1"):
            assert part(ignored).content == whole.content
        assert part("bytes=0-9", **{"If-Range": '"other"'}).content == whole.content
        beyond = part(f"bytes={size}-")
        assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
        assert client.get(path).status_code == 401
        assert client.get(signer.signed(path).replace("/m/", "/n/")).status_code == 401
        other = exports.path_of(ModelVersionRef(APP, "m", "w"))
        assert client.get(signer.signed(other)).status_code == 404
