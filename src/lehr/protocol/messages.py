"""The message classes everything in Lehr uses, made from the superset descriptors.

`resources_pb2.Model`, `service_pb2.PostModelsRequest`, `struct_pb2.Struct`, … look and type-check like the wheel's own
modules, but live in a private pool. Import them from `lehr.protocol`, never from `clarifai_grpc` or `google.protobuf`:
messages of two pools do not mix.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

from google.protobuf import message_factory
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from lehr.protocol.superset import build_pool

if TYPE_CHECKING:
    from clarifai_grpc.grpc.api import resources_pb2, service_pb2
    from clarifai_grpc.grpc.api.status import status_code_pb2, status_pb2
    from clarifai_grpc.grpc.api.utils import extensions_pb2
    from google.protobuf import duration_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2

__all__ = [
    "POOL",
    "duration_pb2",
    "extensions_pb2",
    "field_mask_pb2",
    "resources_pb2",
    "service_pb2",
    "status_code_pb2",
    "status_pb2",
    "struct_pb2",
    "timestamp_pb2",
    "wrappers_pb2",
]

POOL = build_pool()


def _module(file_name: str) -> SimpleNamespace:
    """What protoc would have written for this file: classes, enum wrappers, enum values, extensions."""
    file = POOL.FindFileByName(file_name)
    module = SimpleNamespace(DESCRIPTOR=file)
    for name, descriptor in file.message_types_by_name.items():
        setattr(module, name, message_factory.GetMessageClass(descriptor))
    for name, enum in file.enum_types_by_name.items():
        setattr(module, name, EnumTypeWrapper(enum))
        for value in enum.values:
            setattr(module, value.name, value.number)
    for name, extension in file.extensions_by_name.items():
        setattr(module, name, extension)
    return module


if not TYPE_CHECKING:
    struct_pb2 = _module("google/protobuf/struct.proto")
    timestamp_pb2 = _module("google/protobuf/timestamp.proto")
    duration_pb2 = _module("google/protobuf/duration.proto")
    wrappers_pb2 = _module("google/protobuf/wrappers.proto")
    field_mask_pb2 = _module("google/protobuf/field_mask.proto")
    extensions_pb2 = _module("proto/clarifai/api/utils/extensions.proto")
    status_code_pb2 = _module("proto/clarifai/api/status/status_code.proto")
    status_pb2 = _module("proto/clarifai/api/status/status.proto")
    resources_pb2 = _module("proto/clarifai/api/resources.proto")
    service_pb2 = _module("proto/clarifai/api/service.proto")
