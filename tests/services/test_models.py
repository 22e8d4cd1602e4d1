"""Models, versions and the orders to train them, on a real store."""

import pytest

from lehr.errors import Duplicate, InvalidModel, InvalidParams, InvalidSearch, ModelNotFound, NotFound
from lehr.jobs.queue import State
from lehr.protocol import resources_pb2 as r
from lehr.protocol import service_pb2 as s
from lehr.protocol.structs import from_struct, to_struct
from lehr.services.models import Models
from lehr.services.paging import paging
from lehr.services.plans import inherited, plan_of, source_of
from lehr.services.training import Orders
from lehr.services.training_data import searches_of
from lehr.store import concepts, datasets
from lehr.store.models import ModelFilter
from lehr.store.versions import ModelVersionRef

TEMPLATE = "classification_cifar10_v1"


@pytest.fixture
def models(db, queue):
    return Models(db=db, queue=queue)


@pytest.fixture
def orders(db, queue, bases):
    return Orders(db=db, queue=queue, bases=bases)


def classifier(model_id="m", concept_ids=(), **params):
    model = r.Model(id=model_id, model_type_id="visual-classifier")
    model.train_info.params.CopyFrom(to_struct(params))
    model.output_info.data.concepts.extend(r.Concept(id=c) for c in concept_ids)
    return model


def order(**params):
    request = s.PostModelVersionsRequest()
    if params:
        request.model_versions.add().train_info.params.CopyFrom(to_struct(params))
    return request


def test_a_model_keeps_what_was_sent_and_starts_untrained(db, models, ref):
    [made] = models.create(ref, [classifier(concept_ids=["a", "b"], template=TEMPLATE, num_epochs=2)])
    read = models.get(ref, "m")
    assert read.train_info == made.train_info
    assert from_struct(read.model_version.train_info.params) == {"template": TEMPLATE, "num_epochs": 2}
    assert read.model_version.status.code == 21102
    with db.read() as tx:
        assert {c.id for c in concepts.page(tx, ref, page=1, per_page=9)} == {"a", "b"}


def test_a_version_without_a_body_trains_with_the_models_own_parameters(db, queue, models, orders, ref):
    models.create(ref, [classifier(template=TEMPLATE, num_epochs=2)])
    model = orders.request(ref, "m", order())
    version = model.model_version
    assert version.status.code == 21103
    assert from_struct(version.train_info.params)["num_epochs"] == 2
    with db.read() as tx:
        [view] = queue.of_subject(tx, str(ModelVersionRef(ref, "m", version.id)))
    assert view.state is State.QUEUED


def test_parameters_are_inherited_one_by_one_but_not_across_templates(models, orders, ref):
    models.create(ref, [classifier(template=TEMPLATE, num_epochs=2, batch_size=32)])
    same = orders.request(ref, "m", order(num_epochs=3)).model_version
    assert from_struct(same.train_info.params) == {"template": TEMPLATE, "num_epochs": 3, "batch_size": 32}
    other = orders.request(ref, "m", order(template="Lehr_Lite")).model_version
    assert from_struct(other.train_info.params) == {"template": "Lehr_Lite"}


def inherits(models, orders, ref, own: dict, given: dict) -> dict:
    """What a version with `given` trains with, where the model has `own`."""
    models.create(ref, [classifier(**own)])
    return from_struct(orders.request(ref, "m", order(**given)).model_version.train_info.params)


@pytest.mark.parametrize(
    ("own", "given", "trained"),
    [
        ({"test_freq": 2}, {"test_every": 3}, {"test_every": 3}),
        ({"num-epochs": 2}, {"num_epochs": 3}, {"num_epochs": 3}),
        ({"num-epochs": 2}, {"batch_size": 3}, {"num-epochs": 2, "batch_size": 3}),
        ({"lrate": 0.1}, {"per_item_lrate": 0.001}, {"per_item_lrate": 0.001}),
        ({"lrate": 0.1, "seed": 1}, {"per_128_lrate": None}, {"lrate": 0.1, "seed": 1, "per_128_lrate": None}),
        ({"lrate": 0.1}, {"lrate": None}, {"lrate": None}),
    ],
)
def test_what_a_version_says_replaces_what_the_model_says_however_it_is_spelled(
    models, orders, ref, own, given, trained
):
    assert inherits(models, orders, ref, {"template": TEMPLATE, **own}, given) == {"template": TEMPLATE, **trained}


def test_another_spelling_of_the_template_is_no_other_template(models, orders, ref):
    own = {"template": "Clarifai-InceptionV2", "num_epochs": 2}
    found = inherits(models, orders, ref, own, {"template": "Clarifai_InceptionV2", "batch_size": 8})
    assert found == {"template": "Clarifai_InceptionV2", "num_epochs": 2, "batch_size": 8}


