"""Things followed through a video: tracks, what is annotated along them, who did it, and how a player streams it."""

import base64
from xml.etree import ElementTree

import pytest

from lehr.errors import Duplicate, InvalidAnnotation, InvalidInput, InvalidRequest, InvalidSearch, NotFound
from lehr.protocol import resources_pb2 as r
from lehr.protocol.statuses import status
from lehr.services.annotations import Annotations, Wanted
from lehr.services.manifests import PREFIX, Manifests
from lehr.services.paging import Paging
from lehr.services.track_annotations import Stretch, TrackAnnotations
from lehr.services.tracks import Tracks
from lehr.store import concepts, inputs
from lehr.store.annotations import AnnotationFilter
from lehr.store.inputs import NewInput

FPS, SECONDS = 10, 8
FIRST = Paging(page=1, per_page=100)


@pytest.fixture
def film(db, blobs, ref) -> str:
    """The id of a processed video of 8 seconds; "still" is a picture beside it."""
    video, still = r.Input(id="film", status=status(30000)), r.Input(id="still", status=status(30000))
    video.data.video.video_info.CopyFrom(
        r.VideoInfo(
            width=64, height=48, fps=FPS, duration_seconds=SECONDS, frame_count=80, video_format="MP4", bit_rate=9000
        )
    )
    video.data.video.hosted.suffix = "f" * 64
    still.data.image.SetInParent()
    with db.write() as tx:
        inputs.insert(tx, ref, [NewInput(message=video), NewInput(message=still)])
    return "film"


@pytest.fixture
def tracks(db, film) -> Tracks:
    return Tracks(db=db)


def ids(found) -> list[str]:
    return [each.id for each in found]


# -- tracks -----------------------------------------------------------------------------------------------------------


def test_a_track_is_made_read_changed_and_deleted(tracks, db, ref):
    order = r.AnnotationTrack(id="car", concept=r.Concept(id="red car", value=1), start_frame_ms=500, end_frame_nr=42)
    [made] = tracks.create(ref, "film", [order])
    assert (made.start_frame_nr, made.start_frame_ms, made.end_frame_nr, made.end_frame_ms) == (5, 500, 42, 4200)
    assert (made.input_id, made.status.code) == ("film", 24300)
    assert made.created_at == made.modified_at
    with db.read() as tx:
        assert concepts.get_many(tx, ref, ["red car"])
    assert tracks.list_of(ref, "film", FIRST) == [made]
    change = r.AnnotationTrack(id="car", end_frame_ms=6000, status=status(24303), sample_rate_ms=100)
    [changed] = tracks.patch(ref, "film", [change], "overwrite")
    assert (changed.end_frame_nr, changed.end_frame_ms, changed.start_frame_ms) == (60, 6000, 500)
    assert (changed.status.code, changed.sample_rate_ms, changed.concept.id) == (24303, 100, "red car")
    assert tracks.list_of(ref, "film", FIRST, ids=["car", "none"]) == [changed]
    assert tracks.list_of(ref, "film", Paging(page=2, per_page=100)) == []
    assert tracks.delete(ref, "film", ["car", "none"]) == 1
    assert tracks.list_of(ref, "film", FIRST) == []


def test_several_tracks_are_made_all_or_none_and_listed_in_order(tracks, ref, other_ref):
    made = tracks.create(ref, "film", [r.AnnotationTrack() for _ in range(3)])
    assert ids(tracks.list_of(ref, "film", FIRST)) == ids(made)
    with pytest.raises(Duplicate):
        tracks.create(ref, "film", [r.AnnotationTrack(id="new"), r.AnnotationTrack(id=made[0].id)])
    assert len(tracks.list_of(ref, "film", FIRST)) == 3
    with pytest.raises(NotFound):
        tracks.list_of(other_ref, "film", FIRST)
    assert tracks.delete(other_ref, "", ids(made)) == 0
    assert tracks.delete(ref, "", ids(made)) == 3


