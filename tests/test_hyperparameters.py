"""Hyperparameters are checked all at once, with sentences that a person can act on."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import ClassVar

import pytest

from lehr.errors import InvalidParams
from lehr.hyperparameters import Form, describe, knob, parse, resolved_lrate
from lehr.templates import CATALOGUE
from lehr.templates.clarifai_inception_transfer_embed_norm import TransferForm
from lehr.templates.classification_cifar10_v1 import Cifar10Form
from lehr.templates.detector_form import DetectorForm
from lehr.templates.lehr_lite import LiteForm
from lehr.templates.network_family import NetworkForm


class Example(Form):
    meaningless: ClassVar[dict[str, str]] = {
        "use_perclass_regression": "it is a setting of detectors, which return boxes"
    }

    num_epochs: int = knob(10, minimum=1, maximum=200, step=1)
    """Passes over the training items."""
    image_size: int = knob(32, minimum=32, maximum=1024, step=16)
    """Shorter side in pixels."""
    flip_probability: float = knob(0.5, minimum=0.0, maximum=1.0, step=0.01)
    """Probability of mirroring."""
    balanced: bool = knob(False)
    """Draw equally."""
    weights: str = knob("none", options=("none", "imagenet"))
    """Where to start."""
    test_freq: int = knob(1, minimum=0, step=1, aliases=("test_every",))
    """Epochs between evaluations."""


def problems(params: dict[str, object], form: type[Form] = Example) -> tuple[str, ...]:
    with pytest.raises(InvalidParams) as caught:
        parse(form, params)
    return caught.value.problems


def test_all_problems_come_at_once_each_with_name_value_range_and_nearest() -> None:
    assert problems({"num_epochs": 2.5, "image_size": 8, "balanced": "yes", "epochs": 3}) == (
        "num_epochs is 2.5; it must be a whole number from 1 to 200 in steps of 1; the nearest is 3",
        "image_size is 8; it must be from 32 to 1024 in steps of 16; the nearest is 32",
        "balanced is 'yes'; it must be true or false",
        "'epochs' is no hyperparameter of this template; did you mean num_epochs? there are: num_epochs, image_size, "
        "flip_probability, balanced, weights, test_freq",
    )


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"num_epochs": math.nan}, "num_epochs is nan; it must be a finite number from 1 to 200"),
        ({"num_epochs": math.inf}, "finite"),
        ({"num_epochs": 201.0}, "the nearest is 200"),
        ({"num_epochs": "3"}, "num_epochs is '3'; it must be a whole number"),
        ({"num_epochs": [3]}, "it must be a whole number"),
        ({"num_epochs": True}, "num_epochs is true; it must be a whole number from 1 to 200"),
        ({"test_freq": False}, "test_freq is false; it must be a whole number at least 0"),
        ({"test_freq": -1}, "it must be at least 0"),
        ({"weights": "coco"}, "weights is 'coco'; it must be one of: none, imagenet"),
        ({"use_perclass_regression": True}, "no meaning for this template: it is a setting of detectors"),
        ({"num_epochs": 1, "Num Epochs": 2}, "num_epochs is given twice"),
    ],
)
def test_a_bad_value_gets_a_sentence(params: dict[str, object], words: str) -> None:
    (problem,) = problems(params)
    assert words in problem


def test_whole_doubles_are_whole_numbers_and_names_are_forgiven() -> None:
    form, notices = parse(
        Example, {"num_epochs": 2.0, "Image size": 64.0, "test-every": 3, "WEIGHTS": "ImageNet", "balanced": 1}
    )
    assert (form.num_epochs, form.image_size, form.test_freq, form.weights, form.balanced) == (
        2,
        64,
        3,
        "imagenet",
        True,
    )
    assert isinstance(form.num_epochs, int)
    assert notices == ()
    for value in (False, True):
        assert parse(LiteForm, {"logreg": value}).form.logreg is int(value)
    assert parse(Example, {"num_epochs": None}).form == Example()


def test_off_its_step_a_value_is_rounded_and_said() -> None:
    form, notices = parse(Example, {"image_size": 299, "flip_probability": 0.333})
    assert (form.image_size, form.flip_probability) == (304, 0.33)
    assert notices == (
        "image_size was rounded from 299 to 304: its step is 16",
        "flip_probability was rounded from 0.333 to 0.33: its step is 0.01",
    )


def test_the_three_rates_mean_one_thing() -> None:
    for params in ({"lrate": 0.128}, {"per_item_lrate": 0.001}, {"per_128_lrate": 0.128}):
        assert resolved_lrate(parse(Cifar10Form, params).form) == pytest.approx(0.128)
    assert resolved_lrate(parse(Cifar10Form, {}).form) == pytest.approx(0.001465 * 128)
    half = parse(Cifar10Form, {"per_item_lrate": 0.001, "per_128_lrate": 0.128, "batch_size": 64}).form
    assert resolved_lrate(half) == pytest.approx(0.064)


def test_rates_that_disagree_are_an_error_that_names_both() -> None:
    (problem,) = problems({"lrate": 0.1, "per_item_lrate": 0.1}, Cifar10Form)
    assert "lrate 0.1 and per_item_lrate 0.1 disagree" in problem
    (problem,) = problems({"lrate": -1, "per_128_lrate": "fast"}, Cifar10Form)[:1]
    assert "lrate is -1" in problem


def test_a_client_that_echoes_every_default_may_change_one_rate() -> None:
    echoed = {knob.name: knob.default for knob in describe(Cifar10Form)}
    form, notices = parse(Cifar10Form, {**echoed, "lrate": 0.05})
    assert resolved_lrate(form) == 0.05
    assert notices == ("lrate 0.05 replaces the default of per_item_lrate",)
    assert resolved_lrate(parse(Cifar10Form, echoed).form) == pytest.approx(0.001465 * 128)


def test_a_rate_of_zero_is_accepted_with_a_warning() -> None:
    assert parse(Cifar10Form, {"per_item_lrate": 0}).notices == (
        "per_item_lrate is 0: nothing will be learned, the network is only evaluated",
    )


def test_seed_page_knobs_without_meaning_are_refused_with_the_reason() -> None:
    (problem,) = problems({"base_gradient_multiplier": 0.5}, Cifar10Form)
    assert "no pre-initialised base" in problem
    for form in (Cifar10Form, LiteForm):
        found = problems({"detection_score_threshold": 0.5, "use_perclass_regression": True}, form)
        assert all("detectors" in problem for problem in found)


@pytest.mark.parametrize("template", CATALOGUE, ids=lambda template: template.name)
def test_every_knob_can_be_advertised(template: object) -> None:
    knobs = describe(template.form)  # type: ignore[attr-defined]
    for described in knobs:
        assert described.placeholder
        assert described.sentence.endswith(".")
        assert described.kind in {"range", "number", "numbers", "boolean", "string", "enum"}
        if described.kind == "range":
            assert described.minimum is not None
            assert described.maximum is not None
        if described.name in ("num_items_per_epoch", "embeddings_size", "seed"):
            assert described.kind == "number", "a slider over millions of steps hits none"
    defaults = {described.name: described.default for described in knobs}
    assert parse(template.form, defaults) == (template.form(), ())  # type: ignore[attr-defined]


def test_a_form_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Example().num_epochs = 3  # type: ignore[misc]


def test_templates_and_forms_import_no_torch() -> None:
    code = "import sys, lehr.templates, lehr.hyperparameters, lehr.learn.offline; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


class ListForm(Form):
    """One list."""

    ratios: tuple[float, ...] = knob((0.5, 1.0), minimum=0.1, maximum=10.0)
    """Some numbers."""


@pytest.mark.parametrize("given", [[2, 3], (2.0, 3), "2, 3", "[2,3]", [2, 3, 2]])
def test_a_list_of_numbers_comes_as_a_list_or_as_a_text(given: object) -> None:
    assert parse(ListForm, {"ratios": given}).form.ratios == (2.0, 3.0)
    [described] = describe(ListForm)
    assert parse(ListForm, {"ratios": described.default}).form.ratios == (0.5, 1.0)


@pytest.mark.parametrize("given", [[], [0.01], [11], "a, b", 3, [None], True, [True, 2]])
def test_a_list_that_cannot_be_is_refused_with_its_limits(given: object) -> None:
    with pytest.raises(InvalidParams, match=r"ratios is .*; it must be"):
        parse(ListForm, {"ratios": given})


@pytest.mark.parametrize(
    ("form", "params", "told"),
    [
        (
            NetworkForm,
            {"num_epochs": 20, "init_epochs": 25, "lrate_decay": 0.5},
            "with init_epochs 25 the learning rate takes no drop within num_epochs 20, so that lrate_decay 0.5 has no "
            "effect; an init_epochs below that makes it drop",
        ),
        (NetworkForm, {"num_epochs": 20, "step_epochs": 5}, "with step_epochs 5 the learning rate takes no drop"),
        (TransferForm, {"lrate_decay": 0.5}, "the learning rate takes no drop within num_epochs 20, so that"),
        (Cifar10Form, {"lrate_decay": 0.5}, "lrate_decay 0.5 has no effect: without init_epochs"),
        (Cifar10Form, {"step_epochs": 10}, "with step_epochs 10 the learning rate takes no drop"),
        (DetectorForm, {"init_epochs": 30}, "with init_epochs 30 the learning rate takes no drop"),
    ],
)
def test_drops_of_the_rate_that_do_not_come_are_told(form: type[Form], params: dict[str, object], told: str) -> None:
    [notice] = parse(form, params).notices
    assert notice.startswith(told)


@pytest.mark.parametrize(
    ("form", "params"),
    [
        (NetworkForm, {"num_epochs": 2}),
        (NetworkForm, {"num_epochs": 26, "init_epochs": 25, "lrate_decay": 0.5}),
        (TransferForm, {"step_epochs": 5, "lrate_decay": 0.5}),
        (LiteForm, {"lrate_decay": 0.5}),
        (DetectorForm, {"step_epochs": 2}),
    ],
)
def test_drops_that_come_or_that_nobody_asked_for_are_no_notice(form: type[Form], params: dict[str, object]) -> None:
    assert parse(form, params).notices == ()
