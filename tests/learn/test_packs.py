"""Packs: decoded once, whole or absent, shared between trainings, within a budget."""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lehr.errors import TrainingStopped, UndecodableImage
from lehr.learn.data.decode import Decoded, decode
from lehr.learn.data.packed import Packed
from lehr.learn.data.packs import Packs, Source, decode_here


def picture(seed: int, width: int = 40, height: int = 30) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def source(data: bytes) -> Source:
    return Source(hashlib.sha256(data).hexdigest(), lambda: data)


class CountingDecode:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, data: bytes, shorter_side: int) -> Decoded:
        self.calls += 1
        return decode_here(data, shorter_side)


def test_a_pack_holds_what_decoding_gives_and_is_reused(tmp_path: Path) -> None:
    pictures = [picture(seed, width=30 + seed) for seed in range(5)]
    counting = CountingDecode()
    for _ in range(2):
        pack = Packs(tmp_path).build([source(data) for data in pictures], 32, decode=counting)
        for data in pictures:
            row = pack.rows[source(data).sha256]
            assert np.array_equal(pack.pixels(row), decode(data, shorter_side=32).pixels)
    assert counting.calls == 5


def test_a_larger_set_copies_what_is_known_already(tmp_path: Path) -> None:
    counting = CountingDecode()
    first, second = [source(picture(seed)) for seed in range(4)], [source(picture(seed)) for seed in range(6)]
    Packs(tmp_path).build(first, 32, decode=counting)
    pack = Packs(tmp_path).build(second, 32, decode=counting)
    assert counting.calls == 6
    assert len(pack.records) == 6
    assert np.array_equal(pack.pixels(pack.rows[first[0].sha256]), decode(picture(0), shorter_side=32).pixels)


def test_native_sizes_are_kept_and_packs_of_before_are_read_without_them(tmp_path: Path) -> None:
    known, new = source(picture(0, width=300, height=200)), source(picture(1, width=50, height=70))
    record = Packs(tmp_path).build([known], 32).records[0]
    assert (record.native_height, record.native_width) == (200, 300)
    index_file = Packs(tmp_path).build([known], 32).folder / "index.json"
    index = json.loads(index_file.read_text())
    del index["natives"]
    index_file.write_text(json.dumps(index))
    assert Packs(tmp_path).build([known], 32).records[0].native_height == 0
    pack = Packs(tmp_path).build([known, new], 32)
    sizes = {sha256: pack.records[row][-2:] for sha256, row in pack.rows.items()}
    assert sizes == {known.sha256: (0, 0), new.sha256: (70, 50)}


def test_pictures_are_found_in_the_packs_of_their_size_while_those_are_there(tmp_path: Path) -> None:
    packs, packed = Packs(tmp_path), Packed(packs=Packs(tmp_path))
    few, more = [source(picture(0))], [source(picture(0)), source(picture(1))]
    assert packed.of_size(32)(few[0].sha256) is None
    packs.build(few, 32)
    packs.build(more, 48)
    assert np.array_equal(packed.of_size(32)(few[0].sha256), decode(picture(0), shorter_side=32).pixels)
    assert packed.of_size(32)(more[1].sha256) is None
    opened = packed.of_size(48)
    Packs(tmp_path, budget_bytes=0).prune()
    assert np.array_equal(opened(more[1].sha256), decode(picture(1), shorter_side=48).pixels)
    assert packed.of_size(48)(more[1].sha256) is None


def test_a_pack_of_jpegs_is_not_taken_for_what_decoding_gives(tmp_path: Path) -> None:
    pictures = [source(picture(seed, 200, 150)) for seed in range(4)]
    assert not Packs(tmp_path, budget_bytes=150_000).build(pictures, 100).is_raw
    assert Packed(packs=Packs(tmp_path)).of_size(100)(pictures[-1].sha256) is None


def test_an_unreadable_picture_is_named_with_its_reason(tmp_path: Path) -> None:
    good, bad = source(picture(0)), source(b"no picture at all")
    pack = Packs(tmp_path).build([good, bad], 32)
    assert list(pack.rows) == [good.sha256]
    assert "text" in pack.unreadable[bad.sha256]


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_build_that_is_stopped_leaves_nothing_that_could_be_read(tmp_path: Path, after: int) -> None:
    sources = [source(picture(seed)) for seed in range(4)]

    def stop(done: int, total: int) -> None:
        if done > after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Packs(tmp_path).build(sources, 32, on_progress=stop)
    assert list(tmp_path.iterdir()) == []
    assert Packs(tmp_path).open(sources, 32) is None


def test_what_a_killed_build_left_is_neither_read_nor_kept(tmp_path: Path) -> None:
    sources = [source(picture(0))]
    left = tmp_path / "partial-abc"
    left.mkdir()
    (left / "pixels.bin").write_bytes(b"half")
    assert Packs(tmp_path).open(sources, 32) is None
    Packs(tmp_path).build(sources, 32)
    assert left.exists(), "it may belong to a process that still writes"
    long_ago = time.time() - 7200
    os.utime(left / "pixels.bin", (long_ago, long_ago))
    Packs(tmp_path).prune()
    assert not left.exists()


def test_the_least_recently_used_packs_go_first(tmp_path: Path) -> None:
    sets = [[source(picture(10 * number + seed)) for seed in range(3)] for number in range(3)]
    one_pack = sum(file.stat().st_size for file in Packs(tmp_path).build(sets[0], 32).folder.iterdir())
    packs = Packs(tmp_path, budget_bytes=int(2.5 * one_pack))
    packs.build(sets[1], 32)
    for age, each in ((200, sets[1]), (100, sets[0])):
        opened = packs.open(each, 32)
        assert opened
        os.utime(opened.folder, (time.time() - age,) * 2)
    packs.build(sets[2], 32)
    assert [packs.open(each, 32) is not None for each in sets] == [True, False, True]


def test_pictures_that_would_not_fit_raw_are_kept_as_jpeg(tmp_path: Path) -> None:
    smooth = [np.full((64, 64, 3), seed * 20, np.uint8) for seed in range(8)]
    sources = [Source(f"{seed:064d}", lambda: b"") for seed in range(8)]
    remaining = iter([Decoded(pixels=pixels, width=64, height=64, format="PNG") for pixels in smooth])
    pack = Packs(tmp_path, budget_bytes=4 * 64 * 64 * 3).build(
        sources, 64, decode=lambda data, side: next(remaining), parallel=1
    )
    assert not pack.is_raw
    for row, pixels in enumerate(smooth):
        assert np.abs(pack.pixels(row).astype(int) - pixels).max() <= 2


def test_a_decoder_s_refusal_is_kept_and_its_crash_is_not(tmp_path: Path) -> None:
    def refuse(error: Exception) -> Callable[[bytes, int], Decoded]:
        def decode(data: bytes, side: int) -> Decoded:
            raise error

        return decode

    pack = Packs(tmp_path).build([source(b"x")], 32, decode=refuse(UndecodableImage("It is broken.")))
    assert pack.unreadable == {source(b"x").sha256: "It is broken."}
    with pytest.raises(ZeroDivisionError):
        Packs(tmp_path).build([source(b"y")], 32, decode=refuse(ZeroDivisionError()))
    with pytest.raises(TrainingStopped, match="No space left"):
        Packs(tmp_path).build([source(b"z")], 32, decode=refuse(OSError(28, "No space left on device")))
