"""Data sets: named selections of an app's inputs. Their frozen versions are services/dataset_versions.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from lehr.errors import Duplicate, InvalidRequest, InvalidSearch, NotFound
from lehr.protocol import resources_pb2, status_code_pb2, status_pb2
from lehr.protocol.ids import AppRef, checked_id, new_id
from lehr.protocol.patch import OVERWRITE, checked_action, patched
from lehr.protocol.statuses import status
from lehr.services.annotation_filters import resolved
from lehr.services.batches import chunks, overall
from lehr.services.concepts import rename_labels
from lehr.services.filters import Filters
from lehr.services.paging import MAX_PER_PAGE, Paging
from lehr.store import dataset_versions as version_rows
from lehr.store import datasets as dataset_rows
from lehr.store import finding
from lehr.store import inputs as input_rows
from lehr.store import searches as search_rows
from lehr.store.db import Database
from lehr.store.times import micros

MAX_DATASETS = 128
MAX_INPUTS = 1000
"""Inputs in one request."""
ADDED = status_code_pb2.DATASET_INPUT_SUCCESS
PRESENT = status_code_pb2.DATASET_INPUT_DUPLICATE


@dataclass(frozen=True, kw_only=True)
class Order:
    """How a list of data sets is sorted and what it is narrowed to."""

    like: str = ""
    """Words of id, description or notes."""
    by: str = "modified_at"
    """modified_at, created_at or id."""
    is_ascending: bool = False


@dataclass(frozen=True, kw_only=True)
class Added:
    """What became of inputs that were to be put into a data set."""

    inputs: Sequence[resources_pb2.DatasetInput]
    status: status_pb2.Status


@dataclass(frozen=True, kw_only=True)
class Datasets:
    """Needs only the store."""

    db: Database

    def create(self, ref: AppRef, wanted: Sequence[resources_pb2.Dataset]) -> list[resources_pb2.Dataset]:
        """Makes the data sets, all or none. Raises Duplicate."""
        if not 1 <= len(wanted) <= MAX_DATASETS:
            raise InvalidRequest(f"A request makes 1 to {MAX_DATASETS} datasets; this one has {len(wanted)}.")
        made = [_new(ref, order) for order in wanted]
        with self.db.write() as tx:
            for dataset in made:
                if dataset_rows.get(tx, ref, dataset.id) is not None:
                    raise Duplicate(f"Dataset {dataset.id!r} already exists.")
                resolved(tx, ref, dataset.default_annotation_filter)  # tells of one that is not there
                dataset_rows.insert(tx, ref, [dataset])
        return made

    def get(self, ref: AppRef, dataset_id: str) -> resources_pb2.Dataset:
        """One data set, with its newest version if it has one. Raises NotFound."""
        with self.db.read() as tx:
            return _with_version(tx, ref, found_dataset(tx, ref, dataset_id))

    def list_of(self, ref: AppRef, paging: Paging, order: Order = Order()) -> list[resources_pb2.Dataset]:
        """A page of the app's data sets with their newest versions."""
        with self.db.read() as tx:
            found = [dataset for dataset in _all(tx, ref) if _is_like(dataset, order.like)]
            found.sort(key=_SORTED_BY[order.by], reverse=not order.is_ascending)
            start = (paging.page - 1) * paging.per_page
            return [_with_version(tx, ref, dataset) for dataset in found[start : start + paging.per_page]]

    def patch(self, ref: AppRef, changes: Sequence[resources_pb2.Dataset], action: str) -> list[resources_pb2.Dataset]:
        """Changes description, notes, metadata, visibility …; all or none. Raises NotFound or InvalidRequest."""
        action = checked_action(action or OVERWRITE)
        done = []
        with self.db.write() as tx:
            for change in changes:
                stored = found_dataset(tx, ref, change.id)
                dataset = patched(stored, change, action)
                dataset.id, dataset.app_id, dataset.user_id = stored.id, stored.app_id, stored.user_id
                dataset.created_at.CopyFrom(stored.created_at)
                _clear_foreign(dataset)
                resolved(tx, ref, dataset.default_annotation_filter)
                dataset_rows.update(tx, ref, [dataset])
                done.append(dataset)
        return done

    def delete(self, ref: AppRef, ids: Sequence[str]) -> int:
        """Deletes data sets with their versions; the inputs stay. No ids: nothing is deleted."""
        with self.db.write() as tx:
            return sum(dataset_rows.delete(tx, ref, some) for some in chunks(ids))

    def add_inputs(self, ref: AppRef, dataset_id: str, input_ids: Sequence[str]) -> Added:
        """Puts inputs in; each has its own status, and one that is in already is no failure.

        Raises NotFound without the data set, InvalidRequest for no inputs or too many.
        """
        if not 1 <= len(input_ids) <= MAX_INPUTS:
            raise InvalidRequest(f"A request adds 1 to {MAX_INPUTS} inputs; this one has {len(input_ids)}.")
        with self.db.write() as tx:
            found_dataset(tx, ref, dataset_id)
            known = input_rows.get_many(tx, ref, input_ids)
            added = dataset_rows.add_inputs(tx, ref, dataset_id, [one for one in input_ids if one in known])
        items = [_told(input_id, known.get(input_id), is_new=input_id in added) for input_id in input_ids]
        return Added(inputs=items, status=overall([item.input.status for item in items], {ADDED, PRESENT}))

    def add_found(self, ref: AppRef, dataset_id: str, search: resources_pb2.Search) -> int:
        """Puts in every input that a search finds; answers how many are new to the data set.

        Raises NotFound, also for an unknown data set in the search, or InvalidSearch for what cannot be searched here.
        """
        if search.query.ranks or any(each.HasField("output") for each in search.query.ands):
            raise InvalidSearch(
                "Inputs are added to a dataset by filters; ranks only put them in order. Leave them out."
            )
        with self.db.write() as tx:
            found_dataset(tx, ref, dataset_id)
            if search.id and not search.query.ListFields():
                search = _saved(tx, ref, search.id)
            for named in {id_ for filter_ in search.query.filters for id_ in filter_.input.dataset_ids}:
                found_dataset(tx, ref, named)
            asked = Filters(tx=tx, ref=ref).asked(search)
            if not asked.conditions:
                raise InvalidSearch("The search asks for nothing: give `search.query.filters` that choose the inputs.")
            return dataset_rows.add_found(tx, ref, dataset_id, finding.inputs_found(tx, ref, asked))

    def list_inputs(self, ref: AppRef, dataset_id: str, paging: Paging) -> list[resources_pb2.DatasetInput]:
        """A page of the data set's inputs, the first put in first. Raises NotFound."""
        with self.db.read() as tx:
            found_dataset(tx, ref, dataset_id)
            found = dataset_rows.page_inputs(tx, ref, dataset_id, page=paging.page, per_page=paging.per_page)
            rename_labels(tx, ref, [label for item in found for label in item.input.data.concepts])
        return found

    def get_input(self, ref: AppRef, dataset_id: str, input_id: str) -> resources_pb2.DatasetInput:
        """One input of the data set. Raises NotFound."""
        with self.db.read() as tx:
            found = dataset_rows.get_input(tx, ref, dataset_id, input_id)
            if found is None:
                raise NotFound(f"There is no input {input_id!r} in dataset {dataset_id!r}.")
            rename_labels(tx, ref, found.input.data.concepts)
        return found

    def remove_inputs(self, ref: AppRef, dataset_id: str, input_ids: Sequence[str]) -> int:
        """Takes inputs out; they stay in the app. No ids: nothing is taken out. Raises NotFound."""
        with self.db.write() as tx:
            found_dataset(tx, ref, dataset_id)
            return sum(dataset_rows.remove_inputs(tx, ref, dataset_id, some) for some in chunks(input_ids))


