"""Predictor processes with a real OpenVINO model: batching, the cache of models, and what happens when they die."""

import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from channel_means import DEADLY, OUT_OF_MEMORY, REFUSED

from lehr.errors import Busy, LehrError, Loading, ModelNotFound, UndecodableImage
from lehr.serving import window
from lehr.serving.predictors import Predictors, slices
from lehr.serving.supervision import pause_seconds

LOADER = "channel_means:ChannelMeans.load"


def picture(value):
    return np.full((8, 8, 3), value, np.uint8)


@contextmanager
def started(eventually, **options):
    with Predictors(1, loader=LOADER, **options) as predictors:
        eventually(predictors.ready)
        yield predictors


@pytest.fixture(scope="module")
def predictors():
    with Predictors(1, loader=LOADER) as predictors:
        yield predictors


@pytest.fixture
def ready(predictors, eventually):
    eventually(predictors.ready)
    return predictors


def killed_and_back(predictors, pid):
    """A claim: another process than `pid` serves now."""
    return lambda: predictors.ready() and [stats["process_id"] for stats in predictors.stats()] not in ([pid], [])


def forward_calls(predictors):
    return predictors.stats()[0]["forward_calls"]


def is_gone(pid):
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_until_a_process_serves_the_answer_is_loading(bundle):
    for predictors in (Predictors(1, loader=LOADER), Predictors(1, loader="nowhere:Predictor.load")):
        with pytest.raises(Loading) as caught:
            predictors.predict(bundle, [picture(1)])
        assert caught.value.code == 21355
        assert not predictors.ready()


def test_outputs_come_in_the_order_of_the_pictures(ready, bundle):
    pictures = np.random.default_rng(0).integers(14, 60, (11, 8, 8, 3), np.uint8)
    outputs = ready.predict(bundle, list(pictures))
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs, pictures.mean((1, 2)), rtol=1e-5)


@pytest.mark.parametrize("is_shared", [True, False], ids=["shared memory", "socket"])
def test_pictures_arrive_whole_whatever_came_before_on_the_connection(ready, bundle, monkeypatch, is_shared):
    monkeypatch.setattr(window, "is_possible", lambda: is_shared)
    generator = np.random.default_rng(1)
    assert window.KEPT_BYTES < 6 * 3 << 20
    for number, side in ((1, 8), (60, 8), (3, 8), (6, 1024), (2, 8), (5, 64), (6, 1024), (1, 8)):
        pictures = np.zeros((number, side, side, 3), np.uint8) + generator.integers(
            100, 250, (number, 1, 1, 3), np.uint8
        )
        pictures[:, :, 4:] = 0
        transposed = [picture.transpose(1, 0, 2) for picture in pictures[:2]]  # not in one piece of memory
        outputs = ready.predict(bundle, [*transposed, *pictures[2:]])
        np.testing.assert_allclose(outputs, pictures.mean((1, 2)), rtol=1e-4)


def test_a_request_is_cut_into_chunks_as_the_model_likes(ready, bundle):
    ready.predict(bundle, [picture(1)])
    before = forward_calls(ready)
    ready.predict(bundle, [picture(1)] * 10)
    assert forward_calls(ready) - before == 3
    assert (bundle / "chunks.txt").read_text().split()[-3:] == ["4", "4", "2"]


def test_many_large_pictures_travel_in_parts(ready, bundle):
    parts = list(slices([np.zeros((4096, 4096, 3), np.uint8)] * 3 + [picture(1)] * 5))
    assert [len(part) for part in parts] == [1, 1, 6]
    assert list(map(len, slices([picture(1)]))) == [1]
    outputs = ready.predict(bundle, [np.full((8, 8, 3), value, np.uint8) for value in range(14, 60)])
    assert outputs[:, 0].tolist() == list(range(14, 60))


def test_requests_that_come_together_are_computed_together(ready, bundle):
    ready.predict(bundle, [picture(1)])
    before = ready.stats()[0]
    with ThreadPoolExecutor(64) as threads:
        outputs = list(threads.map(lambda value: ready.predict(bundle, [picture(value)]), [*range(14, 64)] * 8))
    after = ready.stats()[0]
    assert [output[0, 0] for output in outputs] == [*range(14, 64)] * 8
    assert after["images"] - before["images"] == 400
    assert after["forward_calls"] - before["forward_calls"] < 300


def test_a_picture_that_is_refused_fails_alone(ready, bundle):
    with ThreadPoolExecutor(16) as threads:
        values = [20] * 15 + [REFUSED] + [30] * 16
        answers = [threads.submit(ready.predict, bundle, [picture(value)]) for value in values]
        for value, answer in zip(values, answers, strict=True):
            if value == REFUSED:
                with pytest.raises(UndecodableImage, match="unlucky") as caught:
                    answer.result()
                assert caught.value.code == 30101
            else:
                assert answer.result()[0, 0] == value


def test_a_chunk_too_large_for_the_memory_is_halved(ready, bundle):
    outputs = ready.predict(bundle, [picture(OUT_OF_MEMORY), *[picture(1)] * 3])
    assert outputs[:, 0].tolist() == [OUT_OF_MEMORY, 1, 1, 1]


def test_a_folder_without_a_model_answers_with_a_sentence(ready, tmp_path):
    with pytest.raises(ModelNotFound, match="not there any more"):
        ready.predict(tmp_path / "nowhere", [picture(1)])
    with pytest.raises(LehrError, match="could not be loaded"):
        ready.predict(tmp_path, [picture(1)])
    with pytest.raises(LehrError, match="could not be loaded"):  # a failure is not remembered
        ready.predict(tmp_path, [picture(1)])
    assert len((tmp_path / "loads.txt").read_text().split()) == 2


