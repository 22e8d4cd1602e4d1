"""Builds the superset of the public descriptors: today's messages and the fields that older clients and the seeds send.

It does not define messages of our own: nothing here may change what a published client reads. The descriptors come from
the installed `clarifai-grpc` wheel and go into a private pool, because the default pool already holds the wheel's own
classes under the same names. Messages of the two pools do not mix (`CopyFrom` between them raises TypeError).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor

_Field = descriptor_pb2.FieldDescriptorProto

ROOTS = (
    "clarifai_grpc.grpc.api.service_pb2",
    "google.protobuf.field_mask_pb2",
)


@dataclass(frozen=True, kw_only=True)
class ReAdded:
    """A field that a published client once sent, at the number it had."""

    message: str
    name: str
    number: int
    type: int = _Field.TYPE_MESSAGE
    type_name: str = ""
    until: str
    """The last clarifai-grpc release that carried it, or the seed page that sends it."""


RE_ADDED = (
    ReAdded(message="Model", name="input_info", number=12, type_name=".clarifai.api.InputInfo", until="9.6.0"),
    ReAdded(message="Model", name="train_info", number=13, type_name=".clarifai.api.TrainInfo", until="9.6.0"),
    ReAdded(message="Model", name="import_info", number=24, type_name=".clarifai.api.ImportInfo", until="9.6.0"),
    ReAdded(message="OutputConfig", name="closed_environment", number=2, type=_Field.TYPE_BOOL, until="9.5.0"),
    ReAdded(
        message="PostModelVersionsRequest", name="search", number=4, type_name=".clarifai.api.Search", until="9.2.0"
    ),
    ReAdded(
        message="PostModelVersionsRequest",
        name="train_search",
        number=5,
        type_name=".clarifai.api.Search",
        until="9.2.0",
    ),
    ReAdded(
        message="PostModelVersionsRequest",
        name="test_search",
        number=6,
        type_name=".clarifai.api.Search",
        until="9.2.0",
    ),
    ReAdded(
        message="PostModelVersionsRequest",
        name="evaluate_after_training",
        number=7,
        type=_Field.TYPE_BOOL,
        until="9.2.0",
    ),
    ReAdded(
        message="PostModelVersionsRequest",
        name="dataset_version",
        number=9,
        type_name=".clarifai.api.DatasetVersion",
        until="9.2.0",
    ),
)


def build_pool() -> descriptor_pool.DescriptorPool:
    """A fresh pool with every file that the service needs, the re-added fields included. Takes about 0.1 s."""
    pool = descriptor_pool.DescriptorPool()
    seen: set[str] = set()
    for root in ROOTS:
        _add_with_dependencies(importlib.import_module(root).DESCRIPTOR, pool, seen)
    return pool


def _add_with_dependencies(file: FileDescriptor, pool: descriptor_pool.DescriptorPool, seen: set[str]) -> None:
    if file.name in seen:
        return
    seen.add(file.name)
    for dependency in file.dependencies:
        _add_with_dependencies(dependency, pool, seen)
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)
    _re_add_fields(proto)
    pool.Add(proto)


def _re_add_fields(file: descriptor_pb2.FileDescriptorProto) -> None:
    messages = {message.name: message for message in file.message_type}
    for field in RE_ADDED:
        message = messages.get(field.message)
        if message is None:
            continue
        if field.number in {existing.number for existing in message.field}:
            continue  # a future wheel brought the field back by itself
        _free_reserved(message, field)
        added = message.field.add(name=field.name, number=field.number, label=_Field.LABEL_OPTIONAL, type=field.type)
        if field.type_name:
            added.type_name = field.type_name


def _free_reserved(message: descriptor_pb2.DescriptorProto, field: ReAdded) -> None:
    """Splits the reserved range that covers the number, so that the number may be used again."""
    ranges = [(r.start, r.end) for r in message.reserved_range]
    del message.reserved_range[:]
    for start, end in ranges:
        for low, high in ((start, min(end, field.number)), (max(start, field.number + 1), end)):
            if low < high:
                message.reserved_range.add(start=low, end=high)
    names = [name for name in message.reserved_name if name != field.name]
    message.reserved_name[:] = names
