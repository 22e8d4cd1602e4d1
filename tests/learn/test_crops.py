"""Crops read in one gather equal crops cut one by one; draws are as random as they promise."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from lehr.learn.data.crops import Augmentation, Crops, View
from lehr.learn.data.images import Images
from lehr.learn.data.packs import Pack, Packs, Source
from lehr.learn.device import choose_device
from lehr.learn.preprocessing import BOTH_ENDS, Preprocessing, with_mirrors


@pytest.fixture(scope="module", params=["raw", "jpeg"])
def pack(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Pack:
    sources = []
    for seed, (width, height) in enumerate([(48, 32), (32, 32), (32, 90), (33, 40)]):
        pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        data = buffer.getvalue()
        sources.append(Source(hashlib.sha256(data).hexdigest(), lambda data=data: data))
    budget = 20 * 2**30 if request.param == "raw" else 1
    pack = Packs(tmp_path_factory.mktemp(request.param), budget).build(sources, 32)
    assert pack.is_raw is (request.param == "raw")
    return pack


def cut_one(pixels: np.ndarray, top: int, left: int, is_mirrored: bool, side: int) -> np.ndarray:
    """The slow and right way: pad by reflection, slice, flip."""
    padded = np.pad(pixels, ((8, 8), (8, 8), (0, 0)), mode="reflect")
    crop = padded[top + 8 : top + 8 + side, left + 8 : left + 8 + side]
    return crop[:, ::-1] if is_mirrored else crop


def as_cut_one_by_one(pack: Pack, crops: Crops) -> np.ndarray:
    rows = zip(crops.rows_B, crops.top_B, crops.left_B, crops.is_mirrored_B, strict=True)
    return np.stack([cut_one(pack.pixels(row), top, left, flip, crops.side) for row, top, left, flip in rows])


def test_a_batch_of_crops_equals_crops_cut_one_by_one(pack: Pack) -> None:
    images = Images(pack, choose_device("cpu"))
    generator = np.random.default_rng(0)
    for side, padding in ((32, 4), (24, 0), (32, 8)):
        crops = Augmentation(side=side, padding=padding, flip_probability=0.5).draw(
            pack, generator.integers(0, 4, 200), generator
        )
        batch = images.crops(crops).permute(0, 2, 3, 1).numpy()
        assert np.array_equal(batch, as_cut_one_by_one(pack, crops))


def test_flips_come_with_their_probability_and_places_reach_every_corner(pack: Pack) -> None:
    generator = np.random.default_rng(1)
    crops = Augmentation(side=32, padding=2, flip_probability=0.5).draw(pack, np.zeros(20_000, int), generator)
    assert abs(crops.is_mirrored_B.mean() - 0.5) < 0.02
    height, width = pack.records[0][:2]
    assert set(crops.top_B) == set(range(-2, height - 32 + 3))
    assert set(crops.left_B) == set(range(-2, width - 32 + 3))
    never = Augmentation(side=32).draw(pack, np.zeros(100, int), generator)
    assert not never.is_mirrored_B.any()


def test_prediction_sees_the_crops_that_evaluation_sees(pack: Pack) -> None:
    preprocessing = Preprocessing(image_size=32, side=24, views=with_mirrors(BOTH_ENDS))
    images = Images(pack, choose_device("cpu"))
    for row in range(4):
        at_prediction = preprocessing.crops(pack.pixels(row))
        views = [images.crops(view.crops(pack, np.array([row]), 24))[0] for view in preprocessing.views]
        seen = np.unique(np.stack([view.permute(1, 2, 0).numpy() for view in views]), axis=0)
        assert np.array_equal(np.unique(at_prediction, axis=0), seen)


def test_views_that_coincide_are_looked_at_once() -> None:
    square = np.zeros((32, 32, 3), np.uint8)
    assert Preprocessing(image_size=32, side=32, views=BOTH_ENDS).crops(square).shape == (1, 32, 32, 3)
    assert Preprocessing(image_size=32, side=32, views=BOTH_ENDS).crops(np.zeros((64, 200, 3), np.uint8)).shape[0] == 2


def test_the_middle_view_is_centred() -> None:
    assert View().corner(100, 50, 40) == (30, 5)
    assert View(position=1.0).corner(50, 100, 40) == (5, 60)
