"""Struct and Value, to and from plain Python values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lehr.protocol.messages import struct_pb2

Plain = None | bool | float | int | str | Sequence["Plain"] | Mapping[str, "Plain"]


def to_value(value: Plain) -> struct_pb2.Value:
    """A `google.protobuf.Value`; numbers become doubles, as the wire has no other."""
    made = struct_pb2.Value()
    if value is None:
        made.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, bool):
        made.bool_value = value
    elif isinstance(value, (int, float)):
        made.number_value = value
    elif isinstance(value, str):
        made.string_value = value
    elif isinstance(value, Mapping):
        made.struct_value.CopyFrom(to_struct(value))
    else:
        made.list_value.values.extend(to_value(item) for item in value)
    return made


def to_struct(values: Mapping[str, Plain]) -> struct_pb2.Struct:
    """A `google.protobuf.Struct` with these fields."""
    made = struct_pb2.Struct()
    for name, value in values.items():
        made.fields[name].CopyFrom(to_value(value))
    return made


def from_value(value: struct_pb2.Value) -> Plain:
    """The plain value; an unset one is None."""
    kind = value.WhichOneof("kind")
    if kind is None or kind == "null_value":
        return None
    if kind == "struct_value":
        return from_struct(value.struct_value)
    if kind == "list_value":
        return [from_value(item) for item in value.list_value.values]
    plain: Plain = getattr(value, kind)
    return plain


def from_struct(struct: struct_pb2.Struct) -> dict[str, Plain]:
    """A plain dictionary."""
    return {name: from_value(value) for name, value in struct.fields.items()}
