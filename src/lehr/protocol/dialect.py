"""The REST JSON dialect of the public service, in both directions, for any message.

It differs from protobuf's own JSON in what published clients rely on: names are the proto's, enums are integers in
answers (names or integers in requests), fields marked `cl_show_if_empty` are there even when empty, a number missing
from a request takes its `cl_default_float` (a concept without `value` means 1.0), and unknown fields are ignored.

A plan per message type is made once from its descriptor. The bytes of a 100 MB base64 value are copied by the JSON
parser, by the base64 decoder and into the message, and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import Message

from lehr.errors import BadFormat
from lehr.protocol.json_values import OWN_FORM, Reader, Writer, refused, scalar_reader, scalar_writer

_MAX_DEPTH = 100
"""Levels of messages that the wire format's own parser takes."""

Put = Callable[[Any, Any, str, int], None]
"""Sets one field: (message, JSON value, path, depth)."""


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """How messages of one type are read and written."""

    puts: Mapping[str, Put]
    writers: Mapping[int, tuple[str, Writer]]
    shown: tuple[tuple[str, Callable[[], Any]], ...]
    defaults: tuple[tuple[str, float], ...]


_PLANS: dict[str, _Plan] = {}


def _plan(descriptor: Descriptor) -> _Plan:
    plan = _PLANS.get(descriptor.full_name)
    if plan is None:  # two threads may both make it: the plans are equal
        plan = _PLANS[descriptor.full_name] = _made_plan(descriptor)
    return plan


def _made_plan(descriptor: Descriptor) -> _Plan:
    puts = {field.json_name: _put(field) for field in descriptor.fields}
    puts.update((field.name, puts[field.json_name]) for field in descriptor.fields)
    return _Plan(
        puts=puts,
        writers={field.number: (field.name, _field_writer(field)) for field in descriptor.fields},
        shown=tuple((field.name, _empty(field)) for field in descriptor.fields if _is_shown_empty(field)),
        defaults=tuple(_default_floats(descriptor)),
    )


def _extension(field: Field, name: str) -> Any:
    return next((value for extension, value in field.GetOptions().ListFields() if extension.name == name), None)


def _is_shown_empty(field: Field) -> bool:
    single_message = field.message_type is not None and not field.is_repeated
    return bool(_extension(field, "cl_show_if_empty")) and not single_message and field.containing_oneof is None


def _is_map(field: Field) -> bool:
    return field.is_repeated and field.message_type is not None and field.message_type.GetOptions().map_entry


def _empty(field: Field) -> Callable[[], Any]:
    if field.is_repeated:
        return dict if _is_map(field) else list
    value = scalar_writer(field)(field.default_value)
    return lambda: value


def _default_floats(descriptor: Descriptor) -> Iterable[tuple[str, float]]:
    return ((field.name, value) for field in descriptor.fields if (value := _extension(field, "cl_default_float")))


# -- answers -----------------------------------------------------------------------------------------------------------


def to_json(message: Message) -> dict[str, Any]:
    """The message as JSON values."""
    plan = _plan(message.DESCRIPTOR)
    writers = plan.writers
    result: dict[str, Any] = {}
    for field, value in message.ListFields():
        name, write = writers[field.number]
        result[name] = write(value)
    for name, empty in plan.shown:
        if name not in result:
            result[name] = empty()
    return result


