"""Which items take part, what is held out, and what is said about a set before it trains."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lehr.errors import LehrError, NoPositives, NoTrainingData, SingleClass, TooManyBadItems, TrainingStopped
from lehr.learn.data import near_duplicates
from lehr.learn.data.dataset import build_data
from lehr.learn.data.order import DataOrder
from lehr.learn.data.packs import Packs, signature
from lehr.learn.folder import read_folder
from lehr.learn.items import Finding, Item, OfVideo


def photo(seed: int, quality: int = 95, size: int = 96) -> bytes:
    """Smooth random blobs: unlike one another, and recognisable after compression."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def item(data: bytes, *positives: str, negatives: tuple[str, ...] = (), split: str = "", name: str = "") -> Item:
    sha256 = hashlib.sha256(data).hexdigest()
    return Item(
        id=name or sha256[:8],
        sha256=sha256,
        read=lambda: data,
        positives=frozenset(positives),
        negatives=frozenset(negatives),
        split=split,
    )


def video(number: int, *concepts: str, split: str = "") -> list[Item]:
    """A frame per concept, a second apart, each unlike the others."""
    frames = [item(photo(1000 * number + second), concept, split=split) for second, concept in enumerate(concepts)]
    return [
        replace(frame, id=f"v{number}@{second}", of_video=OfVideo(sha256=f"film {number}", time_ms=1000 * second))
        for second, frame in enumerate(frames)
    ]


def films_in(ids: Sequence[str]) -> set[str]:
    return {name.partition("@")[0] for name in ids}


def of_kind(kind: str, findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.kind == kind]


def order(*concepts: str, **changes: object) -> DataOrder:
    return DataOrder(concepts=concepts or ("cat", "dog"), image_size=32, **changes)  # type: ignore[arg-type]


CATS = [item(photo(seed), "cat") for seed in range(20)]
DOGS = [item(photo(100 + seed), "dog") for seed in range(20)]
BIRD = item(photo(500), "bird")


def test_a_fifth_of_every_concept_is_held_out_and_always_the_same(tmp_path: Path) -> None:
    first = build_data(order(), CATS + DOGS, packs=Packs(tmp_path))
    again = build_data(order(), (CATS + DOGS)[::-1], packs=Packs(tmp_path))
    assert first.held_out_ids == again.held_out_ids
    assert first.fingerprint == again.fingerprint
    assert first.targets_NK[first.held_indices].sum(axis=0).tolist() == [4, 4]


def test_copies_of_a_picture_are_never_on_both_sides(tmp_path: Path) -> None:
    copies = [item(photo(seed, quality=70, size=120), "cat") for seed in range(20)]
    data = build_data(order(), CATS + copies + DOGS, packs=Packs(tmp_path))
    held = set(data.held_out_ids)
    assert all((one.id in held) == (other.id in held) for one, other in zip(CATS, copies, strict=True))
    assert 6 <= data.targets_NK[data.held_indices, 0].sum() <= 10


def test_near_duplicates_equal_those_of_a_search_over_all_pairs() -> None:
    shrunk = [
        Image.open(io.BytesIO(photo(seed, quality))).resize((32, 32)) for seed in range(30) for quality in (95, 60)
    ]
    signatures = np.stack([np.frombuffer(signature(np.asarray(image)), np.uint8) for image in shrunk])
    groups = near_duplicates.groups(signatures)
    for one in range(60):
        for other in range(60):
            bits = int(np.bitwise_count(signatures[one, :8] ^ signatures[other, :8]).sum())
            levels = np.abs(signatures[one, 8:].astype(int) - signatures[other, 8:]).mean()
            assert (groups[one] == groups[other]) == (bits <= 7 and levels <= 3.0)


@pytest.mark.parametrize("same", [1, 4], ids=["a byte in common", "half of the hash in common"])
def test_near_duplicates_far_apart_in_a_large_set_equal_those_of_a_search_over_all_pairs(same: int) -> None:
    rng = np.random.default_rng(0)
    originals = rng.integers(0, 256, (700, 264), dtype=np.uint8)
    originals[:, :same] = originals[0, :same]
    copies = originals.copy()  # of which no byte of the hash stays equal but the common ones
    copies[:, same:8] ^= 1 << rng.integers(0, 8, (700, 8 - same), dtype=np.uint8)
    copies[:, 8:] ^= rng.integers(0, 2, (700, 256), dtype=np.uint8)
    signatures = np.concatenate([originals, copies])
    bits = np.bitwise_count(signatures[:, None, :8] ^ signatures[None, :, :8]).sum(axis=2)
    levels = np.stack([np.abs(signatures[:, 8:].astype(int) - row).mean(axis=1) for row in signatures[:, 8:]])
    groups = near_duplicates.groups(signatures)
    assert np.array_equal(groups[:, None] == groups[None], (bits <= 7) & (levels <= 3.0))


