"""One input, opened: its labels, its boxes, what is known of it, and the way to the next."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from nicegui import ui

from lehr.protocol import resources_pb2, status_code_pb2
from lehr.web import pieces, words
from lehr.web.app_facts import concept_names
from lehr.web.chosen import Chosen
from lehr.web.components.boxes import Box, Boxes, Corners
from lehr.web.components.film import Film
from lehr.web.page import Page, Visit
from lehr.web.video_frames import frames_card

_PER_PAGE = 1000
_PENDING = (status_code_pb2.INPUT_DOWNLOAD_PENDING, status_code_pb2.INPUT_DOWNLOAD_IN_PROGRESS)


@dataclass(kw_only=True)
class Opened:
    """The input that is looked at, and what is said of it."""

    visit: Visit
    input: resources_pb2.Input
    concepts: dict[str, str]
    annotations: dict[str, resources_pb2.Annotation] = field(default_factory=dict)
    """Those that are boxes, by id."""
    label: str = ""
    """What the next box will be."""

    def boxes(self) -> list[Box]:
        """As the editor shows them."""
        return [self._box(each) for each in self.annotations.values()]

    def _box(self, annotation: resources_pb2.Annotation) -> Box:
        corners = annotation.data.regions[0].region_info.bounding_box
        where = (corners.top_row, corners.left_col, corners.bottom_row, corners.right_col)
        return Box(id=annotation.id, corners=where, label=label_of(annotation))


def label_of(annotation: resources_pb2.Annotation) -> str:
    """The names of a box's concepts."""
    concepts = annotation.data.regions[0].data.concepts or annotation.data.concepts
    return ", ".join(each.name or each.id for each in concepts)


async def build(visit: Visit) -> None:
    """The picture on the left, everything said of it on the right."""
    input_id = visit.part("input_id")
    found = (await visit.ask("GetInput", input_id=input_id)).input
    label = visit.query("label")
    opened = Opened(visit=visit, input=found, concepts=await concept_names(visit), label=label)
    await _read_boxes(opened)
    with pieces.title(input_id):
        path = f"{visit.under_app('search')}?{urlencode({'input': input_id})}"
        pieces.link_button("More like this", path, icon="image_search")
        steps = await _neighbours(opened)
    with pieces.element("div", "lehr-open"):
        with pieces.element("div", "lehr-stage"):
            stage = _stage(opened)
        with pieces.element("div", "lehr-stack"):
            _labels(opened)
            if isinstance(stage, Boxes):
                _box_card(opened, stage, steps)
            elif stage is not None:
                await frames_card(visit, found, opened.concepts, stage)
            _facts(opened)


async def _read_boxes(opened: Opened) -> None:
    ids = [opened.input.id]
    found = (await opened.visit.ask("ListAnnotations", input_ids=ids, page=1, per_page=_PER_PAGE)).annotations
    with_box = [
        each for each in found if each.data.regions and each.data.regions[0].region_info.HasField("bounding_box")
    ]
    opened.annotations = {each.id: each for each in with_box}


# -- the way to the next -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The buttons and keys to the input before and to the one after, in the selection that the address names."""

    paths: dict[str, tuple[str, dict[str, str]]]
    """Key → path and query."""
    buttons: dict[str, ui.button]

    def path(self, key: str, label: str) -> str:
        """Where it leads; the label in use goes along, so that picture after picture gets its boxes."""
        path, query = self.paths[key]
        return f"{path}?{urlencode({**query, **({'label': label} if label else {})})}"

    def carry(self, label: str) -> None:
        """Another label is in use."""
        for key in self.paths:
            self.buttons[key].props["href"] = self.path(key, label)


