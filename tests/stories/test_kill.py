"""kill -9 of everything that Lehr runs, at the worst moments: nothing acknowledged is lost, and training ends the same.

Every process dies by SIGKILL, the trainer also while a half-written checkpoint lies in the store. What was answered
with success stays, and a training that was killed again and again publishes the weights of one that never was.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import httpx
import pytest
from clarifai_grpc.grpc.api import resources_pb2 as r
from clarifai_grpc.grpc.api.status import status_code_pb2 as codes
from faces import GRPC, REST, Client
from google.protobuf.struct_pb2 import Struct
from lehr_server import TOKEN, Server, wait_until
from victims import PREDICTOR, TRAINER, WORKER, Shelves, below, is_alive, kill, retried, stop_while_it_writes

from lehr.protocol.ids import AppRef
from lehr.store.versions import ModelVersionRef

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="finds the victims in /proc"),
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # connections to servers that were killed
]

APP = "house"
NUM_DIGITS = 240
SMALL = {"template": "classification_cifar10_v1", "num_epochs": 16, "batch_size": 32, "width_multiplier": 0.25}
ENDLESS = SMALL | {"num_epochs": 200}
GOING_ON = (codes.MODEL_QUEUED_FOR_TRAINING, codes.MODEL_TRAINING)
AGAIN_LATER = (codes.MODEL_BUSY_PLEASE_RETRY, codes.MODEL_LOADING)
CARRIES_ON = "Going on from the checkpoint at step"
LONG = 240


@dataclass
class House:
    """A server, an app full of digits, and the weights of a training that nobody disturbed."""

    server: Server
    client: Client
    shelves: Shelves
    pictures: list[tuple[str, str, bytes]]
    undisturbed: bytes = b""

    def find(self, words: tuple[str, ...]) -> int:
        """The process below the server with these words in its command, as soon as there is one.

        One that is just starting a child has a double of itself for a moment: the older of the two is meant.
        """
        return min(wait_until(lambda: below(self.server.process.pid, words), what=f"a process{words[0]}"))

    def train(self, model_id: str, **params) -> ModelVersionRef:
        self.client.must("PostModels", models=[r.Model(id=model_id, model_type_id="visual-classifier")])
        return start_training(self.client, model_id, **params)

    def status(self, version: ModelVersionRef):
        answer = self.client.must("GetModelVersion", model_id=version.model_id, version_id=version.version_id)
        return answer.model_version.status

    def trained(self, version: ModelVersionRef) -> None:
        wait_until(lambda: self.status(version).code not in GOING_ON, LONG, "the end of the training")
        assert self.status(version).code == codes.MODEL_TRAINED, f"{self.status(version)}\n{self.server.log()}"

    def log(self, version: ModelVersionRef) -> str:
        answer = self.client.must("GetModelVersion", model_id=version.model_id, version_id=version.version_id)
        return httpx.get(answer.model_version.train_log).text

    def at_checkpoint(self, version: ModelVersionRef) -> int:
        """Waits for one more checkpoint than there is; returns its step."""
        before = self.shelves.last_step(version)
        wait_until(lambda: self.shelves.last_step(version) > before, LONG, "a checkpoint")
        return self.shelves.last_step(version)

    def die_and_rise(self) -> None:
        """The whole server killed, every process of it gone, and a new one in the same home."""
        family = below(self.server.process.pid)
        self.server.kill()
        wait_until(lambda: not any(map(is_alive, family)), what="the end of the whole family")
        self.server.start()


def start_training(client: Client, model_id: str, **params) -> ModelVersionRef:
    struct = Struct()
    struct.update(params)
    version = r.ModelVersion(train_info=r.TrainInfo(params=struct))
    made = client.must("PostModelVersions", model_id=model_id, model_versions=[version]).model.model_version
    return ModelVersionRef(AppRef("lehr", client.who.app_id), model_id, made.id)


def filled_app(base: str, app_id: str, pictures, face: str = REST) -> Client:
    Client(face, base, TOKEN).must("PostApps", apps=[r.App(id=app_id)])
    client = Client(face, base, TOKEN, app_id)
    for start in range(0, len(pictures), 60):
        client.must("PostInputs", inputs=as_inputs(pictures[start : start + 60]))
    wait_until(lambda: client.must("GetInputCount").counts.processed == len(pictures), what="processing the inputs")
    return client


def as_inputs(pictures) -> list[r.Input]:
    return [
        r.Input(id=name, data=r.Data(image=r.Image(base64=png), concepts=[r.Concept(id=concept, value=1)]))
        for name, concept, png in pictures
    ]


# -- without training: quick -------------------------------------------------------------------------------------------


def test_whatever_was_acknowledged_is_there_after_the_server_was_killed_while_it_was_fed(own_server, digits):
    own_server.start()
    Client(REST, own_server.base, TOKEN).must("PostApps", apps=[r.App(id="fed")])
    batches = [digits(360)[start : start + 12] for start in range(0, 360, 12)]
    acknowledged: set[int] = set()
    for kill_at in (4, 11, 18):
        killer = threading.Timer(0.02, own_server.kill)
        feed(Client(REST, own_server.base, TOKEN, "fed"), batches, acknowledged, {kill_at: killer.start})
        killer.join()
        assert kill_at <= len(acknowledged) < len(batches)
        own_server.start()
    client = Client(REST, own_server.base, TOKEN, "fed")
    feed(client, batches, acknowledged)
    assert acknowledged == set(range(len(batches)))
    wait_until(lambda: client.must("GetInputCount").counts.processed == 360, what="processing all inputs")
    listed = client.must("ListInputs", per_page=1000).inputs
    assert sorted(item.id for item in listed) == [name for name, _, _ in digits(360)]
    noted = client.must("ListAnnotations", per_page=1000, list_all_annotations=True).annotations
    told = {note.input_id: [concept.id for concept in note.data.concepts] for note in noted}
    assert told == {name: [concept] for name, concept, _ in digits(360)}
    assert len(noted) == 360
    for item in listed[::45]:
        assert client.http.get(item.data.image.url).status_code == 200


def feed(
    client: Client, batches, acknowledged: set[int], at: Mapping[int, Callable[[], None]] = MappingProxyType({})
) -> None:
    """Posts every batch not acknowledged yet, until all are or the server is gone; calls `at[n]` before the n-th.

    A batch whose answer was lost is either wholly there or not at all.
    """
    for number, batch in enumerate(batches):
        if number in acknowledged:
            continue
        at.get(number, lambda: None)()
        try:
            answer = client.ask("PostInputs", inputs=as_inputs(batch))
        except httpx.TransportError:
            return
        duplicates = [item for item in answer.inputs if item.status.code == codes.INPUT_DUPLICATE]
        assert answer.status.code == codes.SUCCESS or len(duplicates) == len(batch), answer.status
        acknowledged.add(number)


# -- with training -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def house(tmp_path_factory, digits) -> Iterator[House]:
    server = Server(tmp_path_factory.mktemp("kill") / "home").start()
    pictures = digits(NUM_DIGITS)
    shelves = Shelves(server.home)
    house = House(server, filled_app(server.base, APP, pictures), shelves, pictures)
    version = house.train("undisturbed", **SMALL)
    house.trained(version)
    house.undisturbed = shelves.weights(version)
    assert CARRIES_ON not in house.log(version)
    yield house
    shelves.close()
    server.stop()


@pytest.mark.slow
def test_a_trainer_killed_at_every_stage_publishes_the_weights_of_one_that_never_was(house):
    version = house.train("trainer-killed", **SMALL)
    kill(house.find(TRAINER))  # before its first line

    wait_until(lambda: house.status(version).code == codes.MODEL_TRAINING, what="the training's start")
    kill(house.find(TRAINER))  # while it reads the data

    house.at_checkpoint(version)
    kill(house.find(TRAINER))  # right behind a checkpoint

    house.at_checkpoint(version)
    victim = house.find(TRAINER)
    assert stop_while_it_writes(victim, house.shelves.partial)
    step = house.shelves.last_step(version)
    kill(victim)  # within a checkpoint: half of it stays behind

    wait_until(lambda: "serving form" in house.status(version).details, LONG, "writing the serving form")
    kill(house.find(TRAINER))  # after the last step, before it is published
    house.trained(version)
    assert house.shelves.weights(version) == house.undisturbed
    log = house.log(version)
    assert log.count(CARRIES_ON) >= 3, log
    assert f"{CARRIES_ON} {step}." in log


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_training_goes_on(house):
    version = house.train("worker-killed", **SMALL)
    house.at_checkpoint(version)
    trainer, worker = house.find(TRAINER), house.find(WORKER)
    kill(worker)
    wait_until(lambda: not is_alive(trainer), what="the trainer's end with its worker")
    house.trained(version)
    assert house.shelves.weights(version) == house.undisturbed
    assert CARRIES_ON in house.log(version)
    assert house.find(WORKER) != worker


@pytest.mark.slow
def test_a_training_outlives_its_server_killed_in_the_queue_at_a_checkpoint_and_within_one(house):
    version = house.train("server-killed", **SMALL)
    house.die_and_rise()  # queued, or hardly begun

    house.at_checkpoint(version)
    house.die_and_rise()

    house.at_checkpoint(version)
    assert stop_while_it_writes(house.find(TRAINER), house.shelves.partial)
    house.die_and_rise()
    house.trained(version)
    assert house.shelves.weights(version) == house.undisturbed
    assert house.log(version).count(CARRIES_ON) == 2
    assert house.client.must("GetInputCount").counts.processed == NUM_DIGITS
    assert {"undisturbed", "server-killed"} <= {model.id for model in house.client.must("ListModels").models}


@pytest.mark.slow
@pytest.mark.parametrize("face", [GRPC, REST])
def test_a_killed_predictor_costs_a_retry_and_answers_the_same(house, face):
    client = Client(face, house.server.base, TOKEN, APP)

    def predict():
        return client.ask("PostModelOutputs", model_id="undisturbed", inputs=as_inputs(house.pictures[:8]))

    before = values(retried(predict, AGAIN_LATER))
    for _ in range(3):
        answers: list[object] = []
        asking = threading.Thread(target=lambda kept=answers: kept.extend(predict() for _ in range(12)))
        asking.start()
        kill(house.find(PREDICTOR))
        asking.join()
        assert {answer.status.code for answer in answers} <= {codes.SUCCESS, *AGAIN_LATER}
        assert values(retried(predict, AGAIN_LATER)) == before


def values(answer) -> list[tuple[str, float]]:
    assert answer.status.code == codes.SUCCESS, answer.status
    return [(concept.id, concept.value) for output in answer.outputs for concept in output.data.concepts]


@pytest.mark.slow
@pytest.mark.parametrize("is_under_way", [False, True], ids=["starting", "training"])
def test_deleting_a_version_ends_its_trainer(house, is_under_way):
    version = house.train(f"deleted-{is_under_way}", **ENDLESS)
    trainer = house.find(TRAINER)
    if is_under_way:
        house.at_checkpoint(version)
    house.client.must("DeleteModelVersion", model_id=version.model_id, version_id=version.version_id)
    ends(house, trainer)
    gone = house.client.ask("GetModelVersion", model_id=version.model_id, version_id=version.version_id)
    assert gone.status.code == codes.MODEL_DOES_NOT_EXIST


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rpc", "fields"),
    [("DeleteModel", {"model_id": "doomed"}), ("DeleteApp", {})],
    ids=["model", "app"],
)
def test_deleting_a_model_or_an_app_ends_its_trainer(house, rpc, fields):
    client = filled_app(house.server.base, f"doomed-{rpc.lower()}", house.pictures[:60])
    client.must("PostModels", models=[r.Model(id="doomed", model_type_id="visual-classifier")])
    version = start_training(client, "doomed", **ENDLESS)
    house.at_checkpoint(version)
    trainer = house.find(TRAINER)
    client.must(rpc, **fields)
    ends(house, trainer)
    assert client.ask("GetModel", model_id="doomed").status.code != codes.SUCCESS


def ends(house: House, trainer: int) -> None:
    """The trainer is gone for good, and all that it started with it; the rest of the server is well."""
    family = [trainer, *below(trainer)]
    wait_until(lambda: not any(map(is_alive, family)), 20, "the end of the trainer")
    wait_until(lambda: below(house.server.process.pid, TRAINER) == [], 5, "quiet")
    assert httpx.get(f"{house.server.base}/readyz").status_code == 200
