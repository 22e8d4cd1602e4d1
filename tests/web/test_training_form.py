"""What the form of a training shows is what trains: the model's own choices first, then what is changed of them."""

from __future__ import annotations

import io
import json
import re
import urllib.request
from dataclasses import replace

import pytest
from clarifai_grpc.grpc.api import resources_pb2 as remote
from lehr_server import TOKEN, Server, wait_until
from nicegui import Client, ui
from PIL import Image
from sklearn.datasets import load_digits
from web_browser import Browser, serious_faults

from lehr.protocol import resources_pb2 as r
from lehr.protocol import status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.structs import to_struct, to_value
from lehr.services import model_types
from lehr.services.plans import inherited, plan_of
from lehr.web.page import Visit
from lehr.web.pages.train import Order
from lehr.web.training_form import Form, knobs_of, read, text_of
from lehr.web.training_start import same_as, start_of, template_of

REF = AppRef("ana", "flowers")
CIFAR10 = "classification_cifar10_v1"
CONCEPTS = {"cat": "Cat", "dog": "Dog", "eel": "Eel"}


def model(concepts=(), exclusive=False, kind="visual-classifier", **params) -> r.Model:
    made = r.Model(id="m", model_type_id=kind)
    made.train_info.params.CopyFrom(to_struct(params))
    made.output_info.data.concepts.extend(r.Concept(id=each) for each in concepts)
    made.output_info.output_config.concepts_mutually_exclusive = exclusive
    return made


def at(**state: str) -> Visit:
    return Visit(client=None, request=None, user_id="ana", app=REF, state=state)


def order(of: r.Model, template: str = CIFAR10, **state: str) -> Order:
    fields = model_types.get_type(of.model_type_id).model_type_fields
    options = [
        each for field in fields if field.path == "train_info.params.template" for each in field.model_type_enum_options
    ]
    of_template = {each.id: each.model_type_fields for each in options}
    fields = knobs_of(of_template[template] if template else fields)
    return Order(visit=at(**state), model=of, start=start_of(REF, of, template), fields=fields, concepts=CONCEPTS)


def planned(asked: Order):
    """What the server would train."""
    return plan_of(REF, asked.model.model_type_id, inherited(asked.model, asked.version()))


def version_of(of: r.Model, concepts=(), earlier: str | None = None, **params) -> r.ModelVersion:
    """The version that the server makes of such an order."""
    wanted = r.ModelVersion()
    wanted.train_info.params.CopyFrom(to_struct(params))
    wanted.output_info.data.concepts.extend(r.Concept(id=each) for each in concepts)
    if earlier is not None:
        wanted.train_info.resume_from_model.CopyFrom(r.Model(id=earlier))
        wanted.train_info.resume_from_model.SetInParent()
    return inherited(of, wanted)


def anew(of: r.Model, version: r.ModelVersion) -> Order:
    """What the page asks for that begins with a version of the model."""
    link = same_as(REF, of, version)
    return order(of, link.pop("template", ""), **link)


def test_nothing_chosen_is_the_models_own_training():
    set_ = {"num_epochs": 2, "test_every": 3, "dataset_id": "d", "dataset_version_id": "v"}
    own = model(["cat", "dog"], True, template=CIFAR10, **set_)
    asked = order(own)
    alone = order(model(["cat"], True, template=CIFAR10, **set_))
    assert alone.start.values == asked.start.values, "what one concept alone lacks is said where the form is checked"
    assert asked.start.values == {"num_epochs": 2, "test_freq": 3, "logreg": 0}
    assert (asked.dataset, asked.frozen, asked.chosen_concepts) == ("d", "v", ["cat", "dog"])
    assert planned(asked) == plan_of(REF, "visual-classifier", inherited(own, None))


def test_a_default_can_be_chosen_against_the_models_own_value():
    asked = order(
        model(template=CIFAR10, num_epochs=2, test_every=3, lrate=0.5),
        **{"p.num_epochs": "10", "p.test_freq": "1", "p.lrate": "(not set)"},
    )
    form = planned(asked).form
    assert (form.num_epochs, form.test_freq, form.lrate) == (10, 1, None)
    assert asked.check().problems == ()


def test_an_earlier_model_is_continued_as_the_page_says_beside_other_weights_too():
    own = model(template="Lehr_Lite", pretrained_weights="mine")
    own.train_info.resume_from_model.id = "before"
    assert planned(order(own, "Lehr_Lite")).earlier == "before"
    assert planned(order(own, "Lehr_Lite", resume="*")).earlier == ""
    assert planned(order(own, "Lehr_Lite", resume="another")).earlier == "another"


