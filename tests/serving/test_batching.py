"""Whose pictures the device takes next."""

import threading
import time
import weakref
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lehr.errors import Busy, LehrError
from lehr.serving.batching import Batcher, _Request, take
from lehr.serving.loaded_models import LoadedModel, LoadedModels
from lehr.serving.predictor_process import Server


class Gated:
    """Predicts the first byte of each picture, when the test says so; remembers its chunks."""

    def __init__(self):
        self.may_go = threading.Semaphore(0)
        self.chunks = []

    def predict(self, images):
        self.chunks.append([int(image[0, 0, 0]) for image in images])
        self.may_go.acquire()
        return [image[0, 0, :1].astype(np.float32) for image in images]


def pictures(*values):
    return [np.full((2, 2, 3), value, np.uint8) for value in values]


def soon():
    return time.monotonic() + 60


@pytest.fixture
def gated():
    return Gated()


@pytest.fixture
def model(gated):
    return LoadedModel(predictor=gated, num_bytes=1, chunk_size=4)


def test_requests_take_turns_picture_by_picture():
    large, small = _Request(images=pictures(*range(10))), _Request(images=pictures(50))
    requests = deque([large, small])
    assert take(requests, 4) == [(large, 0), (small, 0), (large, 1), (large, 2)]
    assert take(requests, 4) == [(large, 3), (large, 4), (large, 5), (large, 6)]
    assert take(requests, 4) == [(large, 7), (large, 8), (large, 9)]
    assert not requests


def test_for_much_work_the_oldest_request_ends_first():
    first, second = _Request(images=pictures(*range(5))), _Request(images=pictures(50, 51))
    requests = deque([first, second])
    assert take(requests, 4, in_turn=False) == [(first, 0), (first, 1), (first, 2), (first, 3)]
    assert take(requests, 4, in_turn=False) == [(first, 4), (second, 0), (second, 1)]
    assert not requests


def test_a_request_given_up_or_failed_takes_no_more_of_the_device():
    given_up, failed = _Request(images=pictures(1, 2)), _Request(images=pictures(3, 4))
    given_up.is_given_up = True
    failed.fail(LehrError("no"))
    assert take(deque([given_up, failed]), 4) == []


def test_an_idle_device_takes_a_lone_picture_at_once_and_what_gathers_meanwhile_together(gated, model, eventually):
    batcher = Batcher()
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(batcher.predict, model, pictures(1), soon())
        eventually(lambda: gated.chunks == [[1]])
        others = [threads.submit(batcher.predict, model, pictures(value), soon()) for value in (2, 3, 4)]
        eventually(lambda: len(batcher._waiting[id(model)][1]) == 3)
        gated.may_go.release(2)
        assert [answer.result().tolist() for answer in (first, *others)] == [[[1.0]], [[2.0]], [[3.0]], [[4.0]]]
    assert [sorted(chunk) for chunk in gated.chunks] == [[1], [2, 3, 4]]


def test_models_take_turns(gated, model, eventually):
    batcher, other = Batcher(), LoadedModel(predictor=gated, num_bytes=1, chunk_size=4)
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(batcher.predict, model, pictures(*range(12)), soon())]
        eventually(lambda: len(gated.chunks) == 1)
        answers.append(threads.submit(batcher.predict, other, pictures(100), soon()))
        eventually(lambda: len(batcher._waiting) == 2)
        gated.may_go.release(4)
        assert [len(answer.result()) for answer in answers] == [12, 1]
    assert gated.chunks.index([100]) == 2


def test_who_waits_beyond_the_deadline_hears_busy_and_its_pictures_are_dropped(gated, model, eventually):
    batcher = Batcher()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(batcher.predict, model, pictures(1), soon())
        eventually(lambda: gated.chunks == [[1]])
        with pytest.raises(Busy, match="busy with other requests"):
            batcher.predict(model, pictures(2), time.monotonic() + 0.05)
        assert batcher.busy_seconds() > 0
        gated.may_go.release(2)
        first.result()
        assert batcher.predict(model, pictures(3), soon()).tolist() == [[3.0]]
    assert gated.chunks == [[1], [3]]


def test_a_model_that_answers_too_few_outputs_is_told_so(model):
    class Short:
        def predict(self, images):
            return []

    with pytest.raises(LehrError, match="answered 0 outputs for 1 images"):
        Batcher().predict(LoadedModel(predictor=Short(), num_bytes=1, chunk_size=4), pictures(1), soon())