async def _neighbours(opened: Opened) -> Steps:
    visit, chosen = opened.visit, Chosen.of(opened.visit.state)
    at = visit.query("at")
    back = visit.under_app("inputs") + (f"?{urlencode(chosen.to_query())}" if not chosen.is_everything else "")
    paths = {}
    for key, place in (("p", int(at) - 1), ("n", int(at) + 1)) if at.isdigit() else ():
        found = await chosen.inputs(visit, place + 1, 1) if place >= 0 else []
        if found:
            paths[key] = (visit.under_app("inputs", found[0].id), {**chosen.to_query(), "at": str(place)})
    steps = Steps(
        paths=paths, buttons={"p": _step("arrow_back", "Previous", "p"), "n": _step("arrow_forward", "Next", "n")}
    )
    for key, button in steps.buttons.items():
        button.set_enabled(key in paths)
    steps.carry(opened.label)
    pieces.link_button("All inputs", back, icon="grid_view")

    def pressed(event: object) -> None:
        key = str(event.key.name)  # type: ignore[attr-defined]
        if event.action.keydown and key in paths:  # type: ignore[attr-defined]
            ui.navigate.to(steps.path(key, opened.label))

    ui.keyboard(on_key=pressed, ignore=["input", "select", "textarea"])
    return steps


def _step(icon: str, name: str, key: str) -> ui.button:
    made = pieces.link_button(name, "", icon=icon)
    made.props["title"] = f"{name} (key {key.upper()})"
    return made


# -- the picture -------------------------------------------------------------------------------------------------------


def _stage(opened: Opened) -> Boxes | Film | None:
    """The editor for a picture; a player for a video; None with words for anything else."""
    data = opened.input.data
    if data.HasField("video"):
        address = urlsplit(data.video.url).path
        return Film(src=address, described=f"Video {opened.input.id}", fps=data.video.video_info.fps)
    if data.HasField("text") and not data.HasField("image"):
        pieces.text(data.text.raw, classes="lehr-card lehr-wrap")
        return None
    if opened.input.status.code != status_code_pb2.INPUT_DOWNLOAD_SUCCESS:
        _wait(opened)
        return None
    editor = Boxes(src=urlsplit(data.image.url).path, described=f"Picture {opened.input.id}", boxes=opened.boxes())
    if not data.image.hosted.prefix:
        editor.props["src"] = data.image.url
    with pieces.element("p", "lehr-keys"):
        _key_words()
    return editor


def _wait(opened: Opened) -> None:
    """Words for a picture that cannot be shown; one that is still being read comes by itself."""
    status = opened.input.status
    pieces.empty("hourglass_empty", "Not ready", status.details or status.description)
    if status.code not in _PENDING:
        return

    async def look() -> None:
        now = (await opened.visit.ask("GetInput", input_id=opened.input.id)).input.status
        if now.code not in _PENDING:
            opened.visit.reload()

    opened.visit.every(1.0, look)


def _key_words() -> None:
    for key, what in (
        ("drag", "draws"),
        ("B", "new box"),
        ("Tab", "next box"),
        ("←↑→↓", "move"),
        ("Shift", "resize"),
        ("Del", "delete"),
        ("P N", "previous, next"),
    ):
        pieces.text(key, tag="kbd")
        pieces.text(f" {what}  ", tag="span")


def _listen(opened: Opened, editor: Boxes, listed: pieces.Redrawn) -> None:
    async def drawn(corners: Corners) -> None:
        annotation = await add_box(opened, corners)
        editor.show(opened.boxes())
        editor.focus_on(annotation.id)
        listed.draw()

    async def changed(box_id: str, corners: Corners) -> None:
        await change_box(opened, box_id, corners=corners)

    async def removed(box_id: str) -> None:
        await remove_box(opened, box_id)
        editor.show(opened.boxes())
        listed.draw()

    editor.on_drawn(drawn)
    editor.on_changed(changed)
    editor.on_removed(removed)


