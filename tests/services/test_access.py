"""Users, keys, apps and signed addresses: who gets in, and who does not."""

from unittest.mock import Mock

import pytest

from lehr.errors import Duplicate, InvalidRequest, KeyInvalid, KeyNotFound, MissingScope, NotFound
from lehr.jobs.queue import State
from lehr.protocol import resources_pb2 as r
from lehr.protocol.ids import AppRef
from lehr.services import apps as apps_module
from lehr.services.apps import Apps
from lehr.services.keys import Keys
from lehr.services.paging import paging
from lehr.services.signing import DAY, Signer
from lehr.services.users import Users
from lehr.store import inputs as input_rows
from lehr.store import keys as key_rows


def test_the_first_token_is_shown_once_and_kept_hashed(db, tmp_path):
    users, keys = Users(db=db), Keys(db=db)
    token = users.welcome("bob", "")
    assert token
    assert users.welcome("bob", "") is None
    assert keys.identify(token).user_id == "bob"
    [listed] = keys.list_of("bob", paging(1, 10))
    assert listed.id != token
    db.close()
    assert token.encode() not in b"".join(path.read_bytes() for path in tmp_path.glob("lehr.db*"))


def test_a_token_given_by_the_operator_works_beside_the_others(db):
    users, keys = Users(db=db), Keys(db=db)
    first = users.welcome("bob", "")
    assert users.welcome("bob", "a-token-of-my-own") is None
    with pytest.raises(InvalidRequest, match="'bob'"):
        users.welcome("eve", "a-token-of-my-own")
    assert {keys.identify(t).user_id for t in (first, "a-token-of-my-own")} == {"bob"}


@pytest.mark.parametrize(
    ("user_id", "token", "words"),
    [("clarifai", "", "owns what is built in"), ("ana", "page-1234", "LEHR_PAT cannot begin with 'page-'")],
)
def test_a_first_user_that_could_not_come_in_or_would_own_too_much_is_refused(db, user_id, token, words):
    with pytest.raises(InvalidRequest, match=words):
        Users(db=db).welcome(user_id, token)


def test_listing_the_keys_of_a_new_home_does_not_use_up_the_first_token(db):
    users = Users(db=db)
    users.ensure("bob")
    assert Keys(db=db).list_of("bob", paging(1, 10)) == []
    assert users.welcome("bob", "")


@pytest.mark.parametrize("secret", ["", "wrong", "0" * 32])
def test_a_wrong_key_is_refused_in_the_words_that_clients_match_on(db, secret):
    with pytest.raises(KeyInvalid) as refused:
        Keys(db=db).identify(secret)
    assert refused.value.code == 11008


def test_an_app_key_opens_one_app_and_stops_when_deleted(db, ref):
    keys = Keys(db=db)
    [made] = keys.create(ref.user_id, [r.Key(description="robot", apps=[r.App(id=ref.app_id)])])
    assert keys.identify(made.id).app == ref
    handle = keys.get(ref.user_id, made.id).id
    assert handle != made.id
    [patched] = keys.patch(
        ref.user_id, [r.Key(id=handle, description="arm", type="personal_access_token")], "overwrite"
    )
    assert (patched.description, patched.type) == ("arm", "app_specific_key")
    keys.delete(ref.user_id, handle)
    with pytest.raises(KeyInvalid):
        keys.identify(made.id)
    with pytest.raises(KeyNotFound):
        keys.delete(ref.user_id, handle)


def test_a_key_hands_on_no_more_than_it_holds(db, ref):
    keys, app = Keys(db=db), [r.App(id=ref.app_id)]
    held = {"Keys:Add", "Apps_Get", "Concepts_Add"}
    [made] = keys.create(ref.user_id, [r.Key(apps=app, scopes=["Concepts:Get"])], held=held)
    for scopes in ([], ["All"], ["Inputs_Get"]):
        with pytest.raises(MissingScope):
            keys.create(ref.user_id, [r.Key(apps=app, scopes=scopes)], held=held)
    for scope in ("All", "Inputs_Get"):
        with pytest.raises(MissingScope, match=scope):
            keys.patch(ref.user_id, [r.Key(id=made.id, scopes=[scope])], "overwrite", held=held)
    [changed] = keys.patch(ref.user_id, [r.Key(id=made.id, scopes=["Concepts_Add"])], "overwrite", held=held)
    assert list(changed.scopes) == ["Concepts_Add"]


