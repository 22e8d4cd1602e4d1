"""The seeds' PATCH of a base workflow, word for word, while pictures are searched and a worker dies again and again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from clarifai_grpc.grpc.api import resources_pb2 as r
from clarifai_grpc.grpc.api.status import status_code_pb2 as codes
from faces import GRPC, Client
from index_shop import plain
from lehr_server import TOKEN, Server, wait_until
from small_embedder import make_base, publish, write_embedder
from victims import WORKER, Shelves, below, kill, retried

from lehr.protocol.ids import AppRef
from lehr.services.bundles import Bundles
from lehr.store import embeddings as rows
from lehr.store.embeddings import State
from lehr.store.versions import ModelVersionRef

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="finds the victims in /proc"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl"),
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.slow,
]

USER, APP = "84aesy5efwjl", "efe2d3cf79084c799cbde19a4e71527c"
CUSTOM, VERSION = "f4e854e89c794d03b9ee31c201160d1a", "d59832dc348c4cbf9146acec68c3366c"
NUM = 360

PATCH_BASE_WORKFLOW = """\
curl --location --request PATCH '{{base_url}}/v2/users/84aesy5efwjl/apps/efe2d3cf79084c799cbde19a4e71527c/base-workflows' \\
--header 'Content-Type: application/json' \\
--header 'Authorization: Key 63bca3ac25124c2e852c8d81c5475356' \\
--data-raw '{
    "workflows": [
        {
            "id": "General",
            "nodes": [
                {
                    "id": "embed",
                    "model": {
                        "id": "bbb5f41425b8468d9b7a554ff10f8581",
                        "model_version": {
                            "id": "bb7ac05c86be42d38b67bc473d33"
                        }
                    }
                },
                {
                    "id": "my-custom-model",
                    "model": {
                        "id": "f4e854e89c794d03b9ee31c201160d1a",
                        "model_version": {
                            "id": "d59832dc348c4cbf9146acec68c3366c"
                        }
                    },
                    "input": {
                        "node_id": "embed",
                        "output": "embed"
                    }
                }
            ]
        }
    ],
    "action": "merge",
    "reindex": true
}'
"""  # noqa: E501


@dataclass
class Gallery:
    """A server with an app of one-coloured pictures, embedded by a first embedder; a second one is ready."""

    server: Server
    client: Client
    shelves: Shelves
    colours: np.ndarray

    @property
    def ref(self) -> AppRef:
        return AppRef(USER, APP)

    def count(self):
        return self.client.must("GetInputCount").counts

    def generations(self) -> dict[int, State]:
        with self.shelves.db.read() as tx:
            return {each.number: each.state for each in rows.of_app(tx, self.ref)}

    def embedded(self) -> list[int]:
        """Keys of the inputs that the serving generation has vectors of, as often as it has them."""
        with self.shelves.db.read() as tx:
            return sorted(rows.read(tx, rows.serving(tx, self.ref).key, after=0, limit=10**6).input_keys.tolist())

    def search(self, number: int) -> list[str]:
        """Ids of what is most like the picture of this number, another shot of it."""
        image = r.Image(base64=plain(tuple(self.colours[number]), seed=NUM + number))
        annotation = r.Annotation(data=r.Data(image=image))
        query = r.Query(ranks=[r.Rank(annotation=annotation)])
        fields = {"searches": [r.Search(query=query)], "pagination": {"page": 1, "per_page": 5}}
        answer = retried(lambda: self.client.ask("PostInputsSearches", **fields), (codes.MODEL_LOADING,))
        assert answer.status.code == codes.SUCCESS, answer.status
        return [hit.input.id for hit in answer.hits]

    def kill_a_worker(self) -> None:
        kill(min(wait_until(lambda: below(self.server.process.pid, WORKER), what="a worker")))


@pytest.fixture
def gallery(tmp_path):
    server = Server(tmp_path / "home", {"LEHR_USER_ID": USER}).start()
    shelves = Shelves(server.home)
    Client(GRPC, server.base, TOKEN, user_id=USER).must("PostApps", apps=[r.App(id=APP)])
    client = Client(GRPC, server.base, TOKEN, APP, user_id=USER)
    bundles = Bundles(db=shelves.db, blobs=shelves.blobs, cache=tmp_path / "bundles")
    ref = AppRef(USER, APP)
    first = publish(shelves.db, bundles, write_embedder(tmp_path / "one"), ModelVersionRef(ref, "first", "v1"))
    publish(shelves.db, bundles, write_embedder(tmp_path / "two", turn=4), ModelVersionRef(ref, CUSTOM, VERSION))
    make_base(shelves.db, ref, first, "by-colour")
    colours = np.random.default_rng(0).integers(0, 256, (NUM, 3))
    gallery = Gallery(server=server, client=client, shelves=shelves, colours=colours)
    yield gallery
    shelves.close()
    server.stop()


def add_all(gallery: Gallery) -> None:
    for start in range(0, NUM, 120):
        inputs = [
            r.Input(
                id=f"c{number:04d}", data=r.Data(image=r.Image(base64=plain(tuple(gallery.colours[number]), number)))
            )
            for number in range(start, start + 120)
        ]
        gallery.client.must("PostInputs", inputs=inputs)


def test_a_base_is_patched_by_the_seeds_command_and_the_worker_killed_meanwhile(gallery):
    add_all(gallery)
    for _ in range(2):
        wait_until(lambda: gallery.count().reindexed, what="a first vector")
        gallery.kill_a_worker()
    wait_until(lambda: gallery.count().reindexed == NUM, 240, "the embedding of all")
    assert len(set(gallery.embedded())) == len(gallery.embedded()) == NUM
    assert "c0017" in gallery.search(17)

    command = PATCH_BASE_WORKFLOW.replace("{{base_url}}", gallery.server.base)
    command = command.replace("63bca3ac25124c2e852c8d81c5475356", TOKEN)
    done = subprocess.run(["sh", "-c", f"{command.strip()} -sS"], capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert answer["status"]["code"] == 10000, answer
    [workflow] = answer["workflows"]
    assert workflow["id"] == "General"
    assert [node["model"]["model_version"]["id"] for node in workflow["nodes"]] == [
        "bb7ac05c86be42d38b67bc473d33",
        VERSION,
    ]
    assert gallery.generations() == {1: State.SERVING, 2: State.BUILDING}
    for number in range(3):
        assert f"c{20 + number:04d}" in gallery.search(20 + number)
        gallery.kill_a_worker()
        wait_until(lambda: below(gallery.server.process.pid, WORKER), what="another worker")
    wait_until(lambda: gallery.generations()[2] is State.SERVING, 240, "the new index")
    assert gallery.generations() == {1: State.KEPT, 2: State.SERVING}
    assert len(set(gallery.embedded())) == len(gallery.embedded()) == NUM
    assert "c0033" in gallery.search(33)
    count = gallery.count()
    assert (count.processed, count.reindexed, count.to_reindex, count.reindex_errors) == (NUM, NUM, 0, 0)

    told = gallery.client.http.get(f"/v2/users/{USER}/apps/{APP}/base-workflows").json()
    assert [(each["number"], each["state"]) for each in told["generations"]] == [(2, "SERVING"), (1, "KEPT")]
    assert told["generations"][0]["report"]["from"].endswith("/first/v1")
    assert 0 < told["generations"][0]["report"]["common_neighbours"] <= 1


def test_the_route_refuses_in_a_sentence(gallery):
    address = f"/v2/users/{USER}/apps/{APP}/base-workflows"
    http = gallery.client.http
    assert "is no JSON" in http.patch(address, content=b"{").json()["status"]["details"]
    unknown = {"workflows": [{"id": "w", "nodes": [{"id": "n", "model": {"id": "nobody"}}]}], "reindex": True}
    refused = http.patch(address, json=unknown)
    assert "Node 'n': there is no model 'nobody'" in refused.json()["status"]["details"]
    assert http.patch(address, json=unknown, headers={"Authorization": "Key wrong"}).json()["status"]["code"] == 11008
    elsewhere = http.patch(address.replace(APP, "other-app"), json=unknown)
    assert elsewhere.json()["status"]["code"] == 11101
