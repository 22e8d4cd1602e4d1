"""The door, as a page calls it: by an RPC's name, in a thread, for the key that signed in.

Decides nothing: it is one more client, without a wire between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from lehr.api.calls import Envelope, new_req_id
from lehr.api.door import Door
from lehr.errors import LehrError
from lehr.protocol import status_code_pb2
from lehr.protocol.rpcs import RPCS
from lehr.services.dataset_health import HealthReports
from lehr.services.reindex import BaseWorkflows
from lehr.services.storage import Storage

T = TypeVar("T")
_GOOD = frozenset({status_code_pb2.SUCCESS, status_code_pb2.MIXED_STATUS})
_THREADS = ThreadPoolExecutor(8, thread_name_prefix="web")


class Refused(LehrError):
    """The door's answer was no; carries its sentence and code."""

    def __init__(self, code: int, details: str, http_status: int) -> None:
        super().__init__(details, code=code)
        self.http_status = http_status


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What pages show that no call of the API answers. Whoever asks it has asked the door first."""

    health: HealthReports
    bases: BaseWorkflows
    storage: Storage


@dataclass(frozen=True, kw_only=True)
class Client:
    """Calls for one signed-in browser."""

    door: Door
    beside: Beside
    token: str
    base_url: str
    """How the browser reaches us; addresses in answers begin with it."""

    def ask_now(self, name: str, message: Any) -> Any:
        """The answer to a request message, in this thread. Raises Refused."""
        answer: Any = self.door.answer(RPCS[name], message, self._envelope())
        status = answer.status
        if status.code not in _GOOD:
            raise Refused(status.code, status.details or status.description, status.http_status_code)
        return answer

    def admit(self, name: str, message: Any) -> None:
        """Nothing, where the door would let this call in. Raises LehrError."""
        self.door.call_of(RPCS[name], message, self._envelope())

    def _envelope(self) -> Envelope:
        return Envelope(authorization=f"Key {self.token}", base_url=self.base_url, face="web", req_id=new_req_id(""))

    async def ask(self, name: str, **fields: Any) -> Any:
        """The answer to a request with these fields. Raises Refused."""
        return await in_thread(self.ask_now, name, RPCS[name].request(**fields))


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Runs what blocks in a thread of the web page's own."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, partial(function, *arguments))


def takes_app(name: str) -> bool:
    """Whether the RPC's request says which user and app it is about."""
    return "user_app_id" in RPCS[name].request.DESCRIPTOR.fields_by_name
