"""Annotated frames of videos as training items: which, with which labels, and with the pixels of their moment."""

import io

import numpy as np
import pytest
from films import BLUE, GREEN, RED, colours
from PIL import Image

from lehr.learn.data.decode import Decoded
from lehr.learn.data.packs import Packs
from lehr.learn.data.packs import Source as Picture
from lehr.protocol import resources_pb2 as r
from lehr.protocol.structs import to_struct
from lehr.services.training_contents import Contents
from lehr.services.training_data import Reader, named_frame, num_items
from lehr.services.training_sets import TrainingSet, packed, unpacked
from lehr.serving.decoders import DecoderPool
from lehr.store import annotations, dataset_versions, datasets, inputs
from lehr.store.inputs import NewInput
from lehr.store.items import Source


@pytest.fixture(scope="module")
def decoders():
    with DecoderPool(1) as pool:
        yield pool


@pytest.fixture
def contents(blobs, decoders) -> Contents:
    return Contents(blobs=blobs, decoders=decoders)


def frame(concept: str, value: float = 1.0, **info) -> r.Annotation:
    said = r.Data(concepts=[r.Concept(id=concept, value=value)])
    return r.Annotation(data=r.Data(frames=[r.Frame(frame_info=r.FrameInfo(**info), data=said)]))


@pytest.fixture
def items(db, blobs, ref, contents):
    """Reads the app's items after a video with these annotations came in: a second red, then green, then blue."""

    def read(*notes: r.Annotation, **searches):
        message = r.Input(id="film")
        message.data.video.video_info.duration_seconds = 3
        message.status.code = 30000
        sha = blobs.put(colours((RED, 1), (GREEN, 1), (BLUE, 1)))
        for index, note in enumerate(notes):
            note.id, note.input_id, note.status.code = f"n{index}", "film", 24150
        with db.write() as tx:
            inputs.insert(tx, ref, [NewInput(message=message, content_sha=sha)])
            annotations.insert(tx, ref, notes)
        return {item.id: item for item in Reader(db=db, contents=contents).read(Source(app=ref), searches)}

    return read


def colour(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data))).mean((0, 1))


def test_annotated_frames_are_items_with_the_pixels_of_their_moment(items):
    box = r.Region(
        region_info=r.RegionInfo(bounding_box=r.BoundingBox(top_row=0.1, left_col=0.2, bottom_row=0.5, right_col=0.6)),
        data=r.Data(concepts=[r.Concept(id="spot", value=1)]),
    )
    boxed = r.Annotation(data=r.Data(frames=[r.Frame(frame_info=r.FrameInfo(time=1500), data=r.Data(regions=[box]))]))
    split = frame("blue", number=25)
    split.annotation_info.CopyFrom(to_struct({"split": "test"}))
    found = items(frame("red", time=500), frame("green", time=1500), boxed, frame("red", 0.0, time=1500), split)
    assert list(found) == ["film@500ms", "film@1500ms", "film@frame25"]
    red, green, blue = found.values()
    assert [item.positives for item in (red, green, blue)] == [{"red"}, {"green"}, {"blue"}]
    assert (green.negatives, [one.concept for one in green.boxes]) == ({"red"}, ["spot"])
    assert (red.split, blue.split) == ("", "test")
    for item, wanted in zip((red, green, blue), (RED, GREEN, BLUE), strict=True):
        assert np.abs(colour(item.read()) - wanted).max() < 12
    assert len({item.sha256 for item in found.values()}) == 3
    moments = [named_frame(name) for name in (*found, "film")]
    assert moments == [
        ("film", r.FrameInfo(time=500)),
        ("film", r.FrameInfo(time=1500)),
        ("film", r.FrameInfo(number=25)),
        ("film", None),
    ]


def test_what_is_said_of_the_whole_video_is_said_of_its_middle_and_an_unlabelled_video_is_no_item(items):
    assert items() == {}


def test_a_label_of_the_whole_video_is_one_of_its_middle(items):
    whole = r.Annotation(data=r.Data(concepts=[r.Concept(id="colourful", value=1)]), input_level=True)
    [(name, item)] = items(whole).items()
    assert (name, item.positives) == ("film", {"colourful"})
    assert np.abs(colour(item.read()) - GREEN).max() < 12


def test_items_are_counted_as_they_are_read_without_reading_them(db, ref, contents, items):
    whole = r.Annotation(data=r.Data(concepts=[r.Concept(id="colourful", value=1)]))
    again = frame("green", time=1500)
    items(frame("red", time=500), frame("green", time=1500), again, frame("blue", number=60), whole)
    unlabelled = r.Input(id="silent")
    unlabelled.data.video.SetInParent()
    picture, waiting = r.Input(id="picture"), r.Input(id="waiting")
    for each in (picture, waiting):
        each.data.image.SetInParent()
    for each in (unlabelled, picture):
        each.status.code = 30000
    with db.write() as tx:
        inputs.insert(tx, ref, [NewInput(message=each, content_sha="0" * 64) for each in (unlabelled, picture)])
        inputs.insert(tx, ref, [NewInput(message=waiting)])
        for name, members in (("d", ["film", "silent"]), ("pictures", ["picture"])):
            datasets.insert(tx, ref, [r.Dataset(id=name)])
            datasets.add_inputs(tx, ref, name, members)
        dataset_versions.freeze(tx, ref, r.DatasetVersion(id="v", dataset_id="d"))
        annotations.delete(tx, ref, input_ids=["film"], ids=["n0"])
    sources = {
        Source(app=ref): 3 + 1,
        Source(app=ref, dataset_id="d"): 3,
        Source(app=ref, dataset_id="d", dataset_version_id="v"): 4,
        Source(app=ref, dataset_id="pictures"): 1,
    }
    for source, expected in sources.items():
        with db.read() as tx:
            counted = num_items(tx, source)
        assert counted == len(list(Reader(db=db, contents=contents).read(source, {}))) == expected


def test_frames_are_packed_once_and_come_back_with_a_kept_training_set(items, contents, tmp_path):
    found = tuple(items(frame("red", time=500), frame("green", time=1500)).values())
    kept = unpacked(packed(TrainingSet(concept_ids=("red", "green"), items=found)), contents)
    assert kept.items == found
    packs, reads = Packs(tmp_path), []

    def decode(data: bytes, side: int) -> Decoded:
        reads.append(1)
        return contents.decoders.decode(data, shorter_side=side)

    for _ in range(2):
        pack = packs.build([Picture(item.sha256, item.read) for item in kept.items], 48, decode=decode)
    assert len(reads) == 2
    for item, wanted in zip(kept.items, (RED, GREEN), strict=True):
        assert np.abs(pack.pixels(pack.rows[item.sha256]).mean((0, 1)) - wanted).max() < 12


def test_a_video_that_cannot_be_read_is_told_as_unreadable(db, blobs, ref, contents, tmp_path):
    message = r.Input(id="broken")
    message.data.video.SetInParent()
    message.status.code = 30000
    note = frame("red", time=500)
    note.id, note.input_id, note.status.code = "n", "broken", 24150
    with db.write() as tx:
        inputs.insert(tx, ref, [NewInput(message=message, content_sha=blobs.put(b"no film"))])
        annotations.insert(tx, ref, [note])
    [item] = Reader(db=db, contents=contents).read(Source(app=ref), {})
    pack = Packs(tmp_path).build([Picture(item.sha256, item.read)], 48)
    assert "not a video that can be read" in pack.unreadable[item.sha256]