@pytest.mark.parametrize(
    ("key", "error"),
    [
        (r.Key(), InvalidRequest),
        (r.Key(apps=[r.App(id="flowers"), r.App(id="cars")]), InvalidRequest),
        (r.Key(apps=[r.App(id="nowhere")]), NotFound),
        (r.Key(type="skeleton"), InvalidRequest),
        (r.Key(type="personal_access_token", apps=[r.App(id="flowers")]), InvalidRequest),
    ],
)
def test_keys_that_make_no_sense_are_refused(db, ref, key, error):
    with pytest.raises(error):
        Keys(db=db).create(ref.user_id, [key])
    with db.read() as tx:
        assert key_rows.page(tx, ref.user_id, page=1, per_page=9) == []


def test_somebody_elses_app_looks_like_one_that_is_not_there(db, queue, ref):
    apps = Apps(db=db, queue=queue)
    apps.admit("GetApp", ref.user_id, ref.user_id, ref)
    sentences = set()
    for user_id, stranger in (
        (ref.user_id, AppRef(ref.user_id, "nowhere")),
        ("eve", ref),
        ("eve", AppRef("ana", "no")),
    ):
        with pytest.raises(NotFound) as refused:
            apps.admit("GetApp", user_id, stranger.user_id, stranger)
        sentences.add(refused.value.details.replace("nowhere", "X"))
    assert sentences == {"App 'X' does not exist.", "User 'ana' does not exist."}


def test_apps_are_made_all_or_none_and_deleted_with_their_jobs(db, queue, ref):
    apps = Apps(db=db, queue=queue)
    with pytest.raises(Duplicate, match="already exists"):
        apps.create(ref.user_id, [r.App(id="new"), r.App(id=ref.app_id)])
    with pytest.raises(NotFound):
        apps.get(AppRef(ref.user_id, "new"))
    with db.write() as tx:
        queue.add(tx, "train", {}, "ana/flowers/m/v")
        queue.add(tx, "train", {}, "ana/cars/m/v")
    apps.delete(ref)
    with db.read() as tx:
        assert queue.of_subject(tx, "ana/flowers/m/v")[0].state is State.CANCELLED
        assert queue.of_subject(tx, "ana/cars/m/v")[0].state is State.QUEUED


def test_a_large_app_goes_a_little_at_a_time_and_a_killed_deletion_is_asked_for_again(
    db, queue, ref, other_ref, monkeypatch
):
    monkeypatch.setattr(apps_module, "INPUTS_AT_ONCE", 2)
    for each in (ref, other_ref):
        texts = [r.Input(id=f"t{number}", data=r.Data(text=r.Text(raw="x"))) for number in range(5)]
        with db.write() as tx:
            input_rows.insert(tx, each, [input_rows.NewInput(message=one) for one in texts])
    apps, killed = Apps(db=db, queue=queue), RuntimeError("killed")
    with monkeypatch.context() as patched:
        patched.setattr(apps_module.app_rows, "delete", Mock(side_effect=killed))
        with pytest.raises(RuntimeError):
            apps.delete(ref)
    assert apps.get(ref).id == ref.app_id
    apps.delete(ref)
    with pytest.raises(NotFound):
        apps.delete(ref)
    with db.read() as tx:
        assert input_rows.count(tx, other_ref) == 5


def test_patching_an_app_changes_words_but_not_whose_it_is(db, queue, ref):
    apps = Apps(db=db, queue=queue)
    [app] = apps.patch(ref.user_id, [r.App(id=ref.app_id, user_id="eve", description="roses")], "overwrite")
    assert (app.user_id, app.description, app.name) == ("ana", "roses", "flowers")
    with pytest.raises(InvalidRequest, match="merge"):
        apps.patch(ref.user_id, [r.App(id=ref.app_id)], "merge")


def test_a_signed_address_opens_its_path_until_it_expires():
    signer = Signer(secret=b"s" * 32)
    path, _, query = signer.signed("/logs/a", now=0.0).partition("?")
    signer.check(path, query, now=7 * DAY)
    for bad_path, bad_query, at in (
        ("/logs/b", query, 0),
        (path, query, 9 * DAY),
        (path, "", 0),
        (path, query[:-1], 0),
    ):
        with pytest.raises(KeyInvalid):
            signer.check(bad_path, bad_query, now=at)
    with pytest.raises(KeyInvalid):
        Signer(secret=b"t" * 32).check(path, query, now=0)
    assert signer.signed("/logs/a", now=1.0) == signer.signed("/logs/a", now=80_000.0)


@pytest.mark.parametrize(
    "query",
    [
        "expires=1&signature=%C3%A9",
        "expires=%D9%A1&signature=a",
        f"expires={'9' * 5000}&signature=a",
        "expires=&signature=",
    ],
)
def test_a_forged_address_is_refused_however_odd(query):
    with pytest.raises(KeyInvalid):
        Signer(secret=b"s" * 32).check("/logs/a", query, now=0)