def test_the_data_set_is_inherited_as_a_whole_across_templates_or_not_at_all(db, models, orders, ref):
    with db.write() as tx:
        datasets.insert(tx, ref, [r.Dataset(id="pets"), r.Dataset(id="cars")])
    models.create(ref, [classifier(template=TEMPLATE, dataset_id="pets", dataset_version_id="")])
    other = orders.request(ref, "m", order(template="Lehr_Lite")).model_version
    assert from_struct(other.train_info.params)["dataset_id"] == "pets"
    request = order(template=TEMPLATE)
    request.model_versions[0].train_info.dataset.id = "cars"
    cars = orders.request(ref, "m", request).model_version
    assert "dataset_id" not in cars.train_info.params.fields
    assert plan_of(ref, "visual-classifier", cars).source.dataset_id == "cars"


def test_the_data_set_of_the_request_is_taken_instead_of_the_models(db, models, orders, ref):
    with db.write() as tx:
        datasets.insert(tx, ref, [r.Dataset(id="new")])
    models.create(ref, [classifier(concept_ids=("a", "b"), template=TEMPLATE, dataset_id="old", num_epochs=1)])
    request = s.PostModelVersionsRequest(dataset_version=r.DatasetVersion(dataset_id="new"))
    version = orders.request(ref, "m", request).model_version
    assert source_of(ref, "visual-classifier", version).dataset_id == "new"


def test_the_earlier_model_is_inherited_unless_the_version_begins_otherwise():
    own = r.Model(model_type_id="visual-classifier", train_info={"params": to_struct({"template": "Lehr_Lite"})})
    own.train_info.resume_from_model.id = "before"
    assert inherited(own, None).train_info.resume_from_model.id == "before"
    again = r.ModelVersion(train_info={"params": to_struct({"template": "lehr-lite", "num_epochs": 2})})
    assert inherited(own, again).train_info.resume_from_model.id == "before"
    for begins in ({"template": TEMPLATE}, {"pretrained_weights": "mine"}):
        version = r.ModelVersion(train_info={"params": to_struct(begins)})
        assert not inherited(own, version).train_info.HasField("resume_from_model")
    version = r.ModelVersion()
    version.train_info.resume_from_model.id = "another"
    assert inherited(own, version).train_info.resume_from_model.id == "another"


@pytest.mark.parametrize(
    ("kind", "template", "advice"),
    [
        ("visual-classifier", TEMPLATE, "set logreg to 1"),
        ("visual-embedder", "Clarifai_ResNet_AngularMargin", "choose an embedder that learns as a classifier"),
    ],
)
def test_one_named_concept_alone_is_refused_before_anything_is_queued(models, orders, ref, kind, template, advice):
    params = {"template": template} | ({"logreg": 0} if kind == "visual-classifier" else {})
    made = classifier(concept_ids=["a"], **params)
    made.model_type_id = kind
    models.create(ref, [made])
    with pytest.raises(InvalidModel, match=advice):
        orders.request(ref, "m", order())
    assert len(models.list_versions(ref, "m", paging(1, 10))) == 1
    version = order(seed=1)
    version.model_versions[0].output_info.data.concepts.extend(r.Concept(id=name) for name in "ab")
    assert orders.request(ref, "m", version).model_version.status.code == 21103


@pytest.mark.parametrize(
    ("given", "logreg", "notices"),
    [
        ({}, 0, 0),
        ({"logreg": 0}, 0, 0),
        ({"logreg": 1}, 0, 1),
        ({"LogReg": True}, 0, 1),
    ],
)
def test_mutually_exclusive_concepts_replace_the_default_of_logreg(ref, given, logreg, notices):
    version = r.ModelVersion(train_info={"params": to_struct({"template": TEMPLATE, **given})})
    version.output_info.output_config.concepts_mutually_exclusive = True
    plan = plan_of(ref, "visual-classifier", version)
    assert plan.form.logreg == logreg
    assert sum("concepts_mutually_exclusive" in notice for notice in plan.notices) == notices


def test_data_of_a_version_is_known_though_its_hyperparameters_would_be_refused_today(ref):
    params = {"template": TEMPLATE, "num_epochs": 5000, "dataset_id": "pets"}
    version = r.ModelVersion(train_info={"params": to_struct(params)})
    assert source_of(ref, "visual-classifier", version).dataset_id == "pets"
    with pytest.raises(InvalidParams):
        plan_of(ref, "visual-classifier", version)


