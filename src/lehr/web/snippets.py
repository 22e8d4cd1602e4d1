"""A call that a page makes, as text to copy: for curl, and for the published Python package.

No key is ever in it: both read CLARIFAI_PAT from the environment.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from nicegui import ui

from lehr.protocol.ids import AppRef
from lehr.web import pieces
from lehr.web.components.trial import Target


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What is asked, of which server."""

    base_url: str
    app: AppRef
    target: Target
    input_id: str = ""
    """An input of the app; a file otherwise."""
    is_video: bool = False

    @property
    def address(self) -> str:
        """Where the call goes."""
        kind, answer = ("workflows", "results") if self.target.kind == "workflow" else ("models", "outputs")
        parts = ["users", self.app.user_id, "apps", self.app.app_id, kind, self.target.id]
        if self.target.version:
            parts += ["versions", self.target.version]
        return "/".join([self.base_url, "v2", *(quote(part, safe="") for part in parts), answer])

    @property
    def medium(self) -> str:
        """What a file is."""
        return "video" if self.is_video else "image"

    @property
    def file(self) -> str:
        """What the file is called in the text."""
        return "video.mp4" if self.is_video else "picture.jpg"


def as_curl(asking: Asking) -> str:
    """For a shell."""
    head = f'curl -X POST "{asking.address}" \\\n  -H "Authorization: Key $CLARIFAI_PAT" \\\n'
    if asking.input_id:
        body = json.dumps({"inputs": [{"id": asking.input_id}]})
        return f"{head}  -d '{body}'"
    start, end = json.dumps({"inputs": [{"data": {asking.medium: {"base64": "%"}}}]}).split("%")
    pipe = f"{{ printf '{start}'\n  base64 < {asking.file} | tr -d '\\n'\n  printf '{end}'\n}}"
    return f"{pipe} | {head}  --data-binary @-"


def as_python(asking: Asking) -> str:
    """For the package `clarifai`."""
    noun = "Workflow" if asking.target.kind == "workflow" else "Model"
    names = {
        f"{noun.lower()}_id": asking.target.id,
        "user_id": asking.app.user_id,
        "app_id": asking.app.app_id,
        "base_url": asking.base_url,
    }
    given: dict[str, Any] = {name: repr(value) for name, value in names.items()}
    if asking.target.version:
        given[f"{noun.lower()}_version"] = repr({"id": asking.target.version})
    lines = [f"    {name}={value}," for name, value in {**given, "pat": 'os.environ["CLARIFAI_PAT"]'}.items()]
    made = "\n".join([f"{noun.lower()} = {noun}(", *lines, ")"])
    package = f"from clarifai.client.{noun.lower()} import {noun}"
    if asking.input_id:
        return f"{_by_input(package, made, noun.lower(), asking.input_id)}"
    call = f'{noun.lower()}.predict_by_filepath("{asking.file}", input_type="{asking.medium}")'
    return f"import os\n\n{package}\n\n{made}\nanswer = {call}\nprint({_shown(noun)})"


def _by_input(package: str, made: str, name: str, input_id: str) -> str:
    shown = _shown(name.capitalize())
    return (
        f"import os\n\n{package}\nfrom clarifai_grpc.grpc.api import resources_pb2\n\n{made}\n"
        f"answer = {name}.predict([resources_pb2.Input(id={input_id!r})])\nprint({shown})"
    )


def _shown(noun: str) -> str:
    return "answer.results[0].outputs" if noun == "Workflow" else "answer.outputs[0].data"


def snippet(code: str, label: str) -> None:
    """Text in a frame with a button that copies it."""
    with pieces.element("div", "lehr-snippet"):
        block = pieces.text(code, tag="pre", classes="lehr-code")
        block.props.update({"tabindex": "0", "aria-label": label})
        pieces.icon_button("content_copy", f"Copy: {label}", lambda: _copied(code))


def _copied(code: str) -> None:
    ui.clipboard.write(code)
    pieces.say("Copied.")
