"""Decoder processes: the same pixels as in-process, and a sentence whatever happens to a process."""

import contextlib
import io
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lehr.errors import Busy, TooLarge, UndecodableImage
from lehr.learn.data import decode as in_process
from lehr.learn.data.decode import Limits
from lehr.serving.decoders import Bounds, DecoderPool


@pytest.fixture(scope="module")
def pool():
    with DecoderPool(2) as pool:
        yield pool


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, rows):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def status(pid, name):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def is_gone(pid):
    try:
        return status(pid, "State") == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_decoder_answers_what_the_functions_answer(pool, photo):
    for format_ in ("JPEG", "PNG", "WEBP"):
        data = photo(format_)
        far, near = pool.decode(data, shorter_side=64), in_process.decode(data, shorter_side=64)
        np.testing.assert_array_equal(far.pixels, near.pixels)
        assert (far.width, far.height, far.format) == (near.width, near.height, near.format)
        np.testing.assert_array_equal(pool.decode(data).pixels, in_process.decode(data).pixels)
        assert pool.probe(data) == in_process.probe(data)
        assert pool.inspect(data, 100) == in_process.inspect(data, 100)
        assert pool.thumbnail(data, 100) == in_process.thumbnail(data, 100)


def test_pixels_are_read_only_on_both_ways(pool, photo):
    for found in (pool.decode(photo()), in_process.decode(photo())):
        assert not found.pixels.flags.writeable


def test_bad_pictures_are_refused_in_the_same_words(pool, photo):
    for data in (photo()[:3000], b"text named .png", png(30_000, 30_000, b"")):
        with pytest.raises((UndecodableImage, TooLarge)) as near:
            in_process.decode(data)
        with pytest.raises(type(near.value)) as far:
            pool.decode(data)
        assert (far.value.details, far.value.code) == (near.value.details, near.value.code)
    assert pool.probe(photo()).width == 320


def test_too_many_bytes_are_refused_before_they_travel():
    with DecoderPool(1, bounds=Bounds(limits=Limits(max_bytes=100))) as pool:
        with pytest.raises(TooLarge, match="at most 100"):
            pool.decode(bytes(101))
        assert list(pool.process_ids()) == []


def test_a_deflate_bomb_costs_little_and_harms_nobody(pool, photo):
    bomb = png(8000, 8000, zlib.compress(bytes(8000 * 24_001), 9))
    assert len(bomb) < 250_000
    assert pool.decode(bomb, shorter_side=16).pixels.shape == (16, 16, 3)
    assert pool.probe(photo()).height == 240


def test_a_picture_that_needs_more_memory_than_allowed_is_refused_and_the_next_one_served(photo):
    buffer = io.BytesIO()
    Image.new("RGB", (9000, 9000)).save(buffer, "PNG")
    with DecoderPool(1, bounds=Bounds(memory_bytes=100 << 20)) as pool:
        with pytest.raises(TooLarge, match="memory"):
            pool.decode(buffer.getvalue())
        assert pool.decode(photo(), shorter_side=32).pixels.shape == (32, 43, 3)


def test_a_picture_that_takes_too_much_computing_is_refused_and_not_tried_twice(photo):
    buffer = io.BytesIO()
    Image.new("RGBA", (9000, 9000), (1, 2, 3, 4)).save(buffer, "PNG", compress_level=1)
    with DecoderPool(1, bounds=Bounds(cpu_seconds=0.01)) as pool:
        pool.probe(photo())
        (pid,) = pool.process_ids()

        def decode_again_and_again():  # the kernel counts whole seconds: one of these crosses into the next
            for _ in range(50):
                pool.decode(buffer.getvalue(), shorter_side=16)

        with pytest.raises(UndecodableImage, match=r"within 0\.01 seconds"):
            decode_again_and_again()
        assert is_gone(pid)
        assert list(pool.process_ids()) == []


def test_a_decoder_that_hangs_is_replaced_and_the_caller_told(photo):
    with DecoderPool(1, bounds=Bounds(wall_seconds=1.0)) as pool:
        pool.probe(photo())
        (pid,) = pool.process_ids()
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(UndecodableImage, match="within 1 seconds"):
            pool.decode(photo())
        assert is_gone(pid)
        assert pool.probe(photo()).width == 320


