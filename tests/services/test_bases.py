"""Trained models that a training builds on: of any app of one's own or built in, within reach, and with a network that
fits; whatever cannot serve is refused before anything is queued.
"""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image
from sklearn.datasets import load_digits

from lehr.errors import InvalidModel, Loading, Untrained
from lehr.learn.bundle import read_bundle
from lehr.protocol import resources_pb2 as r
from lehr.protocol import service_pb2 as s
from lehr.protocol import status_code_pb2
from lehr.protocol.ids import PUBLIC_APP, AppRef
from lehr.protocol.structs import to_struct
from lehr.services import built_in, training
from lehr.services.base_dependents import trained_on
from lehr.services.bases import BASE, EARLIER, Bases
from lehr.services.built_in import BuiltIn
from lehr.services.built_in_bundles import BuiltInBundles
from lehr.services.built_in_catalogue import BY_MODEL_ID, EMBEDDING
from lehr.services.bundles import Bundles
from lehr.services.models import Models
from lehr.services.training import Orders, Training
from lehr.serving.decoders import DecoderPool
from lehr.store import annotations, apps, concepts, inputs, users, versions
from lehr.store import bundles as bundle_rows
from lehr.store import models as model_rows
from lehr.store.inputs import NewInput
from lehr.store.versions import ModelVersionRef

EVES = AppRef("eve", "shop")
BUILT_IN = ModelVersionRef(PUBLIC_APP, EMBEDDING, BY_MODEL_ID[EMBEDDING].version_id)
EMBEDDER = {"net": {"name": "embedder", "arguments": {"backbone": "efficientnet_lite0"}}, "output": "embedding"}
RESNEXT = {"net": {"name": "classifier", "arguments": {"backbone": "resnext50"}}, "template": "Clarifai_ResNext"}
SMALL = {"net": {"name": "airbench", "arguments": {}}, "template": "classification_cifar10_v1"}
LITE = {"net": {"name": "lite", "arguments": {}}, "template": "Lehr_Lite"}


@pytest.fixture
def orders(db, queue, bases, ref) -> Orders:
    """Ana's models `kinds`, an embedding-classifier, and `pets`, a classifier; Eve has an app, too."""
    with db.write() as tx:
        users.insert(tx, r.User(id="eve"))
        apps.insert(tx, r.App(id="shop", user_id="eve", name="shop"))
    made = [r.Model(id="kinds", model_type_id="embedding-classifier")]
    made += [r.Model(id="pets", model_type_id="visual-classifier")]
    Models(db=db, queue=queue).create(ref, made)
    return Orders(db=db, queue=queue, bases=bases)


@pytest.fixture
def publish(db, bases, tmp_path):
    """`publish(ref, "near", EMBEDDER)`: a trained model of which there is nothing but the sheet."""

    def publish(ref: AppRef, model_id: str, sheet: dict, kind: str = "visual-embedder") -> ModelVersionRef:
        vref = ModelVersionRef(ref, model_id, f"of-{ref.app_id}")
        folder = tmp_path / "sheets" / str(vref).replace("/", "-")
        folder.mkdir(parents=True)
        (folder / "model.json").write_text(json.dumps({"template": "Lehr_Lite", "output": "probabilities"} | sheet))
        sha, size = bases.bundles.pack(folder)
        version = r.ModelVersion(id=vref.version_id)
        version.status.code = status_code_pb2.MODEL_TRAINED
        with db.write() as tx:
            model_rows.insert(tx, ref, [r.Model(id=model_id, model_type_id=kind)])
            versions.insert(tx, ref, model_id, version)
            bundle_rows.put(tx, vref, bundle_rows.Bundle(sha=sha, size=size))
        return vref

    return publish


def asking(params: dict | None = None, earlier: r.Model | None = None, embedder: r.Model | None = None):
    version = r.ModelVersion(train_info=r.TrainInfo(params=to_struct(params or {}), resume_from_model=earlier))
    if embedder:
        version.input_info.base_embed_model.CopyFrom(embedder)
    return s.PostModelVersionsRequest(model_versions=[version])


def built_on(queue, orders, ref, model_id, request, **kwargs) -> dict:
    """What the job of an accepted order says that it builds on."""
    orders.request(ref, model_id, request, **kwargs)
    return {
        name: each for name, each in queue.claim("me", kinds=[training.KIND]).payload.items() if name in (BASE, EARLIER)
    }


def test_a_base_of_another_app_of_ones_own_is_found_in_every_form(queue, orders, publish, ref, other_ref):
    theirs = publish(other_ref, "near", EMBEDDER)
    whole = r.Model(id="near", user_id="ana", app_id="cars", model_version=r.ModelVersion(id="of-cars"))
    for request in (
        asking({"base_embed_model": "ana/cars/near"}),
        asking({"base_embed_model": "ana/cars/near/of-cars"}),
        asking({"base_embed_model": {"model_id": "near", "app_id": "cars"}}),
        asking({"base_embed_model": {"id": "near", "app_id": "cars", "model_version": {"id": "of-cars"}}}),
        asking(embedder=whole),
    ):
        assert built_on(queue, orders, ref, "kinds", request) == {BASE: str(theirs)}
    lite = publish(other_ref, "lite", LITE, "visual-classifier")
    for weights in ("ana/cars/lite", {"model_id": "lite", "app_id": "cars"}):
        request = asking({"template": "Lehr_Lite", "pretrained_weights": weights})
        assert built_on(queue, orders, ref, "pets", request) == {BASE: str(lite)}