@pytest.mark.parametrize(
    ("track", "sentence"),
    [
        (r.AnnotationTrack(start_frame_nr=9, end_frame_nr=3), "begins at frame number 9, after its end at 3"),
        (r.AnnotationTrack(start_frame_ms=9, end_frame_ms=3), "begins at millisecond 9|begins at frame"),
        (r.AnnotationTrack(end_frame_ms=9000), "lies at 9000 ms; the video is 8000 ms long"),
        (r.AnnotationTrack(id="no good"), "id"),
        (r.AnnotationTrack(input_id="other"), "is of input 'other', but was sent to input 'film'"),
        (r.AnnotationTrack(status=status(24150)), r"cannot have the status 24150; there are: 24300 \("),
    ],
)
def test_a_track_that_cannot_be_is_refused_in_a_sentence(tracks, ref, track, sentence):
    with pytest.raises(InvalidAnnotation, match=sentence):
        tracks.create(ref, "film", [track])


def test_only_videos_have_tracks_and_nothing_is_deleted_by_naming_nothing(tracks, ref):
    with pytest.raises(InvalidAnnotation, match="is no video"):
        tracks.create(ref, "still", [r.AnnotationTrack()])
    with pytest.raises(NotFound, match="no input 'gone'"):
        tracks.create(ref, "gone", [r.AnnotationTrack()])
    with pytest.raises(NotFound, match="no annotation track 'gone'"):
        tracks.patch(ref, "film", [r.AnnotationTrack(id="gone")], "overwrite")
    with pytest.raises(InvalidRequest, match="`ids` is empty"):
        tracks.delete(ref, "film", [])
    with pytest.raises(InvalidAnnotation, match="1 to 1000"):
        tracks.create(ref, "film", [])


# -- what is annotated along them -------------------------------------------------------------------------------------