def test_a_decoder_killed_between_pictures_is_not_noticed(photo):
    with DecoderPool(1) as pool:
        pool.probe(photo())
        (pid,) = pool.process_ids()
        os.kill(pid, signal.SIGKILL)
        assert pool.probe(photo()).width == 320
        assert list(pool.process_ids()) != [pid]


def test_a_decoder_killed_while_it_works_is_replaced_and_the_picture_tried_again(photo, eventually):
    with DecoderPool(1) as pool, ThreadPoolExecutor(1) as other:
        pool.probe(photo())
        (pid,) = pool.process_ids()
        os.kill(pid, signal.SIGSTOP)
        answer = other.submit(pool.decode, photo(), shorter_side=32)
        eventually(pool._idle.empty)
        os.kill(pid, signal.SIGKILL)
        assert answer.result(timeout=60).pixels.shape == (32, 43, 3)


def test_a_picture_that_kills_two_decoders_is_given_up(photo, eventually):
    with DecoderPool(1) as pool, ThreadPoolExecutor(1) as other:
        pool.probe(photo())
        first = pool.process_ids()[0]
        os.kill(first, signal.SIGSTOP)
        answer = other.submit(pool.decode, png(6000, 6000, zlib.compress(bytes(6000 * 18_001), 1)))
        eventually(pool._idle.empty)
        os.kill(first, signal.SIGKILL)
        while not answer.done():
            for pid in pool.process_ids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        with pytest.raises(UndecodableImage, match="ended with code -9, twice"):
            answer.result()
        assert pool.probe(photo()).width == 320


def test_sixty_four_threads_share_two_decoders_while_one_is_killed_again_and_again(pool, photo):
    expected = in_process.decode(photo(), shorter_side=48).pixels
    stop = threading.Event()

    def kill_now_and_then():
        while not stop.wait(0.5):
            for pid in list(pool.process_ids())[:1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    with ThreadPoolExecutor(64) as threads:
        answers = list(threads.map(lambda _: pool.decode(photo(), shorter_side=48).pixels, range(256)))
    stop.set()
    killer.join()
    assert all(np.array_equal(pixels, expected) for pixels in answers)


def test_who_waits_too_long_for_a_decoder_hears_busy(photo, eventually):
    with DecoderPool(1, bounds=Bounds(wait_seconds=0.05)) as pool, ThreadPoolExecutor(1) as other:
        pool.probe(photo())
        (pid,) = pool.process_ids()
        os.kill(pid, signal.SIGSTOP)
        answer = other.submit(pool.probe, photo())
        eventually(pool._idle.empty)
        with pytest.raises(Busy, match="busy with other images"):
            pool.probe(photo())
        os.kill(pid, signal.SIGCONT)
        assert answer.result().width == 320


def test_closing_answers_who_is_waiting(photo, eventually):
    pool = DecoderPool(1)
    pool.probe(photo())
    (pid,) = pool.process_ids()
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as other:
        answer = other.submit(pool.probe, photo())
        eventually(pool._idle.empty)
        pool.close()
        with pytest.raises(Busy, match="shutting down"):
            answer.result(timeout=30)
    with pytest.raises(Busy, match="shutting down"):
        pool.probe(photo())


def test_a_decoder_outlives_the_thread_that_first_needed_it(photo):
    with DecoderPool(1) as pool:
        thread = threading.Thread(target=pool.probe, args=(photo(),))
        thread.start()
        thread.join()
        before = list(pool.process_ids())
        time.sleep(0.2)
        assert pool.probe(photo()).width == 320
        assert list(pool.process_ids()) == before


PARENT = """
import sys, time
from lehr.serving.decoders import DecoderPool
pool = DecoderPool(1)
try: pool.probe(b"")
except Exception: pass
print(*pool.process_ids(), flush=True)
time.sleep(600)
"""


def test_decoders_die_with_their_parent_also_when_stopped(eventually):
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    os.kill(pid, signal.SIGSTOP)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    eventually(lambda: is_gone(pid))


def test_a_decoder_knows_no_secret_and_holds_no_torch(pool, photo, monkeypatch):
    monkeypatch.setenv("LEHR_PAT", "a secret")
    with DecoderPool(1) as fresh:
        fresh.probe(photo())
        (pid,) = fresh.process_ids()
        assert b"a secret" not in Path(f"/proc/{pid}/environ").read_bytes()
        assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()
        assert int(status(pid, "VmRSS")) < 100 * 1024
    code = "import sys; from lehr.serving import decoders, fetch, predictors; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
