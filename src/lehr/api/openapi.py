"""The REST face as an OpenAPI 3.1 document, made from the same descriptors that answer it.

Describes what is offered: an RPC out of scope is not in it. Says nothing about gRPC.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor
from google.protobuf.descriptor import FieldDescriptor as Field

from lehr.protocol.json_values import OWN_FORM
from lehr.protocol.rpcs import NOT_OFFERED, RPCS, Binding, Rpc

Schema = dict[str, Any]

_NUMBERS: dict[int, Schema] = {
    Field.CPPTYPE_INT32: {"type": "integer", "format": "int32"},
    Field.CPPTYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    Field.CPPTYPE_INT64: {"type": "integer", "format": "int64"},
    Field.CPPTYPE_UINT64: {"type": "integer", "minimum": 0, "maximum": 2**64 - 1},
    Field.CPPTYPE_FLOAT: {"type": "number", "format": "float"},
    Field.CPPTYPE_DOUBLE: {"type": "number", "format": "double"},
    Field.CPPTYPE_BOOL: {"type": "boolean"},
}
_WELL_KNOWN: dict[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?\d+(\.\d+)?s$"},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {},
    "google.protobuf.ListValue": {"type": "array"},
    "google.protobuf.FieldMask": {"type": "string"},
}
_IN_BODY = ("POST", "PUT", "PATCH", "DELETE")


@lru_cache(maxsize=1)
def document() -> bytes:
    """The document as JSON, UTF-8."""
    offered = [rpc for rpc in RPCS.values() if rpc.name not in NOT_OFFERED]
    whole = {
        "openapi": "3.1.0",
        "info": {"title": "Lehr", "version": version("lehr"), "description": "The public Clarifai v2 API, REST."},
        "security": [{"key": []}],
        "paths": _paths(offered),
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`Key <personal access token or app key>`",
                }
            },
            "schemas": _schemas(offered),
        },
    }
    return json.dumps(whole, separators=(",", ":")).encode()


# -- routes ------------------------------------------------------------------------------------------------------------


def _paths(rpcs: Iterable[Rpc]) -> Schema:
    paths: Schema = {}
    for rpc in rpcs:
        for number, binding in enumerate(rpc.bindings):
            operations = paths.setdefault(_shown_path(binding.template), {})
            operations.setdefault(binding.method.lower(), _operation(rpc, binding, number))
    return paths


def _operation(rpc: Rpc, binding: Binding, number: int) -> Schema:
    in_path, shown = _parameters_of(binding.template), _shown_names(binding.template)
    operation: Schema = {
        "operationId": f"{rpc.name}_{number}" if number else rpc.name,
        "tags": [rpc.name],
        "parameters": [_parameter("path", shown[name], _field_at(rpc, name)) for name in in_path],
        "responses": {"default": {"description": _answer(rpc), "content": _json(rpc.response.DESCRIPTOR)}},
    }
    if binding.method in _IN_BODY:
        operation["requestBody"] = {"content": _json(rpc.request.DESCRIPTOR)}
    else:
        operation["parameters"] += [
            _parameter("query", field.name, field)
            for field in rpc.request.DESCRIPTOR.fields
            if field.message_type is None and field.name not in in_path
        ]
    if not rpc.needs_key:
        operation["security"] = []
    return operation


def _answer(rpc: Rpc) -> str:
    return "One JSON document a line, each with its `status`" if rpc.server_streaming else "`status.code` tells"


def _parameters_of(template: str) -> list[str]:
    return [part[1:-1] for part in template.split("/") if part.startswith("{")]


def _shown_names(template: str) -> dict[str, str]:
    """`user_app_id.app_id` is shown as `app_id`: many readers of OpenAPI take no dots."""
    names = _parameters_of(template)
    last = [name.rsplit(".", 1)[-1] for name in names]
    return {
        name: short if last.count(short) == 1 else name.replace(".", "_")
        for name, short in zip(names, last, strict=True)
    }


def _shown_path(template: str) -> str:
    shown = _shown_names(template)
    return "/".join(f"{{{shown[part[1:-1]]}}}" if part.startswith("{") else part for part in template.split("/"))


def _field_at(rpc: Rpc, path: str) -> Field:
    *outer, last = path.split(".")
    descriptor = rpc.request.DESCRIPTOR
    for name in outer:
        descriptor = descriptor.fields_by_name[name].message_type
    return descriptor.fields_by_name[last]


def _parameter(place: str, name: str, field: Field) -> Schema:
    schema = _field(field)
    if place == "path" and schema.get("type") == "string":
        schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


def _json(descriptor: Descriptor) -> Schema:
    return {"application/json": {"schema": _reference(descriptor)}}


# -- messages ----------------------------------------------------------------------------------------------------------


def _schemas(rpcs: Iterable[Rpc]) -> Schema:
    """Every message that the routes reach, and the enums."""
    found: dict[str, Schema] = {}
    waiting = [descriptor for rpc in rpcs for descriptor in (rpc.request.DESCRIPTOR, rpc.response.DESCRIPTOR)]
    while waiting:
        descriptor = waiting.pop()
        if descriptor.full_name not in found:
            found[descriptor.full_name] = _message(descriptor)
            waiting.extend(_messages_in(descriptor))
    return dict(sorted(found.items()))


def _messages_in(descriptor: Descriptor) -> Iterator[Descriptor]:
    for field in descriptor.fields:
        value = field.message_type.fields_by_name["value"] if _is_map(field) else field
        if value.message_type is not None and value.message_type.full_name not in OWN_FORM:
            yield value.message_type


def _message(descriptor: Descriptor) -> Schema:
    return {"type": "object", "properties": {field.name: _field(field) for field in descriptor.fields}}


def _is_map(field: Field) -> bool:
    return field.is_repeated and field.message_type is not None and field.message_type.GetOptions().map_entry


def _field(field: Field) -> Schema:
    if _is_map(field):
        return {"type": "object", "additionalProperties": _value(field.message_type.fields_by_name["value"])}
    return {"type": "array", "items": _value(field)} if field.is_repeated else _value(field)


def _value(field: Field) -> Schema:
    if field.cpp_type == Field.CPPTYPE_ENUM:
        return _enum(field.enum_type)
    if field.cpp_type == Field.CPPTYPE_STRING:
        is_bytes = field.type == Field.TYPE_BYTES
        return {"type": "string", "contentEncoding": "base64"} if is_bytes else {"type": "string"}
    if field.message_type is None:
        return dict(_NUMBERS[field.cpp_type])
    is_special = field.message_type.full_name in OWN_FORM
    return _own_form(field.message_type) if is_special else _reference(field.message_type)


def _own_form(descriptor: Descriptor) -> Schema:
    """The well-known types that are no objects in JSON; wrappers are the value that they wrap."""
    known = _WELL_KNOWN.get(descriptor.full_name)
    return _value(descriptor.fields_by_name["value"]) if known is None else dict(known)


def _enum(descriptor: EnumDescriptor) -> Schema:
    """A number in answers; a number or a name in requests."""
    names = [value.name for value in descriptor.values]
    return {"anyOf": [{"type": "integer", "format": "int32"}, {"type": "string", "enum": names}]}


def _reference(descriptor: Descriptor) -> Schema:
    return {"$ref": f"#/components/schemas/{descriptor.full_name}"}