def copies(bundle, folder, count):
    made = []
    for number in range(count):
        copy = folder / f"model-{number}"
        copy.mkdir()
        for name in ("model.xml", "model.bin"):
            (copy / name).write_bytes((bundle / name).read_bytes())
        made.append(copy)
    return made


def test_the_least_recently_used_model_leaves_when_room_is_needed(bundle, tmp_path, eventually):
    one, two, three = copies(bundle, tmp_path, 3)
    size = sum(path.stat().st_size for path in one.iterdir())
    with started(eventually, memory_bytes=int(2.5 * size)) as predictors:
        for folder in (one, two, one, three, one, two):
            predictors.predict(folder, [picture(3)])
        loads = [len((folder / "loads.txt").read_text().split()) for folder in (one, two, three)]
        assert loads == [1, 2, 1]
        assert predictors.stats()[0]["models"] == [str(one), str(two)]


def test_many_threads_that_want_a_new_model_load_it_once(ready, bundle, tmp_path):
    (folder,) = copies(bundle, tmp_path, 1)
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda _: ready.predict(folder, [picture(1)]), range(16)))
    assert len((folder / "loads.txt").read_text().split()) == 1


def test_requests_under_way_hear_busy_when_the_process_is_killed_and_the_next_are_served(bundle, eventually):
    with started(eventually) as predictors, ThreadPoolExecutor(8) as threads:
        predictors.predict(bundle, [picture(1)])
        pid = predictors.stats()[0]["process_id"]
        os.kill(pid, signal.SIGSTOP)
        answers = [threads.submit(predictors.predict, bundle, [picture(1)]) for _ in range(8)]
        eventually(lambda: predictors._processes[0].num_waiting == 8)
        os.kill(pid, signal.SIGKILL)
        for answer in answers:
            with pytest.raises(Busy) as caught:
                answer.result(timeout=60)
            assert caught.value.code in (21354, 21355)
        eventually(killed_and_back(predictors, pid))
        assert predictors.predict(bundle, [picture(7)])[0, 0] == 7


def test_a_model_that_kills_its_process_is_survived(bundle, eventually):
    with started(eventually) as predictors:
        for _ in range(2):
            pid = predictors.stats()[0]["process_id"]
            with pytest.raises(Busy, match="stopped while it worked"):
                predictors.predict(bundle, [picture(DEADLY)])
            eventually(killed_and_back(predictors, pid))
        assert predictors.predict(bundle, [picture(7)])[0, 0] == 7


def test_a_process_that_answers_nothing_is_killed_and_replaced(bundle, eventually):
    with started(eventually, patience_seconds=2) as predictors:
        predictors.predict(bundle, [picture(1)])
        pid = predictors.stats()[0]["process_id"]
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(Busy, match="did not answer in time"):
            predictors.predict(bundle, [picture(1)], timeout=0.5)
        eventually(killed_and_back(predictors, pid))
        assert is_gone(pid)
        assert predictors.predict(bundle, [picture(7)])[0, 0] == 7


def test_more_requests_than_may_wait_hear_busy(bundle, eventually):
    with started(eventually, max_waiting=2) as predictors, ThreadPoolExecutor(2) as threads:
        predictors.predict(bundle, [picture(1)])
        pid = predictors.stats()[0]["process_id"]
        os.kill(pid, signal.SIGSTOP)
        waiting = [threads.submit(predictors.predict, bundle, [picture(1)]) for _ in range(2)]
        eventually(lambda: predictors._processes[0].num_waiting == 2)
        with pytest.raises(Busy, match="2 predictions are waiting"):
            predictors.predict(bundle, [picture(1)])
        os.kill(pid, signal.SIGCONT)
        assert [answer.result()[0, 0] for answer in waiting] == [1, 1]


def test_work_is_shared_among_processes(bundle, eventually):
    with Predictors(2, loader=LOADER) as predictors:
        eventually(lambda: len(predictors.stats()) == 2)
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda _: predictors.predict(bundle, [picture(1)] * 8), range(64)))
        assert all(stats["images"] > 0 for stats in predictors.stats())


def test_the_socket_is_private_the_priority_low_and_torch_absent(ready, bundle):
    ready.predict(bundle, [picture(1)])
    stats = ready.stats()[0]
    assert stat.S_IMODE(ready._folder.stat().st_mode) == 0o700
    assert os.getpriority(os.PRIO_PROCESS, stats["process_id"]) > os.getpriority(os.PRIO_PROCESS, 0)
    assert not stats["has_torch"]
    assert "libtorch" not in Path(f"/proc/{stats['process_id']}/maps").read_text()


def test_closing_ends_the_process_and_removes_the_socket(bundle, eventually):
    with started(eventually) as predictors:
        pid, folder = predictors.stats()[0]["process_id"], predictors._folder
    assert is_gone(pid)
    assert not folder.exists()
    with pytest.raises(Loading):
        predictors.predict(bundle, [picture(1)])


PARENT = f"""
import time
from lehr.serving import window
from lehr.serving.predictors import Predictors, slices
predictors = Predictors(1, loader={LOADER!r})
predictors.start()
while not predictors.ready(): time.sleep(0.05)
print(predictors.stats()[0]["process_id"], flush=True)
time.sleep(600)
"""


def test_predictors_die_with_their_parent(eventually):
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    eventually(lambda: is_gone(pid))


def test_the_pause_before_a_new_start_doubles_up_to_half_a_minute():
    assert [pause_seconds(failures) for failures in (1, 2, 3)] == [0.1, 0.2, 0.4]
    assert pause_seconds(1000) == 30.0
