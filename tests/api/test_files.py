"""What is fetched by plain HTTP: only by those whose key may read it."""

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from lehr.api.files import Files
from lehr.jobs.queue import Queue
from lehr.protocol import resources_pb2 as r
from lehr.protocol.ids import AppRef
from lehr.protocol.rpcs import RPCS
from lehr.services.dataset_exports import DatasetExports
from lehr.services.exports import Exports
from lehr.services.keys import Keys
from lehr.services.media import HostedMedia
from lehr.services.signing import Signer
from lehr.store import apps, inputs, users
from lehr.store import keys as key_rows
from lehr.store.blobs import LocalBlobs
from lehr.store.db import Database
from lehr.store.inputs import NewInput

REF, OTHER = AppRef("ana", "flowers"), AppRef("ana", "cars")
SECRETS = {
    "all": (None, ["All"]),
    "app": (REF, sorted(RPCS["GetInput"].scopes)),
    "words": (REF, ["Concepts_Get"]),
    "other": (OTHER, ["All"]),
}


@pytest.fixture
def image(tmp_path):
    """A client, and the path of an image of the app flowers."""
    db, blobs = Database(f"sqlite:///{tmp_path / 'lehr.db'}"), LocalBlobs(tmp_path / "blobs")
    db.upgrade()
    sha = blobs.put(b"a picture")
    with db.write() as tx:
        users.insert(tx, r.User(id="ana"))
        for ref in (REF, OTHER):
            apps.insert(tx, r.App(id=ref.app_id, user_id="ana"))
        inputs.insert(tx, REF, [NewInput(message=r.Input(id="rose"), content_sha=sha)])
        for secret, (app, scopes) in SECRETS.items():
            key_rows.insert(tx, "ana", r.Key(id=secret, scopes=scopes), secret=secret, app=app)
    files = Files(
        db=db,
        media=HostedMedia(db=db),
        blobs=blobs,
        signer=Signer(secret=b"s" * 32),
        identify=Keys(db=db).identify,
        exports=Exports(db=db, queue=Queue(db)),
        dataset_exports=DatasetExports(db=db, queue=Queue(db)),
        parts=dict,
    )
    with TestClient(Starlette(routes=files.routes())) as client:
        yield client, f"/hosted/orig/users/ana/apps/flowers/inputs/image/{sha}"
    db.close()


@pytest.mark.parametrize(
    ("secret", "http"), [("all", 200), ("app", 200), ("words", 403), ("other", 404), ("wrong", 401), ("", 401)]
)
def test_an_image_is_for_keys_that_may_read_inputs_of_its_app(image, secret, http):
    client, path = image
    answer = client.get(path, headers={"Authorization": f"Key {secret}"})
    assert (answer.status_code, answer.content == b"a picture") == (http, http == 200)


@pytest.mark.parametrize("query", ["signature=%C3%A9&expires=1", f"signature=a&expires={'9' * 5000}"])
def test_a_forged_signature_is_a_sentence(image, query):
    client, path = image
    assert client.get(f"{path}?{query}").status_code == 401
    assert client.get(f"/logs/users/ana/apps/flowers/models/m/versions/v?{query}").status_code == 401
