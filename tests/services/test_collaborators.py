"""Collaborators enter the app that they were let into, for the scopes that they were given; nobody else does."""

from __future__ import annotations

import pytest

from lehr.api.addressing import addressed
from lehr.api.calls import Call, Caller
from lehr.api.rpcs.people import PeopleRpcs
from lehr.errors import Duplicate, InvalidRequest, MissingScope, NotFound
from lehr.protocol import resources_pb2 as r
from lehr.protocol import service_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.rpcs import NOT_OFFERED, RPCS, missing_scopes
from lehr.services.apps import Apps
from lehr.services.collaborators import Collaborators
from lehr.services.entry import OF_OWNERS, Entry, is_about_an_app, may_look
from lehr.services.keys import Keys
from lehr.services.log_entries import LogEntries
from lehr.services.paging import Paging
from lehr.services.scopes import granted, possible
from lehr.store import users

PAGE = Paging(1, 100)
EVERYTHING = frozenset({"All"})


@pytest.fixture
def people(db, ref) -> Collaborators:
    with db.write() as tx:
        for user in (r.User(id="bob", first_name="Bob", primary_email="Bob@Example.org"), r.User(id="eve")):
            users.insert(tx, user)
    return Collaborators(db=db)


@pytest.fixture
def entry(db, queue) -> Entry:
    return Entry(db=db, apps=Apps(db=db, queue=queue))


def enter(entry: Entry, rpc: str, user_id: str, ref: AppRef) -> None:
    entry.admit(rpc, user_id, ref.user_id, ref, RPCS[rpc].request())


def invited(people, ref, *scopes: str, user_id: str = "bob", **more) -> r.Collaborator:
    order = r.Collaborator(user=r.User(id=user_id), scopes=scopes, **more)
    [made] = people.add(ref, [order], EVERYTHING)
    return made


def test_a_collaborator_enters_one_app_within_the_scopes_given(people, entry, db, ref, other_ref):
    with pytest.raises(NotFound, match="User 'ana' does not exist"):
        enter(entry, "ListInputs", "bob", ref)
    reading = sorted(RPCS["ListInputs"].scopes)
    made = invited(people, ref, *reading)
    assert (made.user.first_name, made.app.id, list(made.scopes)) == ("Bob", "flowers", reading)
    enter(entry, "ListInputs", "bob", ref)
    with db.read() as tx:
        assert may_look(tx, "GetInput", "bob", ref)
        assert not may_look(tx, "GetInput", "eve", ref)
    with pytest.raises(
        MissingScope, match=r"PostInputs needs the scopes .*Inputs_Add.*, which the owner of app 'flowers'"
    ):
        enter(entry, "PostInputs", "bob", ref)
    for user_id, app in (("eve", ref), ("bob", other_ref), ("bob", AppRef("ana", "nothing"))):
        with pytest.raises(NotFound):
            enter(entry, "ListInputs", user_id, app)
    writing = sorted(RPCS["PostInputs"].scopes)
    people.patch(ref, [r.Collaborator(id=made.id, scopes=writing)], "merge", EVERYTHING)
    enter(entry, "PostInputs", "bob", ref)
    people.patch(ref, [r.Collaborator(user=r.User(id="bob"), scopes=["Inputs_Add"])], "remove", EVERYTHING)
    with pytest.raises(MissingScope):
        enter(entry, "PostInputs", "bob", ref)
    assert people.remove(ref, [], []) == 0
    assert people.remove(ref, [], ["bob@example.ORG"]) == 1
    with pytest.raises(NotFound):
        enter(entry, "ListInputs", "bob", ref)


def test_an_app_lends_nothing_of_its_owners_account(people, entry, ref):
    """With every scope there is, no call about keys, the account or other apps comes through the app."""
    invited(people, ref, "All")
    refused = set()
    for name, rpc in RPCS.items():
        if name in NOT_OFFERED or not rpc.needs_key:
            continue
        try:
            enter(entry, name, "bob", ref)
        except NotFound:
            refused.add(name)
    assert refused >= {"PostKeys", "ListKeys", "DeleteKey", "GetUser", "ListApps", "PostApps", "PatchApps", "DeleteApp"}
    assert refused >= OF_OWNERS
    assert {name for name in set(RPCS) - NOT_OFFERED - refused if not is_about_an_app(RPCS[name])} == {
        "ListOpenSourceLicenses",
        "ListStatusCodes",
        "GetStatusCode",
    }
    with pytest.raises(NotFound):
        entry.admit("ListApps", "bob", "ana", None, RPCS["ListApps"].request())


