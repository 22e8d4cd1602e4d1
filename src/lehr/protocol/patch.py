"""What PATCH means, for every noun: `merge`, `overwrite` or `remove` one message into another.

A field that the change leaves unset is never touched (the protocol cannot tell an empty list from none). A field that
it sets wins; the actions differ in what happens to lists, maps and free-form objects (`Struct`):

    merge       lists of things with ids: same id merges, a new id is appended; other lists: appended; objects: deep
    overwrite   lists, maps and objects are replaced whole
    remove      lists of things with ids: those ids go; other lists: equal entries go; objects: keys set to true go
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import Message

from lehr.errors import InvalidRequest
from lehr.protocol.json_values import OWN_FORM
from lehr.protocol.structs import from_struct, to_struct

MERGE, OVERWRITE, REMOVE = "merge", "overwrite", "remove"
ACTIONS = (MERGE, OVERWRITE, REMOVE)

AnyMessage = TypeVar("AnyMessage", bound=Message)

_STRUCT = "google.protobuf.Struct"


def checked_action(action: str, allowed: Collection[str] = ACTIONS) -> str:
    """The action itself, or InvalidRequest naming the possible ones."""
    if action in allowed:
        return action
    raise InvalidRequest(f"action {action!r} is not possible here; use one of {', '.join(allowed)}")


def patched(stored: AnyMessage, changes: AnyMessage, action: str) -> AnyMessage:
    """A new message: `stored` with `changes` put into it. Raises InvalidRequest for an unknown action."""
    checked_action(action)
    result = type(stored)()
    result.CopyFrom(stored)
    _apply(result, changes, action)
    return result


def _apply(target: Any, changes: Any, action: str) -> None:
    for field, value in changes.ListFields():
        if field.is_repeated:
            _apply_repeated(getattr(target, field.name), field, value, action)
        elif field.message_type is not None:
            _apply_message(getattr(target, field.name), value, action)
        else:
            setattr(target, field.name, value)
    for field in target.DESCRIPTOR.fields:
        if _counts_even_when_zero(field):
            setattr(target, field.name, getattr(changes, field.name))


def _counts_even_when_zero(field: Field) -> bool:
    """A concept's value: clients set it always, so a zero is a change from positive to negative, not an unset field."""
    return any(extension.name == "cl_default_float" for extension, _ in field.GetOptions().ListFields())


def _apply_message(target: Any, value: Any, action: str) -> None:
    name = value.DESCRIPTOR.full_name
    target.SetInParent()
    if name == _STRUCT and action != OVERWRITE:
        target.CopyFrom(to_struct(patched_json(from_struct(target), from_struct(value), action)))
    elif name in OWN_FORM:
        target.CopyFrom(value)
    else:
        _apply(target, value, action)


def _apply_repeated(target: Any, field: Field, value: Any, action: str) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        _apply_map(target, field, value, action)
    elif action == OVERWRITE:
        del target[:]
        target.extend(value)
    elif field.message_type is not None and "id" in field.message_type.fields_by_name:
        _apply_identified(target, value, action)
    elif action == REMOVE:
        kept = [entry for entry in target if entry not in value]
        del target[:]
        target.extend(kept)
    else:
        target.extend(_new_entries(target, field, value))


def _new_entries(target: Any, field: Field, value: Any) -> list[Any]:
    """Words (tool kits, languages) are a set: sending one again must not double it. Numbers are not."""
    if field.cpp_type != Field.CPPTYPE_STRING:
        return list(value)
    return [entry for entry in dict.fromkeys(value) if entry not in target]


def _apply_identified(target: Any, value: Any, action: str) -> None:
    if action == REMOVE:
        gone = {entry.id for entry in value if entry.id}
        kept = [entry for entry in target if entry.id not in gone and (entry.id or entry not in value)]
        del target[:]
        target.extend(kept)
        return
    known = {entry.id: entry for entry in target if entry.id}
    for entry in value:
        if entry.id in known:
            _apply(known[entry.id], entry, action)
        else:
            target.append(entry)


def _apply_map(target: Any, field: Field, value: Any, action: str) -> None:
    holds_messages = field.message_type.fields_by_name["value"].message_type is not None
    if action == OVERWRITE:
        target.clear()
    for key in value:
        if action == REMOVE:
            target.pop(key, None)
        elif holds_messages:
            _apply_message(target[key], value[key], action)
        else:
            target[key] = value[key]


# -- free-form objects -------------------------------------------------------------------------------------------------


def patched_json(stored: Any, change: Any, action: str) -> Any:
    """The same three actions on JSON values (an input's metadata, for one); null changes nothing."""
    if change is None:
        return stored
    if action == MERGE:
        return _merged_json(stored, change)
    return _removed_json(stored, change) if action == REMOVE else change


def _merged_json(stored: Any, change: Any) -> Any:
    if not change and isinstance(change, dict | list):
        return change  # an empty object or list replaces what was there
    if isinstance(stored, dict) and isinstance(change, dict):
        news = {key: _merged_json(stored.get(key), value) for key, value in change.items() if value is not None}
        return {**stored, **news}
    if isinstance(stored, list) and isinstance(change, list):
        return _merged_lists(stored, change)
    return change


def _merged_lists(stored: list[Any], change: list[Any]) -> list[Any]:
    result = list(stored)
    places = {_id(entry): place for place, entry in enumerate(result) if _id(entry) is not None}
    for entry in change:
        place = places.get(_id(entry)) if _id(entry) is not None else None
        if place is None:
            result.append(entry)
        else:
            result[place] = _merged_json(result[place], entry)
    return result


def _id(entry: Any) -> Any:
    identity = entry.get("id") if isinstance(entry, dict) else None
    return identity if isinstance(identity, str | int | float) else None


def _removed_json(stored: Any, change: Any) -> Any:
    if isinstance(change, dict):
        return _without_keys(stored, change) if isinstance(stored, dict) else stored
    if isinstance(change, list):
        return _without_entries(stored, change) if isinstance(stored, list) else stored
    return change


def _without_keys(stored: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    result = dict(stored)
    for key, value in change.items():
        if value is True:
            result.pop(key, None)
        elif value is not None and (key in stored or not isinstance(value, dict | list)):
            result[key] = _removed_json(stored.get(key), value)
    return result


def _without_entries(stored: list[Any], change: list[Any]) -> list[Any]:
    ids = {_id(entry) for entry in change} - {None}
    return [entry for entry in stored if _id(entry) not in ids and entry not in change]
