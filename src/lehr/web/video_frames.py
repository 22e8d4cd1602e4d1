"""The labels of a video's frames: added at the moment that the player shows, listed by time, each a way back to it.

Boxes in frames are drawn over the player; they come from predictions and from the API, and are not changed here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from lehr.protocol import resources_pb2
from lehr.web import pieces
from lehr.web.components.boxes import Corners
from lehr.web.components.film import Film, Moment
from lehr.web.page import Visit

_PER_PAGE = 1000
_MOST = 10_000
"""Annotations of one video that are read: a box in every frame of some minutes."""
_LISTED = 200


async def frames_card(visit: Visit, found: resources_pb2.Input, concepts: dict[str, str], player: Film) -> None:
    """The card beside a video."""
    fps = found.data.video.video_info.fps
    noted = {each.id: each for each in await _noted(visit, found.id)}
    player.show(moments_of(noted.values(), fps))
    with pieces.card("Labels of frames"):
        choice = pieces.choice(concepts, "What is there now", with_input=True, new_value_mode="add-unique")

        async def add() -> None:
            if not choice.value:
                pieces.warn("Choose a label, or type a new one and press Enter.")
                return
            concept = resources_pb2.Concept(
                id=str(choice.value), name=concepts.get(choice.value, choice.value), value=1
            )
            made = await _add(visit, found.id, concept, int(1000 * await player.seconds()))
            noted[made.id] = made
            listed.draw()

        async def remove(annotation_id: str) -> None:
            await visit.ask("DeleteAnnotation", input_id=found.id, annotation_id=annotation_id)
            del noted[annotation_id]
            player.show(moments_of(noted.values(), fps))
            listed.draw()

        def draw(_: pieces.Redrawn) -> None:
            _list(sorted(noted.values(), key=lambda note: _ms(note.data.frames[0], fps)), fps, player, remove)

        pieces.button("Label this moment", add, icon="bookmark_add")
        listed = pieces.Redrawn(draw)


async def _noted(visit: Visit, input_id: str) -> list[resources_pb2.Annotation]:
    found: list[resources_pb2.Annotation] = []
    for page in range(1, _MOST // _PER_PAGE + 1):
        asked = await visit.ask("ListAnnotations", input_ids=[input_id], page=page, per_page=_PER_PAGE)
        found += asked.annotations
        if len(asked.annotations) < _PER_PAGE:
            break
    return [each for each in found if each.data.frames]


async def _add(visit: Visit, input_id: str, concept: resources_pb2.Concept, time_ms: int) -> resources_pb2.Annotation:
    frame = resources_pb2.Frame(frame_info={"time": time_ms}, data={"concepts": [concept]})
    order = resources_pb2.Annotation(input_id=input_id, data=resources_pb2.Data(frames=[frame]))
    return (await visit.ask("PostAnnotations", annotations=[order])).annotations[0]


# -- boxes -------------------------------------------------------------------------------------------------------------


def moments_of(annotations: Iterable[resources_pb2.Annotation], fps: float) -> list[Moment]:
    """The frames that have boxes, by time; what several annotations say of one moment is together."""
    boxes: dict[float, list[tuple[Corners, str]]] = defaultdict(list)
    for frame in (frame for each in annotations for frame in each.data.frames):
        for region in frame.data.regions:
            if region.region_info.HasField("bounding_box"):
                boxes[_ms(frame, fps)].append(_box(region))
    return [Moment(ms=ms, boxes=tuple(boxes[ms])) for ms in sorted(boxes)]


def _box(region: resources_pb2.Region) -> tuple[Corners, str]:
    box = region.region_info.bounding_box
    label = ", ".join(each.name or each.id for each in region.data.concepts)
    return (box.top_row, box.left_col, box.bottom_row, box.right_col), label


def _ms(frame: resources_pb2.Frame, fps: float) -> float:
    """Its moment; the number is read where no time is given, as training does."""
    info = frame.frame_info
    return float(info.time) or (1000 * info.number / fps if fps else 0.0)


# -- the list ----------------------------------------------------------------------------------------------------------


def _list(noted: list[resources_pb2.Annotation], fps: float, player: Film, remove: pieces.ActOn) -> None:
    if not noted:
        pieces.text("None yet. Stop the video where something is to be seen.", classes="lehr-quiet lehr-small")
    for each in noted[:_LISTED]:
        _line(each, _ms(each.data.frames[0], fps) / 1000, player, remove)
    if len(noted) > _LISTED:
        pieces.text(f"and {len(noted) - _LISTED:,} later ones", classes="lehr-quiet lehr-small")


def _line(annotation: resources_pb2.Annotation, seconds: float, player: Film, remove: pieces.ActOn) -> None:
    labels = ", ".join(each.name or each.id for frame in annotation.data.frames for each in _concepts(frame))
    with pieces.element("div", "lehr-line"):
        at = pieces.button(f"{seconds:.2f} s", icon="play_arrow").on("click", js_handler=player.going_to(seconds))
        at.props["aria-label"] = f"Show {seconds:.2f} seconds"
        pieces.text(labels or "no label", classes="lehr-grow lehr-wrap")
        if any(frame.data.regions for frame in annotation.data.frames):
            pieces.badge("box")
        pieces.icon_button("delete", f"Delete the label at {seconds:.2f} seconds", lambda: remove(annotation.id))


def _concepts(frame: resources_pb2.Frame) -> list[resources_pb2.Concept]:
    return [*frame.data.concepts, *(each for region in frame.data.regions for each in region.data.concepts)]