def test_a_collaborator_is_confined_to_the_app(ref):
    def call(user_id: str, app: AppRef | None = None) -> Call:
        caller = Caller(user_id=user_id, key_id="k", app=app)
        return Call(caller=caller, app=ref, user_id=ref.user_id, base_url="", req_id="")

    assert not call("ana").is_confined
    assert call("bob").is_confined
    assert call("ana", ref).is_confined
    request = service_pb2.GetAppRequest(user_app_id=r.UserAppIDSet(user_id="ana", app_id="flowers"))
    assert addressed(request, Caller(user_id="bob", key_id="k")) == ("ana", ref)


def test_who_collaborates_where_is_listed_for_both_sides(people, ref, other_ref):
    invited(people, ref, "Apps_Get")
    invited(people, ref, "Apps_Get", user_id="eve")
    invited(people, other_ref, "Models_Get", endpoints=["/clarifai.api.V2/ListInputs"])
    assert [each.user.id for each in people.list_of(ref, PAGE)] == ["bob", "eve"]
    assert [each.user.id for each in people.list_of(ref, Paging(2, 1))] == ["eve"]
    assert people.owner(ref).id == "ana"
    mine = people.collaborations("bob", PAGE)
    assert [(each.app.id, each.app_owner.id, list(each.scopes)) for each in mine] == [
        ("cars", "ana", ["Models_Get"]),
        ("flowers", "ana", ["Apps_Get"]),
    ]
    assert people.collaborations("ana", PAGE) == []


@pytest.mark.parametrize(
    ("order", "error", "words"),
    [
        (r.Collaborator(user=r.User(id="bob")), InvalidRequest, "needs `scopes` or `endpoints`"),
        (
            r.Collaborator(user=r.User(id="bob"), scopes=["Inputs_Eat"]),
            InvalidRequest,
            "no scope 'Inputs_Eat'; .*Inputs_Get",
        ),
        (r.Collaborator(user=r.User(id="bob"), endpoints=["PostInputs"]), InvalidRequest, "no endpoint 'PostInputs'"),
        (r.Collaborator(user=r.User(id="nobody"), scopes=["All"]), NotFound, "no user 'nobody'"),
        (r.Collaborator(user=r.User(primary_email="x@y"), scopes=["All"]), NotFound, "no user 'x@y'"),
        (r.Collaborator(scopes=["All"]), InvalidRequest, "named by `user.id`"),
        (r.Collaborator(user=r.User(id="ana"), scopes=["All"]), InvalidRequest, "owns app 'flowers'"),
        (r.Collaborator(user=r.User(id="eve"), scopes=["All"]), Duplicate, "collaborator .* already"),
    ],
)
def test_invitations_that_make_no_sense_are_refused(people, ref, order, error, words):
    invited(people, ref, "Apps_Get", user_id="eve")
    good = r.Collaborator(user=r.User(id="bob"), scopes=["All"])
    with pytest.raises(error, match=words):
        people.add(ref, [good, order] if order.user.id != "bob" else [order], EVERYTHING)
    assert len(people.list_of(ref, PAGE)) == 1, "all or none"


def test_nobody_is_given_more_than_the_key_in_hand_holds(people, ref):
    held = frozenset({"Collaborators_Add", "Inputs_Get"})
    order = r.Collaborator(user=r.User(id="bob"), scopes=["Inputs_Add"])
    with pytest.raises(MissingScope, match="Inputs_Add"):
        people.add(ref, [order], held)
    one = invited(people, ref, "Inputs_Get")
    with pytest.raises(MissingScope):
        people.patch(ref, [r.Collaborator(id=one.id, scopes=["All"])], "merge", held)
    with pytest.raises(InvalidRequest, match="needs `scopes`"):
        people.patch(ref, [r.Collaborator(id=one.id, scopes=["Inputs_Get"])], "remove", EVERYTHING)
    with pytest.raises(NotFound, match="no collaborator 'eve'"):
        people.patch(ref, [r.Collaborator(id="eve", scopes=["Apps_Get"])], "merge", EVERYTHING)


