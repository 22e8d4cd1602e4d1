"""The labels of a video's frames: added at the moment that the player shows, listed by time, each a way back to it."""

from __future__ import annotations

from nicegui import ui

from lehr.protocol import resources_pb2
from lehr.web import pieces
from lehr.web.page import Visit

_PER_PAGE = 1000


async def frames_card(visit: Visit, input_id: str, concepts: dict[str, str], player: ui.element) -> None:
    """The card beside a video."""
    noted = {each.id: each for each in await _noted(visit, input_id)}
    with pieces.card("Labels of frames"):
        choice = pieces.choice(concepts, "What is there now", with_input=True, new_value_mode="add-unique")

        async def add() -> None:
            if not choice.value:
                pieces.warn("Choose a label, or type a new one and press Enter.")
                return
            concept = resources_pb2.Concept(
                id=str(choice.value), name=concepts.get(choice.value, choice.value), value=1
            )
            made = await _add(visit, input_id, concept, await _milliseconds(player))
            noted[made.id] = made
            listed.draw()

        pieces.button("Label this moment", add, icon="bookmark_add")
        listed = pieces.Redrawn(lambda drawn: _list(visit, input_id, noted, player, drawn))


async def _noted(visit: Visit, input_id: str) -> list[resources_pb2.Annotation]:
    found = (await visit.ask("ListAnnotations", input_ids=[input_id], page=1, per_page=_PER_PAGE)).annotations
    return [each for each in found if each.data.frames]


async def _milliseconds(player: ui.element) -> int:
    return int(1000 * float(await ui.run_javascript(f"getHtmlElement({player.id}).currentTime")))


async def _add(visit: Visit, input_id: str, concept: resources_pb2.Concept, time_ms: int) -> resources_pb2.Annotation:
    frame = resources_pb2.Frame(frame_info={"time": time_ms}, data={"concepts": [concept]})
    order = resources_pb2.Annotation(input_id=input_id, data=resources_pb2.Data(frames=[frame]))
    return (await visit.ask("PostAnnotations", annotations=[order])).annotations[0]


def _list(
    visit: Visit,
    input_id: str,
    noted: dict[str, resources_pb2.Annotation],
    player: ui.element,
    drawn: pieces.Redrawn,
) -> None:
    if not noted:
        pieces.text("None yet. Stop the video where something is to be seen.", classes="lehr-quiet lehr-small")

    def removing(annotation_id: str) -> pieces.Act:
        async def remove() -> None:
            await visit.ask("DeleteAnnotation", input_id=input_id, annotation_id=annotation_id)
            del noted[annotation_id]
            drawn.draw()

        return remove

    for each in sorted(noted.values(), key=lambda note: note.data.frames[0].frame_info.time):
        _line(each, player, removing(each.id))


def _line(annotation: resources_pb2.Annotation, player: ui.element, remove: pieces.Act) -> None:
    seconds = annotation.data.frames[0].frame_info.time / 1000
    labels = ", ".join(each.name or each.id for frame in annotation.data.frames for each in _concepts(frame))
    with pieces.element("div", "lehr-line"):
        script = f"() => {{ getHtmlElement({player.id}).currentTime = {seconds}; }}"
        at = pieces.button(f"{seconds:.2f} s", icon="play_arrow").on("click", js_handler=script)
        at.props["aria-label"] = f"Show {seconds:.2f} seconds"
        pieces.text(labels or "no label", classes="lehr-grow lehr-wrap")
        pieces.icon_button("delete", f"Delete the label at {seconds:.2f} seconds", remove)


def _concepts(frame: resources_pb2.Frame) -> list[resources_pb2.Concept]:
    return [*frame.data.concepts, *(each for region in frame.data.regions for each in region.data.concepts)]
