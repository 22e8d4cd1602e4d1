"""An ArcFace embedder of one's own becomes the base by the seeds' command, and search finds concepts it never saw.

Signs of made-up strokes (signs.py), where colours and grounds say nothing: 40 kinds taught, 8 held out, ten of each,
all 480 in one index. 24 searches by new pictures of the held-out kinds, on 2 cores (AMD EPYC),
2026-11-22: with General's base precision@5 0.29 and mean average precision 0.22, with one's own 0.51 and 0.45.
Few kinds teach less: of scikit-learn's digits, seven taught (10 epochs, image_size 48), the other three are found worse
than by the built-in base, precision@5 0.61 after 0.70, MAP 0.33 after 0.34.

Clusters of 200 digits on the built-in base: adjusted Rand index 0.30 against the kinds, scikit-learn's k-means 0.30.
"""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest
from clarifai_grpc.grpc.api import resources_pb2 as r
from clarifai_grpc.grpc.api.status import status_code_pb2 as codes
from faces import GRPC, Client
from lehr_server import TOKEN, Server, wait_until
from signs import sign
from test_embedder_story import trained, upload, version_of
from victims import retried

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl"),
]

TAUGHT, HELD_OUT, OF_EACH = 40, 8, 10
APP = "signs"
PARAMS = {"template": "Lehr_Lite", "image_size": 64, "num_epochs": 20}
CURL = """\
curl --location --request PATCH '{base}/v2/users/lehr/apps/{app}/base-workflows' \\
--header 'Content-Type: application/json' \\
--header 'Authorization: Key {token}' \\
--data-raw '{{"workflows": [{{"id": "General", "nodes": [
    {{"id": "embed", "model": {{"id": "general-image-embedding", "user_id": "clarifai", "app_id": "main"}}}},
    {{"id": "my-custom-model", "model": {{"id": "arcface", "model_version": {{"id": "{version}"}}}},
      "input": {{"node_id": "embed", "output": "embed"}}}}]}}],
  "action": "merge", "reindex": true}}' -sS
"""


def items(kinds: range) -> list[tuple[str, str, bytes]]:
    """Id, concept and picture of every sign of these kinds."""
    return [
        (f"sign{kind:02d}-{seed}", f"kind-{kind:02d}", sign(kind, seed)) for kind in kinds for seed in range(OF_EACH)
    ]


def app_of(server: Server, app_id: str) -> Client:
    """A client of a new app whose base is General."""
    app = r.App(id=app_id, default_workflow=r.Workflow(id="General"))
    Client(GRPC, server.base, TOKEN).must("PostApps", apps=[app])
    return Client(GRPC, server.base, TOKEN, app_id)


def generations(client: Client) -> list[dict]:
    told = client.http.get(f"/v2/users/lehr/apps/{client.who.app_id}/base-workflows").json()
    return told["generations"]


def found_by(client: Client, picture: bytes) -> list[str]:
    """Ids of everything, what is most like the picture first."""
    rank = r.Rank(annotation=r.Annotation(data=r.Data(image=r.Image(base64=picture))))
    fields = {"searches": [r.Search(query=r.Query(ranks=[rank]))], "pagination": {"page": 1, "per_page": 1000}}
    answer = retried(lambda: client.ask("PostInputsSearches", **fields), (codes.MODEL_LOADING,))
    assert answer.status.code == codes.SUCCESS, answer.status
    return [hit.input.id for hit in answer.hits]


def quality(client: Client) -> tuple[float, float]:
    """Precision of the five best and mean average precision, of searches by new signs of kinds that were not taught."""
    shares, means = [], []
    for kind in range(TAUGHT, TAUGHT + HELD_OUT):
        for seed in range(100, 103):
            found = found_by(client, sign(kind, seed))
            is_right = np.array([name.startswith(f"sign{kind:02d}-") for name in found])
            assert is_right.sum() == OF_EACH, "every input is found somewhere"
            shares.append(is_right[:5].mean())
            places = np.flatnonzero(is_right)
            means.append(float(np.mean((np.arange(OF_EACH) + 1) / (places + 1))))
    return float(np.mean(shares)), float(np.mean(means))


def make_model(client: Client) -> None:
    """As the seeds make one: of the taught concepts, and of inputs that carry one of them alone."""
    info = {
        "data": {"concepts": [{"id": f"kind-{kind:02d}"} for kind in range(TAUGHT)]},
        "output_config": {"closed_environment": True},
    }
    model = {"id": "arcface", "model_type_id": "visual-embedder", "output_info": info}
    answer = client.http.post(f"/v2/users/lehr/apps/{APP}/models", json={"model": model}).json()
    assert answer["status"]["code"] == codes.SUCCESS, answer