def found_dataset(tx: Connection, ref: AppRef, dataset_id: str) -> resources_pb2.Dataset:
    """The data set without a version. Raises NotFound."""
    found = dataset_rows.get(tx, ref, dataset_id)
    if found is None:
        raise NotFound(f"There is no dataset {dataset_id!r} in app {ref.app_id!r}.")
    return found


def _new(ref: AppRef, order: resources_pb2.Dataset) -> resources_pb2.Dataset:
    dataset = resources_pb2.Dataset()
    dataset.CopyFrom(order)
    dataset.id = checked_id(order.id, "Dataset") if order.id else new_id()
    dataset.app_id, dataset.user_id = ref.app_id, ref.user_id
    dataset.ClearField("created_at")
    dataset.ClearField("modified_at")
    _clear_foreign(dataset)
    return dataset


def _clear_foreign(dataset: resources_pb2.Dataset) -> None:
    """What no client sets, and bytes, which no row holds."""
    for name in ("version", "is_starred", "star_count", "bookmark_origin"):
        dataset.ClearField(name)
    if dataset.HasField("image"):
        dataset.image.ClearField("base64")


def _with_version(tx: Connection, ref: AppRef, dataset: resources_pb2.Dataset) -> resources_pb2.Dataset:
    newest = version_rows.latest(tx, ref, dataset.id)
    if newest is not None:
        dataset.version.CopyFrom(newest)
    return dataset


def _all(tx: Connection, ref: AppRef) -> Iterator[resources_pb2.Dataset]:
    page = 1
    while found := dataset_rows.page(tx, ref, page=page, per_page=MAX_PER_PAGE):
        yield from found
        page += 1


_SORTED_BY: dict[str, Callable[[resources_pb2.Dataset], int | str]] = {
    "modified_at": lambda dataset: micros(dataset.modified_at),
    "created_at": lambda dataset: micros(dataset.created_at),
    "id": lambda dataset: dataset.id,
}


def _is_like(dataset: resources_pb2.Dataset, like: str) -> bool:
    """Whether every word of `like` occurs."""
    text = f"{dataset.id} {dataset.description} {dataset.notes}".casefold()
    return all(word in text for word in like.casefold().replace("*", " ").split())


def _told(input_id: str, input_: resources_pb2.Input | None, *, is_new: bool) -> resources_pb2.DatasetInput:
    item = resources_pb2.DatasetInput(input=resources_pb2.Input(id=input_id))
    if input_ is None:
        sentence = f"There is no input {input_id!r} in this app."
        item.input.status.CopyFrom(status(status_code_pb2.INPUT_DOES_NOT_EXIST, sentence))
        return item
    item.input.CopyFrom(input_)
    sentence = "" if is_new else "The input was in this dataset already."
    item.input.status.CopyFrom(status(ADDED if is_new else PRESENT, sentence))
    return item


def _saved(tx: Connection, ref: AppRef, search_id: str) -> resources_pb2.Search:
    found = search_rows.get(tx, ref, search_id)
    if found is None:
        raise NotFound(f"There is no saved search {search_id!r} in app {ref.app_id!r}.")
    return found
