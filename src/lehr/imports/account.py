"""A running server as its public API shows it: the unmodified published messages, and a key from CLARIFAI_*.

Knows nothing of Lehr's inside: any server that speaks the API will do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import grpc
from clarifai_grpc.grpc.api import resources_pb2, service_pb2
from clarifai_grpc.grpc.api.status import status_code_pb2
from google.protobuf import message_factory

from lehr.errors import InvalidRequest, LehrError

MAX_MESSAGE_BYTES = 1 << 30
_SERVICE = service_pb2.DESCRIPTOR.services_by_name["V2"]
ATTEMPTS = 8
DEFAULT_BASE = "http://127.0.0.1:8080"


@dataclass(frozen=True, kw_only=True)
class Account:
    """One app of one user on one server."""

    base: str
    user_id: str
    token: str
    app_id: str

    @classmethod
    def from_environment(cls, app_id: str, environment: Mapping[str, str] = os.environ) -> Account:
        """As the public clients find it. Raises InvalidRequest where the key is missing."""
        token = environment.get("CLARIFAI_PAT", "")
        if not token:
            raise InvalidRequest(
                "CLARIFAI_PAT is not set: `lehr serve` prints the three `export` lines, and `lehr keys --new NAME` "
                "makes another key."
            )
        base = environment.get("CLARIFAI_API_BASE", DEFAULT_BASE)
        return cls(base=base, user_id=environment.get("CLARIFAI_USER_ID", "me"), token=token, app_id=app_id)

    @cached_property
    def channel(self) -> Any:
        """The connection; https means TLS."""
        parts = urlsplit(self.base if "//" in self.base else f"https://{self.base}")
        target = f"{parts.hostname}:{parts.port or (80 if parts.scheme == 'http' else 443)}"
        options = [(f"grpc.max_{way}_message_length", MAX_MESSAGE_BYTES) for way in ("send", "receive")]
        if parts.scheme == "http":
            return grpc.insecure_channel(target, options)
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(), options)

    def ask(self, rpc: str, **fields: Any) -> Any:
        """The answer to one call, whatever its status. A server that is away is waited for a while.

        Raises LehrError when it stays away, or when the key is refused.
        """
        method = _SERVICE.methods_by_name[rpc]
        request = message_factory.GetMessageClass(method.input_type)(**fields)
        call = self.channel.unary_unary(
            f"/{_SERVICE.full_name}/{rpc}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        request.user_app_id.user_id, request.user_app_id.app_id = self.user_id, self.app_id
        for attempt in range(ATTEMPTS):
            try:
                answer = call(request, metadata=(("authorization", f"Key {self.token}"),))
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or attempt == ATTEMPTS - 1:
                    raise LehrError(f"{self.base} does not answer {rpc}: {error.details()}") from error
                time.sleep(min(5.0, 0.2 * 2**attempt))
                continue
            if answer.status.code == status_code_pb2.CONN_KEY_INVALID:
                raise InvalidRequest(f"{self.base} refuses the key in CLARIFAI_PAT: {answer.status.details}")
            return answer
        raise AssertionError("the last attempt returns or raises")

    def must(self, rpc: str, **fields: Any) -> Any:
        """The same, where anything but success is raised."""
        answer = self.ask(rpc, **fields)
        if answer.status.code != status_code_pb2.SUCCESS:
            raise LehrError(f"{rpc}: {answer.status.description}. {answer.status.details}")
        return answer

    def ensure_app(self) -> bool:
        """Makes the app if need be; whether it was made."""
        if self.ask("GetApp").status.code == status_code_pb2.SUCCESS:
            return False
        replace(self, app_id="").must("PostApps", apps=[resources_pb2.App(id=self.app_id)])
        return True

    def ensure_dataset(self, dataset_id: str) -> bool:
        """Makes the data set if need be; whether it was made."""
        if self.ask("GetDataset", dataset_id=dataset_id).status.code == status_code_pb2.SUCCESS:
            return False
        self.must("PostDatasets", datasets=[resources_pb2.Dataset(id=dataset_id)])
        return True
