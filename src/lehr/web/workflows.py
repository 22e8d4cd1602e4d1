"""Which workflows an app can begin with."""

from __future__ import annotations

from lehr.protocol import resources_pb2
from lehr.web.client import Refused
from lehr.web.page import Visit

BUILT_IN = resources_pb2.UserAppIDSet(user_id="clarifai", app_id="main")


async def base_workflows(visit: Visit) -> dict[str, str]:
    """Id → name, of the built-in workflows; none on a server that has none."""
    try:
        found = (await visit.ask("ListWorkflows", user_app_id=BUILT_IN, page=1, per_page=100)).workflows
    except Refused:
        return {}
    return {each.id: each.id for each in found}
