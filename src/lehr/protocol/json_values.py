"""One value between JSON and protobuf: the scalars, and the messages that JSON has a form of its own for.

Both directions of the REST dialect take their conversions from here. Every reader takes a JSON value and the path it
came from, and raises `BadFormat` with path, value and what was possible.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import Message

from lehr.errors import BadFormat

Reader = Callable[[Any, str], Any]
Writer = Callable[[Any], Any]

_INTEGERS = {
    Field.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    Field.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    Field.CPPTYPE_UINT32: (0, 2**32 - 1),
    Field.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_EXACT_IN_JSON = 2**53
"""Readers that keep numbers as doubles (browsers) lose integers above this: those are written as strings."""
_BEYOND_FLOAT = 3.4028235677973366e38
"""Doubles from here on round to infinity as 32-bit floats."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_DEPTH = 100
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def refused(path: str, value: object, wanted: str) -> BadFormat:
    """The error for a value that cannot be read; shows at most 60 characters of it."""
    shown = repr(value)
    return BadFormat(f"{path or 'the body'} is {shown[:60]}{'…' if len(shown) > 60 else ''}; it must be {wanted}")


# -- reading -----------------------------------------------------------------------------------------------------------


def scalar_reader(field: Field) -> Reader:
    """How a scalar field's JSON value is read: numbers also as strings, booleans also as "True", enums by name too."""
    if field.cpp_type in _INTEGERS:
        return _integer_reader(*_INTEGERS[field.cpp_type])
    if field.cpp_type == Field.CPPTYPE_ENUM:
        return _enum_reader(field.enum_type)
    if field.cpp_type == Field.CPPTYPE_STRING:
        return read_bytes if field.type == Field.TYPE_BYTES else read_string
    return {Field.CPPTYPE_BOOL: read_bool, Field.CPPTYPE_FLOAT: read_float32, Field.CPPTYPE_DOUBLE: read_float}[
        field.cpp_type
    ]


def _integer_reader(low: int, high: int) -> Reader:
    wanted = f"a whole number between {low} and {high}"

    def read(value: Any, path: str) -> int:
        if type(value) is int and low <= value <= high:
            return value
        number = _as_integer(value)
        if number is None or not low <= number <= high:
            raise refused(path, value, wanted)
        return number

    return read


def _as_integer(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return _as_integer(_as_float(value))
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) else None


def _as_float(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if isinstance(value, str | int | float):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        return number if math.isfinite(number) else None
    return None


def read_float(value: Any, path: str) -> float:
    """A double; "NaN", "Infinity" and "-Infinity" as strings."""
    number = _as_float(value)
    if number is None:
        raise refused(path, value, "a number")
    return number


def read_float32(value: Any, path: str) -> float:
    """A float that fits 32 bits."""
    number = read_float(value, path)
    if math.isfinite(number) and abs(number) >= _BEYOND_FLOAT:
        raise refused(path, value, "a number that a 32-bit float can hold")
    return number


def read_bool(value: Any, path: str) -> bool:
    """A boolean; clients also send "True" and "false", and 1 and 0."""
    if isinstance(value, bool):
        return value
    known = {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower())
    if known is None:
        raise refused(path, value, "true or false")
    return known


def read_string(value: Any, path: str) -> str:
    """A string."""
    if not isinstance(value, str):
        raise refused(path, value, "a string")
    return value


def read_bytes(value: Any, path: str) -> bytes:
    """Base64, standard or URL-safe; missing padding and line breaks are forgiven, other characters are not."""
    if not isinstance(value, str):
        raise refused(path, value, "a base64 string")
    try:
        return binascii.a2b_base64(value, strict_mode=True)
    except ValueError:  # not the plain form; a picture of 100 MB in the plain form never comes here
        return _forgiving_base64(value, path)


def _forgiving_base64(value: str, path: str) -> bytes:
    text = "".join(value.split()).replace("-", "+").replace("_", "/")
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError as error:
        raise refused(path, value, f"base64 ({str(error).lower()})") from error


def _enum_reader(enum: EnumDescriptor) -> Reader:
    by_name = {value.name: value.number for value in enum.values}
    read_number = _integer_reader(*_INTEGERS[Field.CPPTYPE_INT32])
    names = ", ".join(list(by_name)[:12]) + (", …" if len(by_name) > 12 else "")

    def read(value: Any, path: str) -> int:
        if isinstance(value, str) and value in by_name:
            return by_name[value]
        try:
            return read_number(value, path)
        except BadFormat:
            raise refused(path, value, f"one of {names}, or its number") from None

    return read


# -- writing -----------------------------------------------------------------------------------------------------------


def scalar_writer(field: Field) -> Writer:
    """How a scalar is written: enums as integers, bytes as base64, 32-bit floats with as few digits as name them."""
    if field.type == Field.TYPE_BYTES:
        return write_bytes
    if field.cpp_type in (Field.CPPTYPE_INT64, Field.CPPTYPE_UINT64):
        return write_integer
    if field.cpp_type == Field.CPPTYPE_FLOAT:
        return write_float32
    return write_float if field.cpp_type == Field.CPPTYPE_DOUBLE else _as_it_is


def _as_it_is(value: Any) -> Any:
    return value


def write_bytes(value: bytes) -> str:
    """Standard base64."""
    return base64.b64encode(value).decode("ascii")


def write_integer(value: int) -> int | str:
    """A number, or a string where a double could not hold it."""
    return value if -_EXACT_IN_JSON <= value <= _EXACT_IN_JSON else str(value)


def write_float(value: float) -> float | str:
    """A number; JSON has no form for what is not finite, so those are strings."""
    return value if math.isfinite(value) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")


def write_float32(value: float) -> float | str:
    """The shortest decimal that reads back as the same 32-bit float: 0.9, not 0.8999999761581421."""
    for digits in ("%.6g", "%.7g", "%.8g"):
        short = float(digits % value)
        if abs(short) < _BEYOND_FLOAT and _FLOAT.unpack(_FLOAT.pack(short))[0] == value:
            return short
    return float(f"{value:.9g}") if math.isfinite(value) else write_float(value)


_FLOAT = struct.Struct("f")


# -- messages with a JSON form of their own ----------------------------------------------------------------------------


def _read_timestamp(message: Message, value: Any, path: str) -> None:
    try:
        message.FromJsonString(read_string(value, path))
    except ValueError as error:
        raise refused(path, value, "a time such as 2026-11-22T09:30:00.123456Z") from error


def _write_timestamp(message: Any) -> str:
    try:
        moment = _EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
    except OverflowError:
        return "0001-01-01T00:00:00Z"
    text = moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")  # strftime does not pad the years before 1000
    return f"{text}.{moment.microsecond:06}Z" if moment.microsecond else f"{text}Z"


def _read_duration(message: Message, value: Any, path: str) -> None:
    try:
        message.FromJsonString(read_string(value, path))
    except ValueError as error:
        raise refused(path, value, "a duration such as 1.5s") from error


def _write_duration(message: Any) -> str:
    micros = message.seconds * 1_000_000 + int(message.nanos / 1000)
    whole, part = divmod(abs(micros), 1_000_000)
    sign = "-" if micros < 0 else ""
    return f"{sign}{whole}.{part:06}s" if part else f"{sign}{whole}s"


def _read_struct(message: Any, value: Any, path: str, depth: int = 0) -> None:
    if not isinstance(value, dict):
        raise refused(path, value, "an object")
    message.SetInParent()
    for key, entry in value.items():
        _read_value(message.fields[key], entry, f"{path}.{key}", depth + 1)


def _read_list(message: Any, value: Any, path: str, depth: int = 0) -> None:
    if not isinstance(value, list):
        raise refused(path, value, "a list")
    message.SetInParent()
    for number, entry in enumerate(value):
        _read_value(message.values.add(), entry, f"{path}[{number}]", depth + 1)


def _read_value(message: Any, value: Any, path: str, depth: int = 0) -> None:
    if depth > _MAX_DEPTH // 3:  # each level of a Struct is three levels of messages, and the wire takes 100
        raise BadFormat(f"{path[:60]}… is nested too deeply; at most {_MAX_DEPTH // 3} levels are read")
    if value is None:
        message.null_value = 0
    elif isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, int | float):
        message.number_value = read_float(value, path)
    elif isinstance(value, str):
        message.string_value = value
    elif isinstance(value, dict):
        _read_struct(message.struct_value, value, path, depth)
    else:
        _read_list(message.list_value, value, path, depth)


