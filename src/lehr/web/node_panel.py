"""One node of a workflow, opened: its name, what it takes, what it is configured with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from nicegui import ui

from lehr.protocol import dialect, resources_pb2
from lehr.protocol.ids import PUBLIC_APP
from lehr.services.operators import Parameter
from lehr.web import pieces
from lehr.web.drafts import Draft, Node, operator_for
from lehr.web.palette import title_of

Change = Callable[[Draft, str], None]
"""Takes the draft as it is now, and the node that is chosen."""


def node_panel(draft: Draft, node_id: str, change: Change) -> None:
    """The panel; words where no node is chosen."""
    node = draft.get(node_id)
    if node is None:
        pieces.text("Node", tag="h2")
        pieces.text("Choose a node to see what it does, or add one.", classes="lehr-quiet")
        return
    pieces.text(title_of(node.model.type_id), tag="h2")
    pieces.text(_model_words(node), classes="lehr-mono lehr-quiet lehr-wrap")
    problem = draft.problem()
    if problem and problem[0] == node.id:
        pieces.text(problem[1], classes="lehr-problem lehr-wrap").props("role=alert")
    _name(draft, node, change)
    _inputs(draft, node, change)
    hidden = ui.checkbox("Leave its output out of the answer", value=node.is_hidden)
    hidden.on_value_change(lambda event: change(draft.changed(replace(node, is_hidden=bool(event.value))), node.id))
    operator = operator_for(node.model.type_id)
    if operator is None:
        _limits(draft, node, change)
    else:
        pieces.text(operator.description, classes="lehr-quiet lehr-small")
        for parameter in operator.parameters:
            _parameter(draft, node, parameter, change)
    pieces.button("Delete node", lambda: change(draft.without(node.id), ""), icon="delete", kind="danger")


def _model_words(node: Node) -> str:
    if not node.model.id:
        return "a model of this kind is made when the workflow is saved"
    version = f", version {node.model.version_id[:8]}" if node.model.version_id else ", newest version"
    is_ours = node.model.app_id != PUBLIC_APP.app_id
    return f"{node.model.id}{version}{'' if is_ours else ', built in'}"


def _name(draft: Draft, node: Node, change: Change) -> None:
    name = pieces.field("Name", node.id)

    def rename() -> None:
        new = name.value.strip()
        if new == node.id or not new:
            return
        if draft.get(new) is not None:
            pieces.warn(f"Another node is called {new!r}.")
            return
        change(draft.renamed(node.id, new), new)

    name.on("blur", rename)
    name.on("keydown.enter", rename)


def _inputs(draft: Draft, node: Node, change: Change) -> None:
    """What it takes, as a list to tick: the same as drawing a line."""
    others = [each for each in draft.nodes if each.id != node.id]
    pieces.text("Takes the output of", tag="h3")
    if not others:
        pieces.text("the input: there is no other node.", classes="lehr-quiet lehr-small")
        return
    with pieces.element("div", "lehr-ticks"):
        for other in others:
            tick = ui.checkbox(other.id, value=other.id in node.inputs)
            tick.on_value_change(_ticked(draft, other.id, node.id, change))
    if not node.inputs:
        pieces.text("Nothing is ticked: it takes the input.", classes="lehr-quiet lehr-small")


def _ticked(draft: Draft, source: str, target: str, change: Change) -> Callable[[Any], None]:
    return lambda event: change((draft.joined if event.value else draft.parted)(source, target), target)


# -- configuration -----------------------------------------------------------------------------------------------------


def _limits(draft: Draft, node: Node, change: Change) -> None:
    """Of a model that was trained: how much of what it says goes on."""
    config = dict(node.override.get("output_config", {}))

    def put(name: str, value: Any) -> None:
        changed = {**config, name: value} if value else {key: each for key, each in config.items() if key != name}
        override = {**node.override, "output_config": changed}
        kept = override if changed else {key: each for key, each in node.override.items() if key != "output_config"}
        change(draft.changed(replace(node, override=_settled(kept))), node.id)

    if node.model.type_id in ("visual-embedder", "clusterer"):
        return
    most = ui.number("At most so many concepts", value=config.get("max_concepts"), min=1, max=200, precision=0)
    least = ui.number("Least value", value=config.get("min_value"), min=0, max=1, step=0.01)
    for made, name, to in ((most, "max_concepts", int), (least, "min_value", float)):
        made.props("outlined dense clearable").classes("lehr-field")
        made.on("blur", _reading(made, name, to, put, config))
        made.on("keydown.enter", _reading(made, name, to, put, config))


def _reading(
    made: ui.number, name: str, to: Callable[[float], float], put: Callable[[str, Any], None], config: Mapping[str, Any]
) -> Callable[[], None]:
    def read() -> None:
        value = None if made.value is None else to(made.value)
        if value != config.get(name):
            put(name, value)

    return read


def _settled(override: Mapping[str, Any]) -> dict[str, Any]:
    """As the protocol writes it: what is sent and what comes back are the same."""
    info = resources_pb2.OutputInfo()
    dialect.from_json(info, dict(override))
    settled: dict[str, Any] = dialect.to_json(info)
    return settled


def _parameter(draft: Draft, node: Node, parameter: Parameter, change: Change) -> None:
    params = dict(node.override.get("params", {}))
    given = params.get(parameter.name)

    def put(value: Any) -> None:
        if value == given or (given is None and value == parameter.default):
            return
        changed = {key: each for key, each in params.items() if key != parameter.name}
        if value is not None and value != "":
            changed[parameter.name] = value
        override = {**node.override, "params": changed}
        change(draft.changed(replace(node, override=_settled(override))), node.id)

    label = parameter.name.replace("_", " ")
    is_plain = node.model.id in ("", node.model.type_id)
    value: Any = given if given is not None else parameter.default if is_plain else None
    made: Any
    if parameter.kind == "enum":
        options = [name for name in parameter.options or () if name.isidentifier()]
        made = pieces.choice(options, label, value if value in options else None)
        made.on_value_change(lambda event: put(event.value))
    elif parameter.kind == "number":
        made = ui.number(label, value=value, min=parameter.minimum, max=parameter.maximum, step=parameter.step or 1)
        made.props("outlined dense").classes("lehr-field")
        made.on("blur", lambda: put(made.value))
        made.on("keydown.enter", lambda: put(made.value))
    else:
        made = pieces.field(label, _as_text(given))
        made.on("blur", lambda: put(_from_text(parameter, made.value)))
        made.on("keydown.enter", lambda: put(_from_text(parameter, made.value)))
    made.props["hint"] = (
        parameter.sentence if value is not None else f"{parameter.sentence} Empty: as the model has it."
    )


def _as_text(given: Any) -> str:
    return given if isinstance(given, str) else "" if not given else json.dumps(given, ensure_ascii=False)


def _from_text(parameter: Parameter, text: str) -> Any:
    """Texts are written as they are, lists and mappings as JSON; what is none is left for the check to refuse."""
    if parameter.kind == "text" or not text.strip():
        return text.strip()
    try:
        return json.loads(text)
    except ValueError:
        return [each.strip() for each in text.split(",")] if parameter.kind == "texts" else text