def test_copies_are_found_in_a_crowd_whose_hashes_are_all_equal() -> None:
    rng = np.random.default_rng(0)
    signatures = np.zeros((1500, 264), np.uint8)
    signatures[:, 8:] = rng.integers(0, 64, (1500, 1)) + rng.integers(0, 128, (1500, 256))
    copies = signatures.copy()
    copies[:, 8] += 2
    groups = near_duplicates.groups(np.concatenate([signatures, copies]))
    assert groups.tolist() == [*range(1500), *range(1500)]


def test_marks_decide_the_split_where_there_are_any(tmp_path: Path) -> None:
    marked = [item(photo(700), "cat", split="test", name="t1"), item(photo(701), "dog", split="test", name="t2")]
    assert build_data(order(), CATS + DOGS + marked, packs=Packs(tmp_path)).held_out_ids in (("t1", "t2"), ("t2", "t1"))
    trained = [item(photo(seed), "cat", split="train") for seed in range(20)]
    data = build_data(order(), trained + DOGS, packs=Packs(tmp_path))
    assert data.targets_NK[data.held_indices].sum(axis=0).tolist() == [0, 4]


def test_frames_of_a_video_are_never_on_both_sides_where_there_are_videos_enough(tmp_path: Path) -> None:
    videos = [frame for number in range(10) for frame in video(number, *("cat", "dog") * 4)]
    data = build_data(order(), videos, packs=Packs(tmp_path))
    assert len(films_in(data.held_out_ids)) == 2
    assert not films_in(data.held_out_ids) & films_in(data.train_ids)
    assert not of_kind("videos_on_both_sides", data.findings)


def test_of_one_video_stretches_are_held_out_and_that_is_said(tmp_path: Path) -> None:
    frames = video(1, *(["cat"] * 40 + ["dog"] * 40))
    data = build_data(order(), frames, packs=Packs(tmp_path))
    held = sorted(int(name.partition("@")[2]) for name in data.held_out_ids)
    assert len(held) == 16
    assert sum(after - before > 1 for before, after in itertools.pairwise(held)) <= 1, held
    assert (data.targets_NK[data.held_indices].sum(axis=0) > 0).all()
    [finding] = of_kind("videos_on_both_sides", data.findings)
    assert set(finding.item_ids) == set(data.held_out_ids)
    assert "Of 1 video some frames train" in finding.text


def test_only_the_video_that_alone_has_a_concept_is_divided(tmp_path: Path) -> None:
    videos = [frame for number in range(10) for frame in video(number, *("cat", "dog") * 4)]
    data = build_data(order("cat", "dog", "fish"), videos + video(77, *["fish"] * 20), packs=Packs(tmp_path))
    assert films_in(data.held_out_ids) & films_in(data.train_ids) == {"v77"}
    assert data.targets_NK[data.held_indices, 2].sum() == 4
    [finding] = of_kind("videos_on_both_sides", data.findings)
    assert films_in(finding.item_ids) == {"v77"}


def test_a_long_video_is_divided_before_most_of_the_items_are_held_out(tmp_path: Path) -> None:
    """Whichever of three videos the hash of its content chooses to be held out."""
    divided = 0
    for start in range(0, 24, 3):
        videos = [video(start + n, *("cat", "dog") * (20 if n == 0 else 3)) for n in range(3)]
        data = build_data(order(), list(itertools.chain(*videos)), packs=Packs(tmp_path))
        assert 0 < data.num_held_out < data.num_train
        divided += len(of_kind("videos_on_both_sides", data.findings))
    assert 0 < divided < 8


def test_marks_that_put_copies_or_frames_of_a_video_on_both_sides_are_kept_and_told(tmp_path: Path) -> None:
    copy = item(photo(3, quality=60), "cat", split="test", name="copy")
    film = video(1, "dog", "dog", split="train") + [replace(f, id=f"{f.id}b") for f in video(1, "dog", split="test")]
    other = item(photo(700), "dog", split="test", name="other")
    data = build_data(order(), [*CATS, *DOGS, copy, other, *film], packs=Packs(tmp_path))
    assert set(data.held_out_ids) == {"copy", "other", "v1@0b"}
    [finding] = of_kind("copies_on_both_sides", data.findings)
    assert set(finding.item_ids) == {"copy", "v1@0b"}
    assert "2 of 3 held-out items are near-copies of training items" in finding.text
    [finding] = of_kind("videos_on_both_sides", data.findings)
    assert finding.item_ids == ("v1@0b",)
    assert "as they are marked" in finding.text


def test_pictures_that_are_enlarged_are_told_with_the_size_that_would_do(tmp_path: Path) -> None:
    small = [item(photo(seed, size=100 + seed % 2), "cat") for seed in range(30)]
    large = [item(photo(100 + seed, size=400), "dog") for seed in range(30)]

    def text(size: int, items: list[Item]) -> str:
        data = build_data(replace(order(), image_size=size), items, packs=Packs(tmp_path))
        return " ".join(finding.text for finding in of_kind("small_pictures", data.findings))

    assert "30 of 30 pictures are smaller than image_size 256 (the median's shorter side is 100.5)" in text(256, small)
    assert "image_size 128 trains faster" in text(256, small)
    assert "30 of 60 pictures" in text(256, small + large)
    assert "expect less of them" in text(256, small + large)
    assert text(128, small) == "", "hardly enlarged"
    assert text(256, large + small[:3]) == "", "few"
    assert text(32, small + large) == ""