def seen(ms: int, track_id: str = "", *, point: bool = False, score: float = 1.0, by: str = "") -> r.Annotation:
    """An annotation of one region of the frame of a moment."""
    region = r.Region(track_id=track_id, value=score, data=r.Data(concepts=[r.Concept(id="car", value=1)]))
    if point:
        region.region_info.point.CopyFrom(r.Point(row=0.5, col=0.5))
    else:
        box = r.BoundingBox(top_row=0.1, left_col=0.1, bottom_row=0.5, right_col=0.5)
        region.region_info.bounding_box.CopyFrom(box)
    info = r.FrameInfo(time=ms, number=ms * FPS // 1000)
    frame = r.Frame(frame_info=info, data=r.Data(regions=[region]))
    return r.Annotation(
        id=f"{ms}{track_id}{by}{'p' * point}", input_id="film", data=r.Data(frames=[frame]), model_version_id=by
    )


@pytest.fixture
def along(tracks, db, ref) -> TrackAnnotations:
    """Track a is seen ten times a second, backwards; b once; a model sees c, with a growing score."""
    tracks.create(ref, "film", [r.AnnotationTrack(id="a"), r.AnnotationTrack(id="b")])
    notes = [seen(ms, "a") for ms in range(7900, -1, -100)] + [seen(500, "b", point=True)]
    notes += [seen(1000 * n, "c", score=n / 10, by="v1") for n in range(1, 8)]
    done = Annotations(db=db).post(ref, "ana", notes)
    assert done.status.code == 10000, done.annotations
    return TrackAnnotations(db=db)


def moments(found) -> list[int]:
    return [note.data.frames[0].frame_info.time for note in found]


def test_a_stretch_is_told_frame_by_frame_within_60_frames_and_3_seconds(along, ref):
    def search(**wanted):
        return along.search(ref, Stretch(input_id="film", **wanted))

    assert moments(search(track_ids=["a"])) == list(range(0, 3000, 100))
    assert moments(search(track_ids=["a"], ms_from=7500)) == [7500, 7600, 7700, 7800, 7900]
    assert moments(search(track_ids=["a"], number_from=20, max_frames=3)) == [2000, 2100, 2200]
    assert moments(search(track_ids=["a"], ms_from=1000, max_duration=250)) == [1000, 1100, 1200]
    assert ids(search(ms_from=500, max_frames=1)) == ["500a", "500bp"]
    assert ids(search(kind=r.POINT)) == ["500bp"]
    assert moments(search(worker=r.Worker(model=r.Model(model_version=r.ModelVersion(id="v1"))))) == [1000, 2000]
    assert "c" not in {
        n.data.frames[0].data.regions[0].track_id for n in search(worker=r.Worker(user=r.User(id="ana")))
    }
    for name, most in (("max_frames", 60), ("max_duration", 3000)):
        with pytest.raises(InvalidSearch, match=f"{name} is at most {most}"):
            search(**{name: most + 1})


def test_a_stream_has_no_limit_and_says_where_a_frame_ends(along, ref):
    shots = list(along.stream(ref, Stretch(input_id="film")))
    assert len(shots) == 80 + 1 + 7
    assert [shot.ms for shot in shots] == sorted(shot.ms for shot in shots)
    assert [shot.is_last_of_frame for shot in shots if shot.ms == 500] == [False, True]
    sure = along.stream(ref, Stretch(input_id="film", track_ids=["c"], min_score=0.5))
    assert [shot.ms for shot in sure] == [5000, 6000, 7000]


def test_a_track_goes_with_what_was_annotated_along_it(along, tracks, ref):
    tracks.delete(ref, "film", ["a"])
    assert {
        shot.annotation.id for shot in along.stream(ref, Stretch(input_id="film", ms_from=500, max_duration=1))
    } == {"500bp"}


# -- who annotated ----------------------------------------------------------------------------------------------------


def test_workers_are_people_models_and_workflows_and_lists_are_of_any_of_those_named(along, db, ref):
    annotations = Annotations(db=db)
    by_workflow = r.Annotation(id="w", input_id="still", data=r.Data(concepts=[r.Concept(id="car", value=1)]))
    by_workflow.worker.workflow.version.id = "w1"
    annotations.post(ref, "ana", [by_workflow])
    annotations.post(ref, "bob", [seen(7700, "b")])
    told = annotations.workers(ref, FIRST, with_names=True)
    assert [worker.WhichOneof("worker") for worker in told] == ["user", "user", "model", "workflow"]
    assert [told[0].user.id, told[1].user.id] == ["ana", "bob"]
    assert (told[2].model.model_version.id, told[3].workflow.version.id) == ("v1", "w1")
    assert len(annotations.workers(ref, FIRST, people_only=True)) == 2
    assert len(annotations.workers(ref, Paging(page=2, per_page=3))) == 1

    def listed(**filters):
        wanted = Wanted(filters=AnnotationFilter(**filters), also_by_models=True)
        return {each.id for each in annotations.list_of(ref, wanted, FIRST)}

    assert listed(user_ids=("bob",), workflow_version_ids=("w1",)) == {"7700b", "w"}
    assert listed(user_ids=("bob",), model_version_ids=("v1",)) == {"7700b", *(f"{n}000cv1" for n in range(1, 8))}
    assert "w" not in {each.id for each in annotations.list_of(ref, Wanted(), FIRST)}


# -- streaming --------------------------------------------------------------------------------------------------------


def test_a_manifest_offers_the_original_to_players(db, film, ref):
    uri = Manifests(db=db).of_video(ref, "film", "http://lehr:1")
    assert uri.startswith(PREFIX)
    root = ElementTree.fromstring(base64.b64decode(uri.removeprefix(PREFIX)))
    space = {"m": "urn:mpeg:dash:schema:mpd:2011"}
    assert (root.get("type"), root.get("mediaPresentationDuration")) == ("static", "PT8.000S")
    [representation] = root.findall(".//m:Representation", space)
    facts = [representation.get(name) for name in ("width", "height", "frameRate", "bandwidth")]
    assert facts == ["64", "48", "10/1", "9000"]
    address = representation.find("m:BaseURL", space).text
    assert address == f"http://lehr:1/hosted/orig/users/ana/apps/flowers/inputs/video/{'f' * 64}"


def test_only_processed_videos_have_a_manifest(db, film, ref):
    with pytest.raises(InvalidInput, match="is no video"):
        Manifests(db=db).of_video(ref, "still", "")
    with pytest.raises(NotFound):
        Manifests(db=db).of_video(ref, "gone", "")
    with db.write() as tx:
        pending = r.Input(id="late", status=status(30001))
        pending.data.video.SetInParent()
        inputs.insert(tx, ref, [NewInput(message=pending)])
    with pytest.raises(InvalidInput, match="has no manifest, for it is not processed"):
        Manifests(db=db).of_video(ref, "late", "")