def test_a_model_of_the_app_itself_goes_before_the_same_id_elsewhere(queue, orders, publish, ref, other_ref):
    publish(other_ref, "near", EMBEDDER)
    own = publish(ref, "near", EMBEDDER)
    assert built_on(queue, orders, ref, "kinds", asking({"base_embed_model": "near"})) == {BASE: str(own)}


def test_a_training_continues_the_model_that_was_named_and_not_one_of_that_id_here(
    queue, orders, publish, ref, other_ref
):
    here, there = (publish(app, "lite", LITE, "visual-classifier") for app in (ref, other_ref))
    params = {"template": "Lehr_Lite"}
    for named, meant in ((r.Model(id="lite"), here), (r.Model(id="lite", app_id="cars"), there)):
        assert built_on(queue, orders, ref, "pets", asking(params, named)) == {EARLIER: str(meant)}


def test_what_is_a_strangers_is_answered_as_what_is_not_there(orders, publish, ref, other_ref):
    publish(EVES, "near", EMBEDDER)
    publish(other_ref, "near", EMBEDDER)
    publish(EVES, "lite", LITE, "visual-classifier")

    def told(request, model_id="kinds", **kwargs):
        with pytest.raises(InvalidModel) as refused:
            orders.request(ref, model_id, request, **kwargs)
        return refused.value.details

    def embedder(text, **kwargs):
        return told(asking({"base_embed_model": text}), **kwargs)

    assert embedder("eve/shop/near") == embedder("eve/shop/nothing").replace("nothing", "near")
    assert "no model 'near' in app eve/shop" in embedder("eve/shop/near")
    assert embedder("ana/cars/near", confined=True) == embedder("ana/cars/nothing").replace("nothing", "near")
    weights = told(asking({"template": "Lehr_Lite", "pretrained_weights": "eve/shop/lite"}), "pets")
    assert weights.startswith("pretrained_weights: there is no model 'lite' in app eve/shop")
    earlier = r.Model(id="lite", user_id="eve", app_id="shop")
    assert "there is no model 'lite' in app eve/shop" in told(asking({"template": "Lehr_Lite"}, earlier), "pets")


def test_who_reaches_one_app_plants_no_base_of_another_for_others_to_train(db, queue, orders, publish, ref, other_ref):
    publish(other_ref, "near", EMBEDDER)
    models = Models(db=db, queue=queue)
    planted = r.Model(id="planted", model_type_id="embedding-classifier")
    planted.train_info.params.CopyFrom(to_struct({"base_embed_model": "ana/cars/near"}))
    with pytest.raises(InvalidModel, match="'ana/cars/near' is in another app"):
        models.create(ref, [planted], confined=True)
    for model_id, field, named in (
        ("kinds", "input_info", "base_embed_model"),
        ("pets", "train_info", "resume_from_model"),
    ):
        change = r.Model(id=model_id)
        getattr(getattr(change, field), named).CopyFrom(r.Model(id="near", user_id="ana", app_id="cars"))
        with pytest.raises(InvalidModel, match="'ana/cars/near' is in another app"):
            models.patch(ref, [change], "merge", confined=True)
    weights = r.Model(id="pets", train_info=r.TrainInfo(params=to_struct({"pretrained_weights": "ana/cars/near"})))
    with pytest.raises(InvalidModel, match="is in another app"):
        models.patch(ref, [weights], "merge", confined=True)
    assert models.create(ref, [planted]), "its owner may"
    own = r.Model(id="own", model_type_id="embedding-classifier")
    own.train_info.params.CopyFrom(to_struct({"base_embed_model": f"{ref.user_id}/{ref.app_id}/near"}))
    assert models.create(ref, [own], confined=True)


def test_what_is_not_a_strangers_is_not_answered_by_what_is_built_in(db, queue, orders, publish, ref):
    BuiltIn(db=db, queue=queue).ensure()
    publish(EVES, "general-image-embedding", EMBEDDER)
    for user_id in ("eve", "nobody"):
        with pytest.raises(InvalidModel, match=f"no model 'general-image-embedding' in app {user_id}/shop"):
            orders.request(ref, "kinds", asking({"base_embed_model": f"{user_id}/shop/general-image-embedding"}))


