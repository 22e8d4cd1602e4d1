"""Users, apps, keys and concepts, on every database."""

from __future__ import annotations

from contextlib import suppress

import pytest

from lehr.errors import Duplicate, InvalidRequest, NotFound
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.store import apps, concepts, inputs, keys, users
from lehr.store.db import Database
from lehr.store.times import micros, now, timestamp

APP = AppRef("ann", "zoo")


@pytest.fixture
def tx(db: Database):
    with db.write() as tx:
        users.insert(tx, resources_pb2.User(id="ann"))
        apps.insert(tx, resources_pb2.App(id="zoo", user_id="ann", name="Zoo"))
        yield tx


def test_what_is_inserted_is_read_back_with_its_times(tx) -> None:
    app = apps.get(tx, APP)
    assert (app.id, app.name, app.user_id) == ("zoo", "Zoo", "ann")
    assert app.created_at == app.modified_at
    assert app.created_at.nanos % 1000 == 0
    assert apps.exists(tx, APP)
    assert not apps.exists(tx, AppRef("bob", "zoo"))


def test_a_taken_id_is_refused_by_name_and_nothing_of_the_call_stays(tx) -> None:
    concepts.insert(tx, APP, [resources_pb2.Concept(id="cat")])
    with pytest.raises(Duplicate, match="'dog', 'cat'"):
        concepts.insert(tx, APP, [resources_pb2.Concept(id="dog"), resources_pb2.Concept(id="cat")])
    assert [concept.id for concept in concepts.page(tx, APP, page=1, per_page=9)] == ["cat"]


def test_ids_that_differ_in_case_are_two(tx) -> None:
    concepts.insert(tx, APP, [resources_pb2.Concept(id="cat"), resources_pb2.Concept(id="Cat")])
    assert concepts.count(tx, APP) == 2


def test_what_belongs_to_nothing_is_refused(tx) -> None:
    with pytest.raises(NotFound, match="'ark'"):
        concepts.insert(tx, AppRef("ann", "ark"), [resources_pb2.Concept(id="cat")])
    with pytest.raises(NotFound):
        apps.insert(tx, resources_pb2.App(id="ark", user_id="nobody"))
    with pytest.raises(NotFound, match="'dog'"):
        concepts.update(tx, APP, [resources_pb2.Concept(id="dog")])


def test_an_update_writes_columns_and_message_and_touches_it(tx) -> None:
    before = apps.get(tx, APP)
    apps.update(tx, resources_pb2.App(id="zoo", user_id="ann", name="Ark", created_at=before.created_at))
    after = apps.get(tx, APP)
    assert after.name == "Ark"
    assert micros(after.modified_at) > micros(before.modified_at)
    assert [app.id for app in apps.page(tx, "ann", page=1, per_page=9, name="Ark")] == ["zoo"]
    assert apps.page(tx, "ann", page=1, per_page=9, name="Zoo") == []


def test_pages_join_without_a_gap_and_end_in_an_empty_one(tx) -> None:
    names = [f"c{number:02}" for number in range(23)]
    concepts.insert(tx, APP, [resources_pb2.Concept(id=name) for name in names])
    pages = [[concept.id for concept in concepts.page(tx, APP, page=page, per_page=10)] for page in (1, 2, 3, 4)]
    assert [name for page in pages for name in page] == names
    assert [len(page) for page in pages] == [10, 10, 3, 0]
    assert set(concepts.get_many(tx, APP, ["c01", "c22", "none"])) == {"c01", "c22"}


def test_deleting_an_app_takes_along_all_that_is_its_own_and_nothing_else(tx) -> None:
    other = AppRef("ann", "farm")
    apps.insert(tx, resources_pb2.App(id="farm", user_id="ann"))
    for ref in (APP, other):
        concepts.insert(tx, ref, [resources_pb2.Concept(id="cat")])
        inputs.insert(tx, ref, [inputs.NewInput(message=resources_pb2.Input(id="one"))])
        keys.insert(tx, "ann", resources_pb2.Key(id=f"of-{ref.app_id}"), secret=ref.app_id, app=ref)
    assert apps.delete(tx, APP) == 1
    assert (concepts.count(tx, APP), concepts.count(tx, other)) == (0, 1)
    assert (inputs.count(tx, APP), inputs.count(tx, other)) == (0, 1)
    assert keys.find(tx, "zoo") is None
    assert keys.find(tx, "farm").app == other


def test_a_key_is_found_by_its_secret_which_is_nowhere_in_the_store(tx) -> None:
    secret = keys.new_secret()
    keys.insert(tx, "ann", resources_pb2.Key(id="handle", description="mine"), secret=secret)
    found = keys.find(tx, secret)
    assert (found.user_id, found.app, found.key.id) == ("ann", None, "handle")
    assert secret not in str(found)
    assert keys.find(tx, "handle") is None, "the handle opens nothing"
    for name in (secret, "handle"):
        assert keys.get(tx, "ann", name).key.description == "mine"
    assert keys.get(tx, "bob", "handle") is None
    assert [key.id for key in keys.page(tx, "ann", page=1, per_page=9)] == ["handle"]
    assert keys.delete(tx, "ann", secret) == 1
    assert keys.find(tx, secret) is None


def test_an_expired_key_opens_nothing_but_can_still_be_looked_at(tx) -> None:
    past = timestamp(micros(now()) - 1_000_000)
    keys.insert(tx, "ann", resources_pb2.Key(id="old", expires_at=past), secret="s")
    assert keys.find(tx, "s") is None
    key = keys.get(tx, "ann", "old").key
    key.expires_at.CopyFrom(timestamp(micros(now()) + 60_000_000))
    keys.update(tx, "ann", key)
    assert keys.find(tx, "s") is not None


def test_the_empty_delete_deletes_nothing(tx) -> None:
    concepts.insert(tx, APP, [resources_pb2.Concept(id="cat")])
    assert concepts.delete(tx, APP, []) == 0
    assert inputs.delete(tx, APP, []) == 0
    assert concepts.count(tx, APP) == 1


def test_a_nul_is_found_nowhere_and_is_no_error_of_ours(db: Database) -> None:
    with suppress(InvalidRequest), db.read() as tx:  # PostgreSQL takes none in a text
        assert keys.get(tx, "ann", "a\0b") is None
    with db.read() as tx:
        assert users.get(tx, "ann") is None
