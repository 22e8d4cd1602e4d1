"""One node of a workflow, opened: its name, what it takes, what it is configured with.

While only the configuration changes the panel stays as it is (`shown_of`): whoever types in it keeps their place.
"""

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

Edit = Callable[[Draft], Draft]
Change = Callable[[Edit, str], None]
"""Takes what is done to the draft as it is by then, and the node that is chosen afterwards."""


def shown_of(draft: Draft, node_id: str) -> object:
    """What the panel is drawn from; it needs no drawing while this is the same."""
    node, problem = draft.get(node_id), draft.problem()
    if node is None:
        return None
    told = problem[1] if problem and problem[0] == node_id else ""
    return node.id, node.model, node.inputs, tuple(each.id for each in draft.nodes), told


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
    hidden.on_value_change(lambda event: change(_hiding(node.id, is_hidden=bool(event.value)), node.id))
    operator = operator_for(node.model.type_id)
    if operator is None:
        _limits(node, change)
    else:
        pieces.text(operator.description, classes="lehr-quiet lehr-small")
        for parameter in operator.parameters:
            _parameter(node, parameter, change)
    pieces.button("Delete node", lambda: change(lambda now: now.without(node.id), ""), icon="delete", kind="danger")


def _hiding(node_id: str, *, is_hidden: bool) -> Edit:
    return _editing(node_id, lambda node: replace(node, is_hidden=is_hidden))


def _editing(node_id: str, edit: Callable[[Node], Node]) -> Edit:
    """Changes one node of a draft, if it is still there."""

    def edited(now: Draft) -> Draft:
        node = now.get(node_id)
        return now if node is None else now.changed(edit(node))

    return edited


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
        change(lambda now: now.renamed(node.id, new), new)

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
            tick.on_value_change(_ticked(other.id, node.id, change))
    if not node.inputs:
        pieces.text("Nothing is ticked: it takes the input.", classes="lehr-quiet lehr-small")


def _ticked(source: str, target: str, change: Change) -> Callable[[Any], None]:
    def ticked(event: Any) -> None:
        change(lambda now: (now.joined if event.value else now.parted)(source, target), target)

    return ticked


# -- configuration -----------------------------------------------------------------------------------------------------


def _limits(node: Node, change: Change) -> None:
    """Of a model that was trained: how much of what it says goes on."""
    if node.model.type_id in ("visual-embedder", "clusterer"):
        return
    config = dict(node.override.get("output_config", {}))
    most = ui.number("At most so many concepts", value=config.get("max_concepts"), min=1, max=200, precision=0)
    least = ui.number("Least value", value=config.get("min_value"), min=0, max=1, step=0.01)
    for made, name, to in ((most, "max_concepts", int), (least, "min_value", float)):
        made.props("outlined dense clearable").classes("lehr-field")
        put = _limiting(made, node.id, name, to, change)
        made.on("blur", put)
        made.on("keydown.enter", put)


def _limiting(
    made: ui.number, node_id: str, name: str, to: Callable[[float], float], change: Change
) -> Callable[[], None]:
    def put() -> None:
        value = None if made.value is None else to(made.value)
        change(_editing(node_id, lambda node: _limited(node, name, value)), node_id)

    return put


def _limited(node: Node, name: str, value: float | None) -> Node:
    return _overridden(node, "output_config", {**node.override.get("output_config", {}), name: value or None})


def _overridden(node: Node, part: str, values: Mapping[str, Any]) -> Node:
    """With these values in a part of what the node overrides; those that are None are the model's own."""
    kept = {name: value for name, value in values.items() if value is not None}
    override = {**node.override, part: kept}
    return replace(node, override=_settled(override if kept else {k: v for k, v in override.items() if k != part}))


def _settled(override: Mapping[str, Any]) -> dict[str, Any]:
    """As the protocol writes it: what is sent and what comes back are the same."""
    info = resources_pb2.OutputInfo()
    dialect.from_json(info, dict(override))
    settled: dict[str, Any] = dialect.to_json(info)
    return settled


def _parameter(node: Node, parameter: Parameter, change: Change) -> None:
    value = _value(node, parameter)

    def put(given: Any) -> None:
        change(_editing(node.id, lambda now: _configured(now, parameter, given)), node.id)

    label = parameter.name.replace("_", " ")
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
        made = pieces.field(label, _as_text(value))
        made.on("blur", lambda: put(_from_text(parameter, made.value)))
        made.on("keydown.enter", lambda: put(_from_text(parameter, made.value)))
    emptied = "" if _is_plain(node) else " Empty: as the model has it."
    made.props["hint"] = f"{parameter.sentence}{emptied}"


def _is_plain(node: Node) -> bool:
    """Whether its model has nothing but the defaults."""
    return node.model.id in ("", node.model.type_id)


def _value(node: Node, parameter: Parameter) -> Any:
    """What a parameter of a node is; None where its model decides."""
    given = node.override.get("params", {}).get(parameter.name)
    return given if given is not None else parameter.default if _is_plain(node) else None


def _configured(node: Node, parameter: Parameter, given: Any) -> Node:
    """With a parameter as it is given; an empty one is the model's own."""
    wanted = None if given == "" else given
    if wanted == _value(node, parameter):
        return node
    return _overridden(node, "params", {**node.override.get("params", {}), parameter.name: wanted})


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