def test_a_network_that_does_not_fit_is_refused_before_anything_is_queued(db, queue, orders, publish, ref):
    publish(ref, "next", RESNEXT, "visual-classifier")
    publish(ref, "small", SMALL, "visual-classifier")
    publish(ref, "served-only", {"output": "embedding"})
    lite = {"template": "Lehr_Lite"}
    for model_id, request, words in (
        ("pets", asking(lite | {"pretrained_weights": "next"}), "network resnext50, but .* is efficientnet_lite0"),
        ("pets", asking(lite | {"pretrained_weights": "small"}), "cifar10_v1 cannot be the base of another"),
        ("kinds", asking({"base_embed_model": "served-only"}), "no weights to build on"),
        ("kinds", asking({"base_embed_model": "next"}), "must be a visual-embedder"),
        ("kinds", asking({"base_embed_model": "a//b"}), 'write "model_id"'),
        ("pets", asking(lite, r.Model(id="next")), "a training continues one of its own template"),
        ("pets", asking(lite, r.Model(id="served-only")), "is a visual-embedder; it must be a visual-classifier"),
    ):
        with pytest.raises(InvalidModel, match=words):
            orders.request(ref, model_id, request)
    with pytest.raises(Untrained, match="train it first"):
        orders.request(ref, "kinds", asking({"base_embed_model": "served-only/never"}))
    with db.read() as tx:
        assert versions.count(tx, ref, "pets") == versions.count(tx, ref, "kinds") == 1, "those that came with them"
    assert queue.claim("me", kinds=[training.KIND]) is None
    fitting = {"template": "Clarifai_ResNext", "pretrained_weights": "next"}
    assert BASE in built_on(queue, orders, ref, "pets", asking(fitting))


def test_the_built_in_embedder_is_prepared_when_first_named(db, blobs, queue, orders, ref, tmp_path):
    BuiltIn(db=db, queue=queue).ensure()
    preparing = BuiltIn(db=db, queue=queue).prepare
    bundles = Bundles(db=db, blobs=blobs, cache=tmp_path / "cache", prepare=preparing)
    orders = Orders(db=db, queue=queue, bases=Bases(db=db, bundles=bundles))
    with pytest.raises(Loading, match="being prepared"):
        orders.request(ref, "kinds", asking({"base_embed_model": EMBEDDING}))
    job = queue.claim("me", kinds=[built_in.KIND])
    assert job, "whoever asks again finds it"
    with pytest.raises(InvalidModel, match="must be a visual-embedder"):
        orders.request(ref, "kinds", asking({"base_embed_model": "general-image-recognition"}))


@pytest.mark.slow
def test_a_classifier_on_the_built_in_embedder_learns(db, blobs, queue, orders, ref, tmp_path):
    """As with no base named, but at the embedder's own size; and searches know that it relies on it."""
    BuiltIn(db=db, queue=queue).ensure()
    bundles = Bundles(db=db, blobs=blobs, cache=tmp_path / "cache", prepare=BuiltIn(db=db, queue=queue).prepare)
    orders = Orders(db=db, queue=queue, bases=Bases(db=db, bundles=bundles))
    with pytest.raises(Loading):
        orders.request(ref, "kinds", asking({"base_embed_model": "bbb5f41425b8468d9b7a554ff10f8581"}))
    preparing = queue.claim("me", kinds=[built_in.KIND])
    BuiltInBundles(db=db, queue=queue, bundles=bundles).run(preparing)
    with db.write() as tx:
        concepts.insert(tx, ref, [r.Concept(id=f"d{kind}") for kind in range(3)])
        for number in range(60):
            add_digit(tx, ref, blobs, number)
    version = orders.request(ref, "kinds", asking({"base_embed_model": EMBEDDING})).model_version
    with DecoderPool(1) as decoders:
        trainer = Training(
            db=db, blobs=blobs, queue=queue, bundles=bundles, decoders=decoders, packs=tmp_path / "packs"
        )
        trainer.run(queue.claim("me", kinds=[training.KIND]))
    vref = ModelVersionRef(ref, "kinds", version.id)
    bundle = read_bundle(bundles.folder_of(vref))
    assert bundle.metrics["top1_accuracy"] > 0.6
    assert bundle.details["pretrained"]["name"] == "tf_efficientnet_lite0"
    with db.read() as tx:
        assert [each for each, _ in trained_on(tx, ref, BUILT_IN)] == [vref]


def add_digit(tx, ref, blobs, number: int) -> None:
    digits, file = load_digits(n_class=3), io.BytesIO()
    Image.fromarray((digits.images[number] * 15.9).astype("uint8")).save(file, "PNG")
    message = r.Input(id=f"i{number}")
    message.data.image.SetInParent()
    message.status.code = status_code_pb2.INPUT_DOWNLOAD_SUCCESS
    inputs.insert(tx, ref, [NewInput(message=message, content_sha=blobs.put(file.getvalue()))])
    note = r.Annotation(id=f"n{number}", input_id=message.id)
    note.data.concepts.add(id=f"d{digits.target[number]}", value=1)
    note.status.code = status_code_pb2.ANNOTATION_SUCCESS
    annotations.insert(tx, ref, [note])