def test_a_collaborator_may_leave_and_takes_nobody_along(people, db, ref):
    invited(people, ref, "All")
    invited(people, ref, "All", user_id="eve")
    rpcs = PeopleRpcs(collaborators=people, logs=LogEntries(db=db))
    call = Call(caller=Caller(user_id="bob", key_id="k"), app=ref, user_id="ana", base_url="", req_id="")
    with pytest.raises(MissingScope, match="Only the app's owner"):
        rpcs.DeleteCollaborators(call, service_pb2.DeleteCollaboratorsRequest(collaborator_ids=["bob", "eve"]))
    rpcs.DeleteCollaborators(call, service_pb2.DeleteCollaboratorsRequest(collaborator_ids=["bob"]))
    assert [each.user.id for each in people.list_of(ref, PAGE)] == ["eve"]


# -- scopes of keys ----------------------------------------------------------------------------------------------------


def test_a_key_with_an_unknown_scope_is_refused_with_the_possible_ones(db, ref):
    keys, app = Keys(db=db), [r.App(id="flowers")]
    with pytest.raises(InvalidRequest, match="no scope 'Inputs_Eat'; there are: All, AnnotationTracks_Add, "):
        keys.create(ref.user_id, [r.Key(apps=app, scopes=["Inputs_Get", "Inputs_Eat"])])
    with pytest.raises(InvalidRequest, match="ListScopes names them all"):
        keys.create(ref.user_id, [r.Key(apps=app, endpoints=["/clarifai.api.V2/Nothing"])])
    [made] = keys.create(ref.user_id, [r.Key(apps=app, scopes=["Inputs:Get"])])
    with pytest.raises(InvalidRequest, match="no scope 'X'"):
        keys.patch(ref.user_id, [r.Key(id=made.id, scopes=["X"])], "merge")


def test_a_key_may_be_for_single_endpoints(db, ref):
    path = RPCS["ListInputs"].path
    [made] = Keys(db=db).create(ref.user_id, [r.Key(apps=[r.App(id="flowers")], endpoints=[path])])
    assert list(made.scopes) == []
    assert missing_scopes(RPCS["ListInputs"], [path]) == frozenset()
    assert missing_scopes(RPCS["GetInput"], [path])
    scopes, endpoints = granted([path])
    assert scopes == []
    assert path in endpoints
    assert RPCS["GetInput"].path not in endpoints
    with pytest.raises(MissingScope, match="Inputs_Add"):
        Keys(db=db).create(
            ref.user_id,
            [r.Key(apps=[r.App(id="flowers")], endpoints=[RPCS["PostInputs"].path])],
            held={"Keys_Add", "Inputs_Get"},
        )


def test_every_scope_and_endpoint_that_can_be_given_is_listed():
    names = possible()
    assert {"All", "Inputs_Add", "Models_Train", "Predict"} <= set(names)
    assert "undef" not in names
    assert names == sorted(names)
    assert "LogEntries_Get" not in possible("app_specific_key"), "reading logs takes a personal access token"
    assert "LogEntries_Get" in possible("personal_access_token")
    with pytest.raises(InvalidRequest, match="there are: app_specific_key, personal_access_token"):
        possible("skeleton")
    for name, rpc in RPCS.items():
        if name not in NOT_OFFERED:
            assert missing_scopes(rpc, possible()) == frozenset()
    scopes, endpoints = granted(["Inputs_Add"])
    assert {"Inputs_Add", "Inputs_Get"} <= set(scopes)
    assert "All" not in scopes
    assert RPCS["PostInputs"].path not in granted(["Concepts_Get"])[1]
    assert set(granted(["All"])[0]) == set(names)
    assert endpoints == [path for path in endpoints if path.startswith("/clarifai.api.V2/")]