def ordered(client: Client) -> r.ModelVersion:
    """A trained version of the embedder; patient, for the machine may be busy."""
    made = client.must("PostModelVersions", model_id="arcface", model_versions=[version_of(PARAMS)])
    version_id = made.model.model_version.id

    def ended():
        now = client.must("GetModelVersion", model_id="arcface", version_id=version_id).model_version
        return now if now.status.code not in (codes.MODEL_QUEUED_FOR_TRAINING, codes.MODEL_TRAINING) else None

    version = wait_until(ended, seconds=900, what="the training")
    assert version.status.code == codes.MODEL_TRAINED, version.status
    return version


def test_ones_own_arcface_base_finds_concepts_it_was_not_taught_better_than_the_built_in_one(server: Server) -> None:
    client = app_of(server, APP)
    upload(client, items(range(TAUGHT + HELD_OUT)))
    number = (TAUGHT + HELD_OUT) * OF_EACH
    wait_until(lambda: client.must("GetInputCount").counts.reindexed == number, 600, "the first index")
    before = quality(client)

    make_model(client)
    version = ordered(client)

    command = CURL.format(base=server.base, app=APP, token=TOKEN, version=version.id)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["status"]["code"] == codes.SUCCESS, done.stdout
    wait_until(lambda: generations(client)[0]["state"] == "SERVING", 600, "the new index")
    assert generations(client)[0]["embedder"].endswith(f"/arcface/{version.id}")
    after = quality(client)
    print(f"precision@5 and MAP before {before}, after {after}; changed: {generations(client)[0]['report']}")
    assert after[0] > before[0] + 0.05
    assert after[1] > before[1] + 0.05


def test_clusters_agree_with_the_kinds_as_well_as_k_means_on_the_same_vectors(server: Server, digits) -> None:
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    client = app_of(server, "heaps")
    given = [(f"n{name}", concept, picture) for name, concept, picture in digits(200)]
    again = [(f"again-{name}", concept, picture) for name, concept, picture in given[:5]]
    upload(client, [*given, *again])
    wait_until(lambda: client.must("GetInputCount").counts.reindexed == 205, 600, "the index")
    client.must("PostModels", models=[r.Model(id="heaps", model_type_id="clusterer")])
    version = trained(client, "heaps", {"coarse_clusters": 10, "duplicate_score": 0.999})

    said = client.must("ListAnnotations", model_version_ids=[version.id], per_page=1000).annotations
    of_input = {each.input_id: each.data.clusters for each in said}
    assert len(of_input) == 205
    ours = [of_input[name][0].id for name, _, _ in given]
    vectors = vectors_of(client, [picture for _, _, picture in given])
    plain = KMeans(n_clusters=10, random_state=0, n_init=3).fit_predict(vectors)
    kinds = [concept for _, concept, _ in given]
    agreement, reference = adjusted_rand_score(kinds, ours), adjusted_rand_score(kinds, plain)
    print(f"adjusted Rand index {agreement:.3f}, scikit-learn's k-means {reference:.3f}")
    assert agreement > 0.2
    assert agreement > reference - 0.1

    for name, _, _ in again:
        [copies] = [cluster.id for cluster in of_input[name] if cluster.id.startswith("copy-")]
        assert copies in [cluster.id for cluster in of_input[name.removeprefix("again-")]]
        with_copies = r.Annotation(model_version_id=version.id, data=r.Data(clusters=[r.Cluster(id=copies)]))
        query = r.Query(filters=[r.Filter(annotation=with_copies)])
        hits = client.must("PostInputsSearches", searches=[r.Search(query=query)]).hits
        assert {name, name.removeprefix("again-")} <= {hit.input.id for hit in hits}


def vectors_of(client: Client, pictures: list[bytes]) -> np.ndarray:
    """What the built-in base makes of them, [N, D]."""
    who = r.UserAppIDSet(user_id="clarifai", app_id="main")
    vectors: list[list[float]] = []
    stranger = Client(
        GRPC, f"http://{client.http.base_url.host}:{client.http.base_url.port}", TOKEN, "main", "clarifai"
    )
    assert stranger.who == who
    for start in range(0, len(pictures), 100):
        inputs = [r.Input(data=r.Data(image=r.Image(base64=one))) for one in pictures[start : start + 100]]
        answer = stranger.must("PostModelOutputs", model_id="general-image-embedding", inputs=inputs)
        vectors += [list(output.data.embeddings[0].vector) for output in answer.outputs]
    return np.array(vectors, np.float32)
