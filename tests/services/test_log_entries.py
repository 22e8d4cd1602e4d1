"""A training's log: page by page, and line by line as it comes."""

from __future__ import annotations

import json
import threading

import pytest

from lehr.api.calls import Call, Caller
from lehr.api.rpcs.people import PeopleRpcs
from lehr.errors import Busy, InvalidRequest, ModelNotFound
from lehr.protocol import resources_pb2 as r
from lehr.protocol import service_pb2, status_code_pb2
from lehr.protocol.statuses import status
from lehr.services import log_entries
from lehr.services.collaborators import Collaborators
from lehr.services.log_entries import LogEntries
from lehr.services.models import Models
from lehr.services.paging import Paging
from lehr.store import logs, training_points, versions
from lehr.store.versions import ModelVersionRef


@pytest.fixture
def vref(db, queue, ref) -> ModelVersionRef:
    """A version that waits for its training."""
    version = r.ModelVersion(id="v")
    Models(db=db, queue=queue).create(ref, [r.Model(id="m", model_type_id="visual-classifier", model_version=version)])
    vref = ModelVersionRef(ref, "m", "v")
    moves(db, vref, status_code_pb2.MODEL_QUEUED_FOR_TRAINING)
    return vref


def moves(db, vref, *codes: int) -> None:
    with db.write() as tx:
        for code in codes:
            versions.set_status(tx, vref, status(code))


def says(db, vref, *lines: str) -> None:
    with db.write() as tx:
        logs.append(tx, vref, lines)


def words(entries) -> list[str]:
    assert all(entry.log_type == "training" and entry.message[:4].isdigit() for entry in entries)
    return [entry.message.split("  ", 1)[1] for entry in entries]


def test_a_log_is_read_page_by_page(db, ref, vref):
    says(db, vref, *(f"line {n}" for n in range(5)))
    service = LogEntries(db=db)
    assert words(service.list_of(ref, "m", "v", "training", Paging(1, 3))) == ["line 0", "line 1", "line 2"]
    assert words(service.list_of(ref, "m", "v", "", Paging(2, 3))) == ["line 3", "line 4"]
    assert service.list_of(ref, "m", "v", "", Paging(3, 3)) == []
    assert service.list_of(ref, "m", "v", "builder", Paging(1, 3)) == []


def test_curves_are_read_page_by_page_and_forgotten_after_a_step(db, ref, vref):
    service = LogEntries(db=db)
    with db.write() as tx:
        training_points.append(tx, vref, [{"step": step, "loss": 1 / step} for step in range(1, 6)])
    first = service.list_of(ref, "m", "v", log_entries.CURVES, Paging(1, 3))
    assert [json.loads(entry.message)["step"] for entry in first] == [1, 2, 3]
    assert {entry.log_type for entry in first} == {"training.curves"}
    with db.write() as tx:
        training_points.forget_after(tx, vref, 2)
        training_points.append(tx, vref, [{"step": 3, "loss": 0}])
    again = service.list_of(ref, "m", "v", log_entries.CURVES, Paging(1, 10))
    assert [json.loads(entry.message) for entry in again][1:] == [{"step": 2, "loss": 0.5}, {"step": 3, "loss": 0}]
    assert service.list_of(ref, "m", "v", "", Paging(1, 10)) == []


def test_a_log_is_followed_from_its_first_line_to_the_end_of_the_training(db, ref, vref, monkeypatch):
    monkeypatch.setattr(log_entries, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(log_entries, "SIGN_OF_LIFE_SECONDS", 0.05)
    says(db, vref, "before")
    stream = LogEntries(db=db).follow(ref, "m", "v", "training")
    assert words(next(stream)) == ["before"]
    assert next(stream) == [], "an empty answer shows whether somebody listens"

    def train():
        moves(db, vref, status_code_pb2.MODEL_TRAINING)
        says(db, vref, "epoch 1", "epoch 2")
        says(db, vref, "done")
        moves(db, vref, status_code_pb2.MODEL_TRAINED)

    threading.Timer(0.1, train).start()
    rest = [line for entries in stream for line in words(entries)]
    assert rest == ["epoch 1", "epoch 2", "done"]
    assert [words(entries) for entries in LogEntries(db=db).follow(ref, "m", "v", "")] == [
        ["before", "epoch 1", "epoch 2", "done"]
    ]


def test_only_so_many_follow_at_once_and_who_leaves_makes_room(db, ref, vref):
    says(db, vref, "line")
    service = LogEntries(db=db)
    listening = [service.follow(ref, "m", "v", "") for _ in range(log_entries.MOST_LISTENERS)]
    for stream in listening:
        next(stream)
    with pytest.raises(Busy, match="ListLogEntries"):
        next(service.follow(ref, "m", "v", ""))
    listening[0].close()
    assert words(next(service.follow(ref, "m", "v", ""))) == ["line"]


def test_logs_of_what_is_not_there_are_refused(db, ref, vref, other_ref):
    service = LogEntries(db=db)
    for app, model_id, version_id in ((ref, "m", "w"), (other_ref, "m", "v"), (ref, "n", "v")):
        with pytest.raises(ModelNotFound):
            service.list_of(app, model_id, version_id, "", Paging(1, 3))
        with pytest.raises(ModelNotFound):
            next(service.follow(app, model_id, version_id, ""))
    with pytest.raises(InvalidRequest, match="name model_id and model_version_id"):
        service.list_of(ref, "m", "", "", Paging(1, 3))
    with pytest.raises(InvalidRequest, match="no log 'runner' to follow; there is: training"):
        next(service.follow(ref, "m", "v", "runner"))
    rpcs = PeopleRpcs(collaborators=Collaborators(db=db), logs=service)
    call = Call(caller=Caller(user_id="ana", key_id="k"), app=ref, user_id="ana", base_url="", req_id="")
    with pytest.raises(InvalidRequest, match="runner_id: such logs do not exist here"):
        rpcs.ListLogEntries(call, service_pb2.ListLogEntriesRequest(runner_id="r"))
    answer = rpcs.ListLogEntries(call, service_pb2.ListLogEntriesRequest(model_id="m", model_version_id="v"))
    assert (answer.page, answer.per_page) == (1, 128)
