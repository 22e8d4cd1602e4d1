"""What can be asked about a picture: the app's own models and workflows, and those that are built in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lehr.protocol import resources_pb2, status_code_pb2
from lehr.services.node_kinds import KINDS
from lehr.services.operator_types import is_operator
from lehr.web.client import Refused
from lehr.web.components.trial import Target
from lehr.web.page import Visit
from lehr.web.workflows import BUILT_IN

MOST = 1000
DEFAULT = "model:general-image-recognition"
_TRAINED = status_code_pb2.MODEL_TRAINED


@dataclass(frozen=True, kw_only=True)
class Targets:
    """By `model:ID` and `workflow:ID`."""

    names: dict[str, str]
    """As a choice shows them, the app's own first."""
    workflows: dict[str, resources_pb2.Workflow]
    """By id."""
    built_in: frozenset[str] = frozenset()
    """Of the names, those that come with Lehr."""
    naming: frozenset[str] = frozenset()
    """Of the names, those of models that answer with concepts."""

    def first(self) -> str:
        """What is tried where the address names nothing."""
        own = (name for name in self.names if name in self.naming and name not in self.built_in)
        return next(own, "") or (DEFAULT if DEFAULT in self.names else next(iter(self.names), ""))

    def target(self, name: str, version: str = "") -> Target:
        """One of them."""
        kind, _, id_ = name.partition(":")
        workflow = self.workflows.get(id_) if kind == "workflow" else None
        nodes = tuple(node.id for node in workflow.nodes if not node.suppress_output) if workflow else ()
        return Target(kind=kind, id=id_, version=version, nodes=nodes)


async def targets_of(visit: Visit) -> Targets:
    """Everything that the app can be asked with; nothing built in where the server has none."""
    own = await _of(visit, visit.user_app, "model", "workflow")
    try:
        built_in = await _of(visit, BUILT_IN, "built in", "built-in workflow")
    except Refused:
        return own
    added = {name: told for name, told in built_in.names.items() if name not in own.names}
    return Targets(
        names={**own.names, **added},
        workflows={**built_in.workflows, **own.workflows},
        built_in=frozenset(added),
        naming=own.naming,
    )


async def _of(visit: Visit, app: resources_pb2.UserAppIDSet, model: str, workflow: str) -> Targets:
    """What one app has, told as a `model` or a `workflow`."""
    models = [f for f in (await visit.ask("ListModels", user_app_id=app, page=1, per_page=MOST)).models if can_look(f)]
    workflows = (await visit.ask("ListWorkflows", user_app_id=app, page=1, per_page=MOST)).workflows
    names = {f"model:{each.id}": f"{each.name or each.id} · {model}" for each in models}
    names |= {f"workflow:{each.id}": f"{each.id} · {workflow}" for each in workflows if each.nodes}
    naming = frozenset(f"model:{each.id}" for each in models if _gives(each) & {"concepts", "regions.concepts"})
    return Targets(names=names, workflows={each.id: each for each in workflows}, naming=naming)


def _gives(model: resources_pb2.Model) -> frozenset[str]:
    return KINDS[model.model_type_id].gives


def can_look(model: resources_pb2.Model) -> bool:
    """Whether a model of the app is trained, and says something of a picture."""
    return model.model_version.status.code == _TRAINED and _sees(model)


def _sees(model: resources_pb2.Model) -> bool:
    return model.model_type_id in KINDS and not is_operator(model.model_type_id)


async def versions_of(visit: Visit, model_id: str) -> dict[str, str]:
    """The trained versions of an app's own model, newest first; none of a built-in one."""
    try:
        found: Iterable[resources_pb2.ModelVersion] = (
            await visit.ask("ListModelVersions", model_id=model_id, page=1, per_page=100)
        ).model_versions
    except Refused:
        return {}
    return {
        each.id: (each.description or each.id[:8])
        for each in found
        if each.status.code == _TRAINED and each.app_id != BUILT_IN.app_id
    }