def test_a_training_like_that_of_a_version_is_that_again_whatever_the_model_says():
    own = model(["cat"], template=CIFAR10, num_epochs=2, lrate=0.5, dataset_id="d")
    for wanted in (
        {"lrate": None, "per_item_lrate": 0.25, "dataset_id": None},
        {"per_item_lrate": 0.25, "num_epochs": 7, "dataset_id": "e", "dataset_version_id": "w", "test_every": 3},
        {},
    ):
        version = r.ModelVersion(train_info=r.TrainInfo(params=to_struct(wanted)))
        if wanted.get("dataset_id", "d") is None:
            version.train_info.dataset.SetInParent()
        version.output_info.data.concepts.extend(r.Concept(id=each) for each in ("dog", "eel"))
        made = inherited(own, version)
        again = planned(order(own, **same_as(REF, own, made)))
        assert again == plan_of(REF, "visual-classifier", made)


def test_all_inputs_and_all_concepts_can_be_chosen_against_the_models_own():
    own = model(["cat"], template=CIFAR10, dataset_id="d", dataset_version_id="v")
    own.train_info.dataset.id, own.train_info.dataset.version.id = "d", "v"
    everything = planned(order(own, dataset="*", concepts="*"))
    assert (everything.source.dataset_id, everything.source.dataset_version_id) == ("", "")
    assert everything.concept_ids == tuple(CONCEPTS)
    other = planned(order(own, dataset="e", concepts="dog,eel"))
    assert (other.source.dataset_id, other.source.dataset_version_id) == ("e", "")
    assert other.concept_ids == ("dog", "eel")
    assert planned(order(own, frozen="*")).source.dataset_version_id == ""


def test_two_rates_that_are_shown_are_two_rates_that_are_asked_for():
    asked = order(model(template=CIFAR10, lrate=0.5), **{"p.per_item_lrate": "0.25"})
    assert "disagree" in asked.check().problems[0]
    asked.visit.state["p.lrate"] = "(not set)"
    assert planned(asked).form.per_item_lrate == 0.25


def test_an_earlier_model_is_continued_only_where_it_is_chosen():
    own = model(template=CIFAR10)
    assert planned(order(own)).earlier == ""
    assert planned(order(own, resume="near/v")).earlier == "near/v"
    asked = order(own)
    asked.start = replace(asked.start, earlier="ana/cars/near")
    assert asked.earlier == "ana/cars/near"
    asked.visit.state["resume"] = "*"
    assert asked.version().train_info.HasField("resume_from_model"), "said, so that nothing is taken over"
    assert planned(asked).earlier == ""


def test_a_training_anew_is_the_same_training():
    own = model(["cat", "dog"], template=CIFAR10, lrate=0.5, test_every=3, balanced_sampling=True)
    own.train_info.params.update({"dataset_id": "d", "dataset_version_id": "v"})
    own.train_info.resume_from_model.id = "pets"
    versions = (
        version_of(own),
        version_of(own, lrate=None, per_item_lrate=0.25),
        version_of(own, lrate=0.123456789, num_epochs=12, test_every=None, balanced_sampling=None),
        version_of(own, lrate=None, test_freq=2, flip_probability=0.1, balanced_sampling=False),
        version_of(own, dataset_id=None),
        version_of(own, dataset_id="e"),
        version_of(own, dataset_id="d", dataset_version_id=None),
        version_of(own, ["eel", "cat"], ""),
        version_of(own, ["eel", "gnu"], "others"),
        version_of(own, template="classification_basemodel_v1", num_epochs=3),
        version_of(own, template="InceptionV2", num_epochs=3),
    )
    for version in versions:
        asked = anew(own, version)
        assert asked.check().problems == ()
        assert planned(asked) == plan_of(REF, "visual-classifier", version), asked.visit.state
    everything = anew(own, versions[4])
    assert everything.visit.state == {"dataset": "*"}, "what is the model's own needs no word"


def test_a_training_anew_on_another_embedder_or_on_none_is_the_same():
    own = model(kind="embedding-classifier")
    own.input_info.base_embed_model.id = "near"
    for named in ({}, {"base_embed_model": "far"}):
        version = version_of(own, **named)
        assert planned(anew(own, version)).base == named.get("base_embed_model", "near")