def test_background_trains_only_in_an_open_environment(tmp_path: Path) -> None:
    negative = item(photo(501), negatives=("cat",), name="not a cat")
    items = [*CATS, *DOGS, BIRD, negative]
    closed = build_data(order(closed_environment=True), items, packs=Packs(tmp_path))
    assert {BIRD.id, "not a cat"} & set(closed.train_ids + closed.held_out_ids) == {"not a cat"}
    opened = build_data(order(), items, packs=Packs(tmp_path))
    assert BIRD.id in opened.train_ids + opened.held_out_ids
    assert any(finding.kind == "background" for finding in opened.findings)


@pytest.mark.parametrize(
    ("items", "changes", "error", "words"),
    [
        ([], {}, NoTrainingData, "no items"),
        ([BIRD], {}, NoPositives, "they carry: bird"),
        ([item(photo(0), negatives=("cat",))], {}, NoPositives, "unset value is 0"),
        ([item(photo(0), "cat", "dog")], {"exclusive": True}, TrainingStopped, "With logreg 1 several may be true"),
        (
            [item(photo(0), "cat", "dog", name="both")],
            {"exclusive": True, "is_by_angles": True},
            TrainingStopped,
            r"1 item \(both\) carry more than one .* but in learning by angles exactly one can be true. "
            "Correct these items. With an embedder that learns as a classifier",
        ),
        ([item(b"text", "cat", name="bad one"), *CATS[:9]], {}, TooManyBadItems, "bad one: This is text"),
        (
            [item(b"text", "cat"), *(item(photo(seed)) for seed in range(30))],
            {"invalid_data_tolerance_percent": 50.0},
            NoPositives,
            "unreadable",
        ),
        ([item(photo(0), "cat", split="test")], {}, NoPositives, "marked as a test item"),
    ],
)
def test_a_set_that_cannot_train_is_refused_with_what_was_found(
    tmp_path: Path, items: list[Item], changes: dict[str, object], error: type[LehrError], words: str
) -> None:
    with pytest.raises(error, match=words):
        build_data(order(**changes), items, packs=Packs(tmp_path))


def test_softmax_over_one_concept_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SingleClass, match="set logreg to 1"):
        build_data(order("cat", exclusive=True), CATS, packs=Packs(tmp_path))
    with pytest.raises(SingleClass, match=r"Learning by angles .* choose an embedder that learns as a classifier"):
        build_data(order("cat", exclusive=True, is_by_angles=True), CATS, packs=Packs(tmp_path))


@pytest.mark.parametrize("by_angles", [False, True])
def test_items_that_only_several_true_concepts_could_use_are_left_out_and_told(tmp_path: Path, by_angles: bool) -> None:
    negative = item(photo(501), negatives=("cat",), name="not a cat")
    items = [*CATS, *DOGS, BIRD, negative]

    def told(**changes: object) -> dict[str, tuple[str, ...]]:
        made = order(exclusive=True, is_by_angles=by_angles, **changes)
        findings = build_data(made, items, packs=Packs(tmp_path)).findings
        advice = "learns as a classifier" if by_angles else "With logreg 1 they train as background"
        assert all(advice in finding.text for finding in findings if finding.kind == "without_concept")
        return {finding.kind: finding.item_ids for finding in findings}

    assert set(told()["without_concept"]) == {BIRD.id, "not a cat"}
    assert told(closed_environment=True)["without_concept"] == ("not a cat",)
    assert not [each for each in build_data(order(), items, packs=Packs(tmp_path)).findings if "left out" in each.text]


def test_what_looks_wrong_is_said_before_training(tmp_path: Path) -> None:
    twice = item(photo(3, quality=60), "dog", name="twin")
    data = build_data(order("cat", "dog", "fish"), [*CATS, *DOGS[:5], twice], packs=Packs(tmp_path))
    kinds = {finding.kind: finding for finding in data.findings}
    assert kinds["no_positives"].concepts == ("fish",)
    assert kinds["few_positives"].concepts == ("dog",)
    assert set(kinds["near_duplicates"].item_ids) == {"twin", CATS[3].id}


def test_class_folders_become_items_with_their_splits(tmp_path: Path) -> None:
    for split, kind in (("train", "cat"), ("val", "cat"), ("train", "dog")):
        folder = tmp_path / split / kind
        folder.mkdir(parents=True)
        (folder / "1.jpg").write_bytes(photo(len(split + kind)))
        (folder / "notes.txt").write_text("no picture")
    items = {item.id: (item.positives, item.split) for item in read_folder(tmp_path)}
    assert items == {
        "train/cat/1.jpg": ({"cat"}, "train"),
        "train/dog/1.jpg": ({"dog"}, "train"),
        "val/cat/1.jpg": ({"cat"}, "test"),
    }
    with pytest.raises(LehrError, match="class folders"):
        read_folder(tmp_path / "val" / "cat")
