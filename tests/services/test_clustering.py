"""Clusters of an app's inputs: as good as scikit-learn's k-means, kept with their items, the same after a death."""

import time

import numpy as np
import pytest

from lehr.errors import LeaseLost, NoTrainingData
from lehr.learn.clusters import duplicates, read_clusters
from lehr.protocol import resources_pb2 as r
from lehr.protocol import service_pb2, status_code_pb2
from lehr.protocol.structs import from_struct, to_struct
from lehr.services.bases import Bases
from lehr.services.bundles import Bundles
from lehr.services.clustering import KIND, Clustering
from lehr.services.models import Models
from lehr.services.paging import Paging
from lehr.services.ranks import Ranks
from lehr.services.searches import Searches
from lehr.services.training import Orders
from lehr.store import annotations, embeddings, versions
from lehr.store import inputs as input_rows
from lehr.store.annotations import AnnotationFilter
from lehr.store.embeddings import State, Vector
from lehr.store.versions import ModelVersionRef


def embedded(db, ref, vectors_ND):
    """One input per vector, in a generation that serves."""
    with db.write() as tx:
        start = embeddings.add(tx, ref, ModelVersionRef(ref, "embedder", "v"), workflow=b"", state=State.SERVING)
        inputs = [r.Input(id=f"i{number:04d}") for number in range(len(vectors_ND))]
        input_rows.insert(tx, ref, [input_rows.NewInput(message=each) for each in inputs])
        keys = input_rows.keys_of(tx, ref, [each.id for each in inputs])
        pairs = zip(inputs, vectors_ND, strict=True)
        embeddings.append(tx, start.key, [Vector(input_key=keys[each.id], values=vector) for each, vector in pairs])


@pytest.fixture
def worker(db, blobs, queue, tmp_path):
    return Clustering(db=db, queue=queue, bundles=Bundles(db=db, blobs=blobs, cache=tmp_path / "cache"))


def ordered(db, queue, ref, **params):
    """A clusterer with a version in the queue; answers the version and its claimed job."""
    Models(db=db, queue=queue).create(ref, [r.Model(id="kinds", model_type_id="clusterer")])
    version = r.ModelVersion(train_info=r.TrainInfo(params=to_struct(params)))
    request = service_pb2.PostModelVersionsRequest(model_versions=[version])
    made = Orders(db=db, queue=queue, bases=Bases(db=db, bundles=None)).request(ref, "kinds", request).model_version
    assert made.status.code == status_code_pb2.MODEL_QUEUED_FOR_TRAINING
    return ModelVersionRef(ref, "kinds", made.id), queue.claim("me", kinds=[KIND])


def found_in(db, ref, annotation):
    """Ids of the inputs that a search for such an annotation finds."""
    searches = Searches(db=db, neighbours=None, ranks=Ranks(neighbours=None, blobs=None, fetcher=None))
    query = r.Query(filters=[r.Filter(annotation=annotation)])
    hits = searches.run(ref, r.Search(query=query), Paging(1, 1000), "inputs")
    return {hit.input.id for hit in hits}