async def add_box(opened: Opened, corners: Corners) -> resources_pb2.Annotation:
    """Stores a box with the label in use."""
    region = resources_pb2.Region(region_info=_region(corners))
    if opened.label:
        region.data.concepts.append(_concept(opened, opened.label))
    order = resources_pb2.Annotation(input_id=opened.input.id, data=resources_pb2.Data(regions=[region]))
    [made] = (await opened.visit.ask("PostAnnotations", annotations=[order])).annotations
    opened.annotations[made.id] = made
    return made


async def change_box(opened: Opened, box_id: str, *, corners: Corners | None = None, label: str | None = None) -> None:
    """Stores where a box is now, or what it shows."""
    annotation = resources_pb2.Annotation()
    annotation.CopyFrom(opened.annotations[box_id])
    region = annotation.data.regions[0]
    if corners is not None:
        region.region_info.CopyFrom(_region(corners))
    if label is not None:
        del annotation.data.concepts[:]
        del region.data.concepts[:]
        region.data.concepts.append(_concept(opened, label))
    order = resources_pb2.Annotation(id=box_id, input_id=opened.input.id, data=annotation.data)
    [done] = (await opened.visit.ask("PatchAnnotations", annotations=[order], action="overwrite")).annotations
    opened.annotations[box_id] = done


async def remove_box(opened: Opened, box_id: str) -> None:
    """Deletes a box."""
    await opened.visit.ask("DeleteAnnotation", input_id=opened.input.id, annotation_id=box_id)
    opened.annotations.pop(box_id, None)


def _region(corners: Corners) -> resources_pb2.RegionInfo:
    top, left, bottom, right = corners
    box = resources_pb2.BoundingBox(top_row=top, left_col=left, bottom_row=bottom, right_col=right)
    return resources_pb2.RegionInfo(bounding_box=box)


def _concept(opened: Opened, concept_id: str) -> resources_pb2.Concept:
    name = opened.concepts.setdefault(concept_id, concept_id)
    return resources_pb2.Concept(id=concept_id, name=name, value=1)


# -- what is said of it ------------------------------------------------------------------------------------------------


def _noun(found: resources_pb2.Input) -> str:
    return "video" if found.data.HasField("video") else "picture" if found.data.HasField("image") else "text"


def _labels(opened: Opened) -> None:
    with pieces.card(f"Labels of the whole {_noun(opened.input)}"):
        shown = pieces.Redrawn(lambda drawn: _chips(opened, drawn))
        choice = pieces.choice(dict(opened.concepts), "Add a label", with_input=True, new_value_mode="add-unique")

        async def add(value: object) -> None:
            if not value:
                return
            concept = _concept(opened, str(value))
            await _patch_labels(opened, [concept], "merge")
            choice.set_value(None)
            shown.draw()

        choice.on_value_change(lambda event: add(event.value))


def _chips(opened: Opened, shown: pieces.Redrawn) -> None:
    """The labels, each with a button that takes it off."""
    labels = [each for each in opened.input.data.concepts if each.value]
    if not labels:
        pieces.text("None yet. Choose one, or type a new one and press Enter.", classes="lehr-quiet lehr-small")
        return
    with pieces.element("div", "lehr-chips"):
        for concept in labels:
            with pieces.element("span", "lehr-chip"):
                pieces.text(concept.name or concept.id, tag="span", classes="lehr-wrap")
                pieces.icon_button("close", f"Remove {concept.name or concept.id}", _taking_off(opened, concept, shown))


def _taking_off(opened: Opened, concept: resources_pb2.Concept, shown: pieces.Redrawn) -> pieces.Act:
    async def take_off() -> None:
        await _patch_labels(opened, [resources_pb2.Concept(id=concept.id)], "remove")
        shown.draw()

    return take_off


async def _patch_labels(opened: Opened, concepts: list[resources_pb2.Concept], action: str) -> None:
    change = resources_pb2.Input(id=opened.input.id, data=resources_pb2.Data(concepts=concepts))
    [done] = (await opened.visit.ask("PatchInputs", inputs=[change], action=action)).inputs
    opened.input = done