def _write_struct(message: Any) -> dict[str, Any]:
    return {key: _write_value(value) for key, value in message.fields.items()}


def _write_list(message: Any) -> list[Any]:
    return [_write_value(value) for value in message.values]


def _write_value(message: Any) -> Any:
    kind = message.WhichOneof("kind")
    if kind == "struct_value":
        return _write_struct(message.struct_value)
    if kind == "list_value":
        return _write_list(message.list_value)
    if kind == "number_value":
        return _write_number(message.number_value)
    return None if kind in ("null_value", None) else getattr(message, kind)


def _write_number(number: float) -> float | int | str:
    """A whole number without a fraction: clients compare `num_epochs` with 2; -0.0 is no whole number."""
    is_whole = number.is_integer() and abs(number) <= _EXACT_IN_JSON
    return int(number) if is_whole and (number or math.copysign(1, number) > 0) else write_float(number)


def _read_field_mask(message: Message, value: Any, path: str) -> None:
    message.paths[:] = [part for part in read_string(value, path).split(",") if part]


def _write_field_mask(message: Any) -> str:
    return ",".join(message.paths)


def _read_wrapped(message: Message, value: Any, path: str) -> None:
    read = scalar_reader(message.DESCRIPTOR.fields_by_name["value"])
    message.SetInParent()
    message.value = read(value, path)


def _write_wrapped(message: Any) -> Any:
    return scalar_writer(message.DESCRIPTOR.fields_by_name["value"])(message.value)


_WRAPPED = ("Bool", "Int32", "Int64", "UInt32", "UInt64", "Float", "Double", "String", "Bytes")


def _wrapped(pair: tuple[Callable[..., None], Writer]) -> Iterable[tuple[str, tuple[Callable[..., None], Writer]]]:
    return ((f"google.protobuf.{name}Value", pair) for name in _WRAPPED)


OWN_FORM: dict[str, tuple[Callable[..., None], Writer]] = {
    "google.protobuf.Timestamp": (_read_timestamp, _write_timestamp),
    "google.protobuf.Duration": (_read_duration, _write_duration),
    "google.protobuf.Struct": (_read_struct, _write_struct),
    "google.protobuf.Value": (_read_value, _write_value),
    "google.protobuf.ListValue": (_read_list, _write_list),
    "google.protobuf.FieldMask": (_read_field_mask, _write_field_mask),
    **dict(_wrapped((_read_wrapped, _write_wrapped))),
}
"""Message name to (reader into a message, writer): the well-known types that are no objects in JSON."""