def test_every_number_is_the_same_after_the_address():
    [field] = [each for each in order(model()).fields if each.path.endswith(".lrate")]
    for value in (0.123456789, 1e-7, 12345678.0, 1 / 3, 0.5):
        assert read(field, text_of(value)) == value


def test_a_switch_and_a_choice_that_are_not_set_stand_at_their_defaults():
    fields = [
        r.ModelTypeField(path="train_info.params.on", field_type="BOOLEAN", default_value=to_value(True)),
        r.ModelTypeField(path="train_info.params.one", field_type="ENUM", default_value=to_value("a")),
    ]
    fields[1].model_type_enum_options.extend(r.ModelTypeEnumOption(id=each) for each in "ab")
    with Client(ui.page("/")) as client:
        Form(fields, {"on": False, "one": "b"}, {"on": "(not set)", "one": "(not set)"}, lambda name, text: None)
        shown = {each.props["aria-label"]: each.value for each in client.elements.values() if hasattr(each, "value")}
    assert shown == {"on": True, "one": "a"}


def test_the_page_begins_with_the_models_template_however_it_is_spelled_and_another_starts_afresh():
    own = model(template="InceptionV2", num_epochs=2)
    assert template_of(own) == "Clarifai_InceptionV2"
    same, other = order(own, "Clarifai_InceptionV2"), order(own, CIFAR10)
    assert planned(same).form.num_epochs == 2
    assert other.start.values == {}
    assert planned(other).form.num_epochs == 10
    assert template_of(model()) == template_of(model(template="nonsense")) == ""


def fill(server: Server, ask_as) -> None:
    """An app with some digits, and a model of two epochs."""
    ask_as("PostApps", apps=[remote.App(id="forms")])
    digits, pictures = load_digits(n_class=2), []
    for number in range(40):
        file = io.BytesIO()
        Image.fromarray((digits.images[number] * 15.9).astype("uint8")).save(file, "PNG")
        concepts = [remote.Concept(id=f"digit-{digits.target[number]}", value=1)]
        data = remote.Data(image=remote.Image(base64=file.getvalue()), concepts=concepts)
        pictures.append(remote.Input(id=f"i{number}", data=data))
    ask_as("PostInputs", app_id="forms", inputs=pictures)
    wait_until(lambda: ask_as("GetInputCount", app_id="forms").counts.processed == 40, what="reading the digits")
    params = {"template": CIFAR10, "num_epochs": 2, "width_multiplier": 0.125, "batch_size": 16, "lrate": 0.5}
    concepts = [{"id": "digit-0"}, {"id": "digit-1"}]
    order = {"id": "pets", "model_type_id": "visual-classifier", "train_info": {"params": params}}
    order["output_info"] = {"data": {"concepts": concepts}}
    url = f"{server.base}/v2/users/lehr/apps/forms/models"
    header = {"Authorization": f"Key {TOKEN}"}
    urllib.request.urlopen(urllib.request.Request(url, json.dumps({"model": order}).encode(), header))


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_user_sees_the_models_own_epochs_and_what_is_typed_trains(server: Server, signed_in: Browser, ask_as):
    fill(server, ask_as)
    page = signed_in.page
    signed_in.open("/users/lehr/apps/forms/models/pets/train")
    template = page.get_by_role("radio", name=re.compile(CIFAR10))
    assert template.get_attribute("aria-checked") == "true"
    epochs, rate = (page.get_by_label(name, exact=True) for name in ("num_epochs", "lrate"))
    assert (epochs.input_value(), rate.input_value()) == ("2", "0.5")
    assert page.get_by_role("slider", name="num_epochs, slider").input_value() == "2"
    for concept in ("digit-0", "digit-1"):
        page.locator(".q-chip", has_text=concept).wait_for()
    assert serious_faults(page) == []
    epochs.fill("10")
    page.wait_for_url("**p.num_epochs=10*")
    rate.fill("")
    page.wait_for_url("**p.lrate=*")
    page.reload()
    signed_in.shown()
    assert (epochs.input_value(), rate.input_value()) == ("10", "")
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/versions/*")
    named = {"app_id": "forms", "model_id": "pets", "version_id": page.url.rpartition("/")[2]}

    def trained():
        version = ask_as("GetModelVersion", **named).model_version
        return version if version.status.code == status_code_pb2.MODEL_TRAINED else None

    form = wait_until(trained, seconds=240, what="the training").metadata["lehr"]["form"]
    assert (form["num_epochs"], form["width_multiplier"], form["lrate"]) == (10, 0.125, None)