def _box_card(opened: Opened, editor: Boxes, steps: Steps) -> None:
    with pieces.card("Boxes"):
        known = {**({opened.label: opened.label} if opened.label else {}), **opened.concepts}
        choice = pieces.choice(
            known, "New boxes are", opened.label or None, with_input=True, new_value_mode="add-unique"
        )
        editor.draw_as(opened.label)

        def use(value: object) -> None:
            opened.label = str(value or "")
            editor.draw_as(opened.label)
            opened.visit.remember(label=opened.label)
            steps.carry(opened.label)

        choice.on_value_change(lambda event: use(event.value))
        listed = pieces.Redrawn(lambda drawn: _box_list(opened, editor, drawn))
        _listen(opened, editor, listed)


def _box_list(opened: Opened, editor: Boxes, listed: pieces.Redrawn) -> None:
    """Every box with its label."""
    if not opened.annotations:
        pieces.text("None yet. Choose a label, then drag on the picture.", classes="lehr-quiet lehr-small")
    for annotation in opened.annotations.values():
        _box_line(opened, editor, listed, annotation)


def _box_line(opened: Opened, editor: Boxes, listed: pieces.Redrawn, annotation: resources_pb2.Annotation) -> None:
    concepts = annotation.data.regions[0].data.concepts or annotation.data.concepts
    value = concepts[0].id if concepts else None
    options = {**opened.concepts, **({value: label_of(annotation)} if value else {})}

    async def rename(name: object) -> None:
        if name:
            await change_box(opened, annotation.id, label=str(name))
            editor.show(opened.boxes())

    async def remove() -> None:
        await remove_box(opened, annotation.id)
        editor.show(opened.boxes())
        listed.draw()

    with pieces.element("div", "lehr-line"):
        choice = pieces.choice(options, "Box", value, with_input=True, new_value_mode="add-unique").classes("lehr-grow")
        choice.on_value_change(lambda event: rename(event.value))
        pieces.icon_button("center_focus_strong", "Show this box", lambda: editor.focus_on(annotation.id))
        pieces.icon_button("delete", "Delete this box", remove)


def _facts(opened: Opened) -> None:
    found = opened.input
    facts = {
        "State": _state(found),
        "Size": _size(found.data),
        "Added": words.ago(found.created_at),
        "Datasets": ", ".join(found.dataset_ids),
        "File": str(dict(found.data.metadata).get("filename", "")) if found.data.HasField("metadata") else "",
    }
    with pieces.card("About"):
        with pieces.element("dl", "lehr-facts"):
            for name, value in facts.items():
                if value:
                    pieces.text(name, tag="dt")
                    pieces.text(value, tag="dd")
        pieces.button("Delete this input", lambda: _delete(opened), icon="delete", kind="danger")


def _size(data: resources_pb2.Data) -> str:
    """In pixels, and in time; empty where it is not known."""
    image, video = data.image.image_info, data.video.video_info
    if video.width:
        rate = f", {video.fps:.4g} frames a second" if video.fps else ""
        return f"{video.width} × {video.height} {video.video_format}, {video.duration_seconds:.1f} s{rate}"
    return f"{image.width} × {image.height} {image.format}" if image.width else ""


def _state(found: resources_pb2.Input) -> str:
    if found.status.code == status_code_pb2.INPUT_DOWNLOAD_SUCCESS:
        return "ready"
    return found.status.details or found.status.description


async def _delete(opened: Opened) -> None:
    if not await pieces.confirmed("Delete this input?", "It and its labels and boxes will be gone.", "Delete"):
        return
    await opened.visit.ask("DeleteInput", input_id=opened.input.id)
    opened.visit.go(opened.visit.under_app("inputs"))


PAGE = Page(
    path="/users/{user_id}/apps/{app_id}/inputs/{input_id}", title="Input", build=build, under="Inputs", wide=True
)