def test_clusters_agree_with_the_kinds_of_things_as_well_as_plain_k_means_does(db, queue, ref, worker):
    from sklearn.cluster import KMeans
    from sklearn.datasets import load_digits
    from sklearn.metrics import adjusted_rand_score

    loaded = load_digits()
    vectors_ND = loaded.data[:600] / np.linalg.norm(loaded.data[:600], axis=1, keepdims=True)
    embedded(db, ref, vectors_ND.astype(np.float32))
    vref, job = ordered(db, queue, ref, coarse_clusters=10.0)
    worker.run(job)

    with db.read() as tx:
        version = versions.get(tx, vref)
        said = annotations.page(
            tx, ref, page=1, per_page=1000, filters=AnnotationFilter(model_version_ids=(vref.version_id,))
        )
    assert version.status.code == status_code_pb2.MODEL_TRAINED
    ours = [int(each.data.clusters[0].id) for each in sorted(said, key=lambda each: each.input_id)]
    plain = KMeans(n_clusters=10, random_state=0, n_init=3).fit_predict(vectors_ND)
    kinds = loaded.target[:600]
    agreement, reference = adjusted_rand_score(kinds, ours), adjusted_rand_score(kinds, plain)
    assert agreement > 0.5
    assert agreement > reference - 0.1, f"{agreement:.3f}, plain k-means {reference:.3f}"
    sizes = {each["id"]: each["count"] for each in from_struct(version.metadata)["lehr"]["clusters"]}
    assert sizes == {str(number): ours.count(number) for number in range(10)}

    found = found_in(db, ref, r.Annotation(model_version_id=vref.version_id, data=r.Data(clusters=[r.Cluster(id="3")])))
    assert found == {f"i{index:04d}" for index, number in enumerate(ours) if number == 3}

    clusters = read_clusters(worker.bundles.folder_of(vref))
    assert clusters.nearest(vectors_ND.astype(np.float32)).tolist() == pytest.approx(ours, abs=0)
    distances = ((vectors_ND[:, None] - clusters.centroids_KD[None]) ** 2).sum(axis=2)
    assert (clusters.nearest(vectors_ND) == distances.argmin(axis=1)).all()


def test_near_duplicates_are_what_comparing_every_pair_finds():
    generator = np.random.default_rng(0)
    base = generator.normal(size=(40, 16))
    copies = base[:10] + generator.normal(scale=0.01, size=(10, 16))
    vectors = np.concatenate([base, copies, base[:3]])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = duplicates(vectors, 0.99)
    for one in range(len(vectors)):
        like = (1 + vectors @ vectors[one]) / 2 >= 0.99
        assert (found[one] >= 0) == (like.sum() > 1)
        assert {found[other] for other in np.flatnonzero(like)} == {found[one]}
    assert found.max() + 1 == 10


def test_many_near_duplicates_take_no_longer_than_comparing_every_pair():
    generator = np.random.default_rng(0)
    base = generator.normal(size=(8, 16))
    vectors = (base[generator.integers(0, 8, 6000)] + generator.normal(scale=1e-3, size=(6000, 16))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    began = time.perf_counter()
    near = [(vectors[start : start + 500] @ vectors.T >= 0.998).sum() for start in range(0, 6000, 500)]
    comparing = time.perf_counter() - began
    assert sum(near) > 4_000_000, "so many pairs are alike, each way"
    began = time.perf_counter()
    found = duplicates(vectors, 0.999)
    assert time.perf_counter() - began < 20 * comparing + 2
    assert len(set(found.tolist())) == 8
    assert np.bincount(found).min() > 600


def test_an_attempt_after_a_death_says_nothing_twice(db, queue, ref, worker, monkeypatch):
    embedded(db, ref, np.eye(30, dtype=np.float32))
    vref, job = ordered(db, queue, ref, coarse_clusters=3.0)
    with monkeypatch.context() as patched:
        patched.setattr(Clustering, "_publish", lambda *_: (_ for _ in ()).throw(LeaseLost("killed")))
        with pytest.raises(LeaseLost):
            worker.run(job)
    wanted = AnnotationFilter(model_version_ids=(vref.version_id,))
    with db.write() as tx:  # that attempt saw other inputs, and numbered its clusters otherwise
        said = annotations.page(tx, ref, page=1, per_page=1, filters=wanted)
        said[0].data.clusters[0].id = "99"
        annotations.update(tx, ref, said)
    worker.run(job)
    with db.read() as tx:
        assert annotations.count(tx, ref, wanted) == 30
        said = annotations.page(tx, ref, page=1, per_page=30, filters=wanted)
        assert {each.data.clusters[0].id for each in said} <= {"0", "1", "2"}
        assert versions.get(tx, vref).status.code == status_code_pb2.MODEL_TRAINED


def test_an_app_without_embeddings_is_told_what_to_do(db, queue, ref, worker):
    vref, job = ordered(db, queue, ref)
    with pytest.raises(NoTrainingData, match="default workflow") as refused:
        worker.run(job)
    with db.write() as tx:
        worker.failed(tx, job, refused.value)
        assert versions.get(tx, vref).status.code == status_code_pb2.MODEL_TRAINING_NO_DATA