def test_every_bad_hyperparameter_is_named_and_nothing_is_made(models, orders, ref):
    with pytest.raises(InvalidParams) as refused:
        models.create(ref, [classifier(template=TEMPLATE, num_epochs=2.5, batch_size=4000, colour="red")])
    assert all(name in refused.value.details for name in ("num_epochs", "2.5", "batch_size", "4000", "colour"))
    with pytest.raises(ModelNotFound):
        models.get(ref, "m")
    models.create(ref, [classifier()])
    with pytest.raises(InvalidParams):
        orders.request(ref, "m", order(template=TEMPLATE, num_epochs=0))
    assert len(models.list_versions(ref, "m", paging(1, 10))) == 1


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ({"template": "ResNet_9000"}, InvalidModel, "ResNet_9000"),
        ({"num_epochs": 3}, InvalidModel, "template is missing"),
        ({"template": TEMPLATE, "dataset_id": "nowhere"}, NotFound, "nowhere"),
        ({"template": TEMPLATE, "dataset_version_id": "v1"}, InvalidModel, "needs its dataset_id"),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_refused_at_once(models, orders, ref, params, error, words):
    models.create(ref, [classifier()])
    with pytest.raises(error, match=words):
        orders.request(ref, "m", order(**params))


def test_an_unknown_model_type_names_those_there_are(models, ref):
    with pytest.raises(InvalidModel, match="visual-classifier"):
        models.create(ref, [r.Model(id="m", model_type_id="text-to-smell")])


def test_a_second_model_of_the_same_id_is_refused_and_the_first_stays(models, ref):
    models.create(ref, [classifier(template=TEMPLATE)])
    with pytest.raises(Duplicate, match="already exists"):
        models.create(ref, [classifier()])
    assert from_struct(models.get(ref, "m").train_info.params)["template"] == TEMPLATE


def test_changing_the_concepts_of_a_model_makes_a_new_untrained_version(models, ref):
    [made] = models.create(ref, [classifier(concept_ids=["a"], template=TEMPLATE)])
    change = r.Model(id="m")
    change.output_info.data.concepts.add(id="b")
    [patched] = models.patch(ref, [change], "merge")
    assert patched.model_version.id != made.model_version.id
    assert [c.id for c in patched.model_version.output_info.data.concepts] == ["a", "b"]
    [renamed] = models.patch(ref, [r.Model(id="m", notes="better")], "merge")
    assert renamed.model_version.id == patched.model_version.id
    assert renamed.model_type_id == "visual-classifier"


def test_deleting_a_version_or_a_model_cancels_its_training(db, queue, models, orders, ref):
    models.create(ref, [classifier(template=TEMPLATE)])
    first = orders.request(ref, "m", order()).model_version.id
    models.delete_version(ref, "m", first)
    second = orders.request(ref, "m", order()).model_version.id
    models.delete(ref, [])
    assert models.get(ref, "m")
    models.delete(ref, ["m"])
    for version_id in (first, second):
        with db.read() as tx:
            [view] = queue.of_subject(tx, str(ModelVersionRef(ref, "m", version_id)))
        assert view.state is State.CANCELLED
    with pytest.raises(ModelNotFound):
        models.get(ref, "m")


def test_models_of_another_app_are_not_seen(models, ref, other_ref):
    models.create(ref, [classifier()])
    with pytest.raises(ModelNotFound):
        models.get(other_ref, "m")
    assert models.list_of(other_ref, paging(1, 10), ModelFilter()) == []


def test_the_searches_of_an_old_client_travel_with_the_job_and_strange_ones_are_refused(db, queue, models, orders, ref):
    models.create(ref, [classifier(template=TEMPLATE)])
    request = order()
    request.train_search.query.filters.add().annotation.annotation_info.CopyFrom(to_struct({"split": "train"}))
    version = orders.request(ref, "m", request).model_version
    with db.read() as tx:
        [view] = queue.of_subject(tx, str(ModelVersionRef(ref, "m", version.id)))
    assert searches_of(view.job.payload) == {"train_search": request.train_search}

    request.train_search.query.ranks.add()
    with pytest.raises(InvalidSearch, match="no ranks"):
        orders.request(ref, "m", request)
    near = order()
    near.test_search.query.filters.add().input.data.geo.geo_point.latitude = 1
    with pytest.raises(InvalidSearch, match="geo"):
        orders.request(ref, "m", near)


def test_a_dataset_named_in_any_of_three_places_is_found(db, models, orders, ref):
    models.create(ref, [classifier(template=TEMPLATE)])
    with db.write() as tx:
        datasets.insert(tx, ref, [r.Dataset(id="d", app_id=ref.app_id, user_id=ref.user_id)])
    by_param = order(dataset_id="d")
    by_info = order(num_epochs=1)
    by_info.model_versions[0].train_info.dataset.id = "d"
    by_old_field = order()
    by_old_field.dataset_version.dataset_id = "d"
    for request in (by_param, by_info, by_old_field):
        assert orders.request(ref, "m", request).model_version.status.code == 21103