def dump(message: Message) -> bytes:
    """The message as a JSON body, UTF-8."""
    return json.dumps(to_json(message), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")


def _field_writer(field: Field) -> Writer:
    if _is_map(field):
        return _map_writer(field)
    write = _value_writer(field)
    return (lambda values: [write(value) for value in values]) if field.is_repeated else write


def _value_writer(field: Field) -> Writer:
    if field.message_type is None:
        return scalar_writer(field)
    own_form = OWN_FORM.get(field.message_type.full_name)
    return own_form[1] if own_form else to_json


def _map_writer(field: Field) -> Writer:
    write = _value_writer(field.message_type.fields_by_name["value"])
    return lambda entries: {_key_text(key): write(entries[key]) for key in entries}


def _key_text(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


# -- requests ----------------------------------------------------------------------------------------------------------


def parse(data: bytes | bytearray, message: Message) -> None:
    """Reads a JSON body into the message; an empty body says nothing. Raises BadFormat."""
    if not data or data.isspace():
        return
    try:
        value = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadFormat(f"the body is not JSON: {error or 'it is nested too deeply'}") from error
    from_json(message, value)


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def from_json(message: Message, value: Any) -> None:
    """Reads JSON values into the message, over what it holds. Raises BadFormat naming the field."""
    try:
        _read(message, value, "", 0)
    except UnicodeEncodeError as error:  # half of a surrogate pair, which JSON can spell and UTF-8 cannot
        raise BadFormat(f"the body holds text that is no Unicode: {error}") from error


def _read(message: Any, value: Any, path: str, depth: int) -> None:
    if not isinstance(value, dict):
        raise refused(path, value, "an object")
    if depth >= _MAX_DEPTH:
        raise BadFormat(f"{path[:60]}… is nested too deeply; at most {_MAX_DEPTH} levels are read")
    plan = _plan(message.DESCRIPTOR)
    prefix = f"{path}." if path else ""
    for key, entry in value.items():
        put = plan.puts.get(key)
        if put is not None and entry is not None:
            put(message, entry, prefix + key, depth)
    for name, default in plan.defaults:
        if value.get(name) is None:
            setattr(message, name, default)


def _put(field: Field) -> Put:
    if _is_map(field):
        return _put_map(field)
    if field.message_type is None:
        return (
            _put_scalars(field.name, scalar_reader(field))
            if field.is_repeated
            else _put_scalar(field.name, scalar_reader(field))
        )
    return _put_messages(field) if field.is_repeated else _put_message(field)


def _put_scalar(name: str, read: Reader) -> Put:
    return lambda message, value, path, _: setattr(message, name, read(value, path))


def _put_scalars(name: str, read: Reader) -> Put:
    def put(message: Any, value: Any, path: str, _: int) -> None:
        values = value if isinstance(value, list) else [value]
        getattr(message, name).extend([read(entry, f"{path}[{n}]") for n, entry in enumerate(values)])

    return put


def _message_reader(field: Field) -> Callable[[Any, Any, str, int], None]:
    own_form = OWN_FORM.get(field.message_type.full_name)
    if own_form is None:
        return lambda message, value, path, depth: _read(message, value, path, depth + 1)
    read = own_form[0]
    return lambda message, value, path, _: read(message, value, path)


def _put_message(field: Field) -> Put:
    name, read = field.name, _message_reader(field)

    def put(message: Any, value: Any, path: str, depth: int) -> None:
        inner = getattr(message, name)
        inner.SetInParent()  # an empty object is there, too
        read(inner, value, path, depth)

    return put


def _put_messages(field: Field) -> Put:
    name, read = field.name, _message_reader(field)

    def put(message: Any, value: Any, path: str, depth: int) -> None:
        if not isinstance(value, list):
            raise refused(path, value, "a list")
        items = getattr(message, name)
        for number, entry in enumerate(value):
            read(items.add(), entry, f"{path}[{number}]", depth)

    return put


def _put_map(field: Field) -> Put:
    name = field.name
    key_field, value_field = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
    read_key = scalar_reader(key_field)
    read_message = None if value_field.message_type is None else _message_reader(value_field)
    read_scalar = None if read_message else scalar_reader(value_field)

    def put(message: Any, value: Any, path: str, depth: int) -> None:
        if not isinstance(value, dict):
            raise refused(path, value, "an object")
        entries = getattr(message, name)
        for text, entry in value.items():
            key = read_key(text, path)
            if read_message is not None:
                read_message(entries[key], entry, f"{path}.{text}", depth)
            elif read_scalar is not None:
                entries[key] = read_scalar(entry, f"{path}.{text}")

    return put


# -- query strings and paths -------------------------------------------------------------------------------------------


def from_query(message: Message, pairs: Iterable[tuple[str, str]]) -> None:
    """Reads `ids=a&ids=b&user_app_id.user_id=me` into the message: dots go into messages, unknown names are ignored."""
    for name, text in pairs:
        put_at(message, name, text)


def put_at(message: Any, path: str, text: str) -> None:
    """Sets the scalar field at a dotted path; nothing happens where there is none. Raises BadFormat."""
    *outer, last = path.split(".")
    for name in outer:
        field = message.DESCRIPTOR.fields_by_name.get(name)
        if field is None or field.message_type is None or field.is_repeated:
            return
        message = getattr(message, name)
    put = _plan(message.DESCRIPTOR).puts.get(last)
    field = message.DESCRIPTOR.fields_by_name.get(last)
    if put is not None and field is not None and _is_textual(field):
        try:
            put(message, text, path, 0)
        except UnicodeEncodeError as error:
            raise refused(path, text, "Unicode text") from error


def _is_textual(field: Field) -> bool:
    """Whether a query string can carry the field: scalars, times, durations and wrapped scalars."""
    if field.message_type is None:
        return True
    name = field.message_type.full_name
    return not field.is_repeated and name in OWN_FORM and name.split(".")[-1] not in ("Struct", "Value", "ListValue")
