"""Writes `docs/rpcs.md`: every call that Lehr offers, its routes, where it is implemented, and which tests make it.

    .venv/bin/python dev/rpc_table.py

A test makes a call when its code names it: as an attribute (`stub.PostInputs`) or as a word of its own
(`ask("PostInputs")`). What a test calls through a client package is not seen here.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from lehr.protocol.rpcs import NOT_OFFERED, RPCS
from lehr.protocol.tiers import TIER_A

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "docs/rpcs.md"
_NOT_CALLS = {"tests/test_docs.py", "tests/protocol/test_rpcs_and_statuses.py"}
"""Tests that name RPCs without calling them."""


def offered() -> list[str]:
    """The RPCs in scope, in the service's own order."""
    return [name for name in RPCS if name not in NOT_OFFERED]


def implemented_by() -> dict[str, str]:
    """RPC to the file and class of its method."""
    found = {}
    for path in sorted((ROOT / "src/lehr/api/rpcs").glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            for method in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(method, ast.FunctionDef) and method.name in RPCS:
                    found[method.name] = f"`{path.name}` `{node.name}`"
    return found


def tested_by() -> dict[str, list[str]]:
    """RPC to the test files that call it."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        if place not in _NOT_CALLS:
            for name in sorted(set(_words(path)) & set(RPCS)):
                found[name].append(place.removeprefix("tests/"))
    return found


def _words(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def table() -> str:
    """The page."""
    implemented, tested = implemented_by(), tested_by()
    rows = [
        f"| {name} | {'A' if name in TIER_A else 'B'} | {_routes(name)} | {implemented.get(name, '**missing**')} "
        f"| {_few(tested.get(name, []))} |"
        for name in offered()
    ]
    return "\n".join([_HEAD, *rows, ""])


def _routes(name: str) -> str:
    shown = [f"`{b.method} {b.template.replace('user_app_id.', '')}`" for b in RPCS[name].bindings]
    return "<br>".join(shown)


def _few(places: list[str]) -> str:
    shown = ", ".join(f"`{place}`" for place in places[:3])
    return shown + (f" and {len(places) - 3} more" if len(places) > 3 else "")


_HEAD = """# Calls

Made by `dev/rpc_table.py` from the descriptors, the code and the tests; do not edit by hand. Tier A is what published
clients call on the way from images to predictions, tier B the rest of the same nouns. Every other call of the public
API answers in-band `NOT_IMPLEMENTED` and names itself. `/openapi.json` of a running server describes the routes whole.

| call | tier | routes | implemented by | called by tests |
|---|---|---|---|---|"""


if __name__ == "__main__":
    TARGET.write_text(table())
    lacking = [name for name in offered() if name not in implemented_by()]
    untested = [name for name in offered() if name not in tested_by()]
    print(f"{TARGET}: {len(offered())} calls; not implemented: {lacking or 'none'}; not called: {untested or 'none'}")