def test_a_model_of_two_lanes_computes_two_chunks_at_once_and_never_three(gated, eventually):
    batcher, wide = Batcher(), LoadedModel(predictor=gated, num_bytes=1, chunk_size=4, lanes=2)
    narrow = LoadedModel(predictor=gated, num_bytes=1, chunk_size=4)
    with ThreadPoolExecutor(4) as threads:
        answers = [
            threads.submit(batcher.predict, wide, pictures(*range(start, start + 9)), soon()) for start in (0, 9)
        ]
        eventually(lambda: len(gated.chunks) == 2)
        answers.append(threads.submit(batcher.predict, narrow, pictures(100, 101), soon()))
        eventually(lambda: len(batcher._waiting) == 2)
        assert len(gated.chunks) == 2
        gated.may_go.release(1)
        eventually(lambda: len(gated.chunks) == 3)
        gated.may_go.release(100)
        found = [answer.result().ravel().tolist() for answer in answers]
    assert found == [[*range(9)], [*range(9, 18)], [100, 101]]
    eventually(lambda: batcher.busy_seconds() == 0)


def test_what_many_ask_of_several_lanes_is_answered_once_each(model):
    class Quick:
        def predict(self, images):
            return [image[0, 0, :1].astype(np.float32) for image in images]

    batcher, wide = Batcher(), LoadedModel(predictor=Quick(), num_bytes=1, chunk_size=1, lanes=4)
    with ThreadPoolExecutor(8) as threads:
        asked = [[value % 256, (value + 1) % 256, (value + 2) % 256] for value in range(400)]
        answers = [threads.submit(batcher.predict, wide, pictures(*values), soon()) for values in asked]
        assert [answer.result().ravel().tolist() for answer in answers] == asked
    assert batcher.num_images == 1200


class Keeping:
    """Predicts as many pictures at once as fit beside what earlier calls left behind, as on a GPU."""

    def __init__(self, room):
        self.room, self.kept, self.given_back = room, [], []

    def predict(self, images):
        activations = np.zeros((len(images), 10))
        self.kept.append(weakref.ref(activations))
        if sum(len(kept()) for kept in self.kept if kept() is not None) > self.room:
            raise RuntimeError("out of memory")
        return [image[0, 0, :1].astype(np.float32) for image in images]

    def loaded(self):
        return LoadedModel(predictor=self, num_bytes=1, chunk_size=8, give_back=lambda: self.given_back.append(True))


def test_a_chunk_that_did_not_fit_is_halved_when_its_memory_is_free_again():
    keeping = Keeping(room=4)
    answers = Batcher().predict(keeping.loaded(), pictures(*range(8)), soon())
    assert answers.ravel().tolist() == [*range(8)]
    assert len(keeping.given_back) == 1, "eight did not fit, four did"
    with pytest.raises(LehrError, match="RuntimeError: out of memory") as caught:
        Batcher().predict(Keeping(room=0).loaded(), pictures(1), soon())
    assert caught.value.__context__ is None


def test_a_lane_holds_no_model_while_it_waits(eventually):
    batcher, keeping = Batcher(), Keeping(room=4)
    batcher.predict(keeping.loaded(), pictures(1, 2), soon())
    left = weakref.ref(keeping)
    del keeping
    eventually(lambda: left() is None)


def test_memory_goes_back_once_after_each_time_of_work(eventually, tmp_path):
    keeping, batcher = Keeping(room=4), Batcher()
    keeping.give_back = lambda: keeping.given_back.append(True)
    models = LoadedModels(lambda folder: keeping, memory_bytes=1)
    server = Server(models=models, batcher=batcher)
    model = models.get(tmp_path, timeout=1)
    server.give_back_when_idle(0)
    assert keeping.given_back == [], "nothing was computed yet"
    for times in (1, 2):
        batcher.predict(model, pictures(1), soon())
        eventually(lambda: batcher.busy_seconds() == 0 and not batcher._computing)
        server.give_back_when_idle(60)
        assert len(keeping.given_back) == times - 1
        server.give_back_when_idle(0)
        server.give_back_when_idle(0)
        assert len(keeping.given_back) == times


def test_the_memory_of_a_model_goes_back_when_it_has_left(tmp_path):
    alive, at_give_back = [], []

    def note():
        at_give_back.append([model() is not None for model in alive])

    class Large:
        num_bytes = 2

        def __init__(self):
            alive.append(weakref.ref(self))
            self.give_back = note

        def predict(self, images):
            return images

    models = LoadedModels(lambda folder: Large(), memory_bytes=3)
    for name in "ab":
        (tmp_path / name).mkdir()
        models.get(tmp_path / name, timeout=1)
    assert at_give_back == [[False, True]]
