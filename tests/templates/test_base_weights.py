"""What a base begins with: named weights or a clear refusal, one's own models, or random weights, said aloud."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from learning import Lesson, data_for, learned, recipe_for, some_digits
from safetensors.torch import save_file

from lehr.errors import InvalidParams
from lehr.hyperparameters import describe, parse
from lehr.learn.base_weights import choose_base, fill, of_model
from lehr.learn.data.dataset import Data
from lehr.learn.device import Device
from lehr.learn.layouts import layout_of
from lehr.learn.learners.norms import settle_norms
from lehr.learn.memory import kept_bytes, save_memory
from lehr.learn.nets.backbone import batchnorms
from lehr.learn.nets.backbones import build_backbone
from lehr.learn.nets.catalogue import build
from lehr.learn.problem import Problem
from lehr.templates import CATALOGUE, find

RESNEXT = ("Clarifai_ResNext", "visual-classifier")
SMALL = {"image_size": 32, "inference_crop_type": "center"}
FROZEN = {**SMALL, "base_gradient_multiplier": 0, "num_epochs": 2}


@pytest.fixture(scope="module")
def data(digits: Path, packs: Path) -> Data:
    return data_for(*RESNEXT, some_digits(digits, every=40), packs, **SMALL)


@pytest.fixture(scope="module")
def weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights under the template's own name; random ones, which no other network has."""
    import timm

    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("weights")
    save_file(timm.create_model("resnext50_32x4d").state_dict(), folder / "resnext50_32x4d.a1h_in1k.safetensors")
    return folder


def problem(**folders: Path) -> Problem:
    device = Device(name="cpu", is_bf16=False, threads=2)
    return Problem(concepts=("a",), num_items=1, positives=(1,), device=device, **folders)


def test_without_weights_a_template_starts_from_scratch_and_says_so_loudly(data: Data) -> None:
    recipe = recipe_for(*RESNEXT, data, **SMALL, base_gradient_multiplier=0.1)
    assert recipe.provenance["name"] == "none"
    assert recipe.notices[0].startswith("STARTING FROM RANDOM WEIGHTS")
    assert "resnext50_32x4d.a1h_in1k" in recipe.notices[0]
    assert "no effect" in recipe.notices[1]
    assert recipe.descent.multipliers == ()


def test_weights_that_are_asked_for_by_name_must_be_had(data: Data, weights_folder: Path) -> None:
    for name in ("resnext50_32x4d.tv_in1k", "nosuchnet", "nosuchnet.a1"):
        with pytest.raises(InvalidParams, match=f"{name}' cannot be had.*Put the file there"):
            recipe_for(*RESNEXT, data, {"weights": weights_folder}, **SMALL, pretrained_weights=name)
    with pytest.raises(
        InvalidParams, match="of the network efficientnet_lite0, but this template's network is resnext50"
    ):
        recipe_for(*RESNEXT, data, **SMALL, pretrained_weights="tf_efficientnet_lite0")
    none = recipe_for(*RESNEXT, data, {"weights": weights_folder}, **SMALL, pretrained_weights="none")
    assert none.provenance == {"name": "none", "why": "pretrained_weights is none"}


def test_weights_in_the_folder_are_taken_named_and_hashed(data: Data, weights_folder: Path) -> None:
    recipe = recipe_for(*RESNEXT, data, {"weights": weights_folder}, **SMALL)
    assert recipe.notices == ()
    assert recipe.provenance["name"] == "resnext50_32x4d.a1h_in1k"
    assert len(recipe.provenance["sha256"]) == 64
    assert recipe.preprocessing.mean == (0.485, 0.456, 0.406)
    assert recipe.descent.multipliers == (("base.*", 1.0),)
    base = build(recipe.net.name, recipe.net.arguments).base
    choose_base(None, "resnext50_32x4d.a1h_in1k", problem(weights=weights_folder)).fill(base)  # type: ignore[arg-type]
    import timm

    torch.manual_seed(5)
    theirs = timm.create_model("resnext50_32x4d").state_dict()
    assert torch.equal(next(iter(base.state_dict().values())), theirs["conv1.weight"])


def test_a_frozen_base_takes_the_cached_path_and_trains_no_norm(data: Data, weights_folder: Path) -> None:
    lesson = learned(recipe_for(*RESNEXT, data, {"weights": weights_folder}, **FROZEN), data)
    assert set(lesson.state.part("net")) == {"mean", "scale", "linear.weight", "linear.bias"}


def test_layouts_follow_the_weights(tmp_path: Path, data: Data) -> None:
    import timm

    template = ("Clarifai_InceptionV2", "visual-classifier")
    scratch = recipe_for(*template, data, **SMALL)
    assert "stem" not in scratch.net.arguments["options"]
    save_file(timm.create_model("inception_v3").state_dict(), tmp_path / "inception_v3.tf_in1k.safetensors")
    folders = {"weights": tmp_path}
    pretrained = recipe_for(*template, data, folders, **SMALL, pretrained_weights="inception_v3.tf_in1k")
    assert pretrained.net.arguments["options"]["stem"] == "v3"
    weights = choose_base("inception_v3.tf_in1k", "", problem(weights=tmp_path))
    weights.fill(build(pretrained.net.name, pretrained.net.arguments).base)  # type: ignore[arg-type]


def test_a_trained_model_is_the_base_of_another(data: Data, weights_folder: Path, tmp_path: Path) -> None:
    first = learned(recipe_for(*RESNEXT, data, {"weights": weights_folder}, **FROZEN), data)
    first.written(tmp_path / "first")
    weights = of_model(tmp_path / "first")
    assert weights.layout
    assert weights.layout.backbone == "resnext50"
    second = build_backbone("resnext50", image_size=64)
    weights.fill(second)
    trained = first.recipe.begin(first.recipe, data, False)
    base = _result(trained).whole().base  # type: ignore[attr-defined]
    assert all(torch.equal(a, b) for a, b in zip(second.state_dict().values(), base.state_dict().values(), strict=True))
    recipe = recipe_for("Clarifai_ResNext", "visual-embedder", data, {"base": tmp_path / "first"}, **SMALL)
    assert recipe.provenance["name"] == "Clarifai_ResNext trained here"
    with pytest.raises(InvalidParams, match="this template's network is bn_inception"):
        recipe_for("Clarifai_InceptionBatchNorm", "visual-classifier", data, {"base": tmp_path / "first"}, **SMALL)
    transfer = recipe_for(
        "Clarifai_InceptionTransferEmbedNorm", "visual-classifier", data, {"base": tmp_path / "first"}, **SMALL
    )
    assert transfer.net.arguments["backbone"] == "resnext50"


def test_transfer_says_which_base_it_took_and_slows_it(data: Data) -> None:
    recipe = recipe_for("Clarifai_InceptionTransferEmbedNorm", "visual-classifier", data, **SMALL)
    assert "EfficientNet-Lite0" in recipe.notices[0]
    assert recipe.provenance["name"] == "tf_efficientnet_lite0"
    assert recipe.net.arguments["backbone"] == "efficientnet_lite0"
    assert recipe.descent.multipliers == (("base.*", 0.001),)
    assert recipe.descent.lrate == 0.1


@pytest.mark.parametrize("name", ["Clarifai_InceptionTransferEmbedNorm", "Lehr_Lite"])
def test_a_template_that_builds_on_a_base_refuses_to_do_without(name: str) -> None:
    form = find("visual-classifier", name).form
    with pytest.raises(InvalidParams, match="pretrained_weights is 'none', but this template builds on a pretrained"):
        parse(form, {"pretrained_weights": "none"})
    assert "none" not in {knob.name: knob.sentence for knob in describe(form)}["pretrained_weights"]


@pytest.mark.parametrize(
    ("name", "params", "is_refused"),
    [
        ("Clarifai_ResNext", {}, True),
        ("Clarifai_InceptionBatchNorm", {"pretrained_weights": "mine"}, True),
        ("Clarifai_InceptionBatchNorm", {"pretrained_weights": "none"}, False),
        ("classification_basemodel_v1_embed", {}, True),
        ("classification_basemodel_v1_embed", {"preinit": "none"}, False),
        ("classification_basemodel_v1_embed", {"preinit": "none", "pretrained_weights": "mine"}, True),
        ("classification_basemodel_v1_embed", {"model_cfg": "inception_v2"}, False),
        ("Clarifai_ResNet_AngularMargin", {}, False),
    ],
)
def test_an_embedding_that_is_the_base_itself_must_learn(
    name: str, params: dict[str, object], is_refused: bool
) -> None:
    form, frozen = find("visual-embedder", name).form, {"base_gradient_multiplier": 0, **params}
    if not is_refused:
        assert parse(form, frozen).form.base_gradient_multiplier == 0
        return
    with pytest.raises(InvalidParams, match="base_gradient_multiplier is 0, which would leave nothing to learn"):
        parse(form, frozen)


def test_a_detector_without_weights_says_that_it_has_no_base_to_slow_down(data: Data) -> None:
    recipe = recipe_for("Lehr_Lite", "visual-detector", data, pretrained_weights="none", base_gradient_multiplier=0)
    assert [notice.split()[0] for notice in recipe.notices] == ["STARTING", "base_gradient_multiplier"]
    assert recipe_for("Lehr_Lite", "visual-detector", data, base_gradient_multiplier=0).notices == ()


def test_the_built_in_base_is_the_same_network_under_both_of_its_names() -> None:
    backbone, lite = build_backbone("efficientnet_lite0"), build("lite", {"num_concepts": 1}).base
    weights = choose_base("tf_efficientnet_lite0", "", problem())
    weights.fill(backbone)
    weights.fill(lite)  # type: ignore[arg-type]
    image = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(backbone.eval()(image), lite.eval()(image), atol=1e-4, rtol=1e-4)
    other = build_backbone("efficientnet_lite0")
    fill(other, lite.state_dict(), "lite")  # type: ignore[union-attr, operator]
    assert all(
        torch.equal(a, b) for a, b in zip(other.state_dict().values(), backbone.state_dict().values(), strict=True)
    )


def test_checkpointing_is_switched_by_memory_and_by_hand(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    from lehr.learn import memory

    recipe = recipe_for(*RESNEXT, data, **SMALL)
    net = build(recipe.net.name, recipe.net.arguments)
    assert save_memory(net, "on", recipe)
    assert net.base.checkpoint_segments > 1  # type: ignore[union-attr, operator]
    assert not save_memory(net, "off", recipe)
    needed = recipe.batch_size * kept_bytes(net, recipe.preprocessing.side, is_bf16=recipe.problem.device.is_bf16)
    for free, is_on in ((2.1 * needed, False), (1.9 * needed, True)):
        monkeypatch.setattr(memory, "available_bytes", lambda device, free=free: free)
        assert save_memory(net, "auto", recipe) is is_on


def test_kept_bytes_grow_with_the_picture_and_are_those_of_a_real_step() -> None:
    net = build_backbone("efficientnet_lite0", image_size=64)
    small, large = (kept_bytes(net, side, is_bf16=False) for side in (64, 128))
    assert 3.5 < large / small < 4.5
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda saved: kept.append(saved) or saved, lambda saved: saved):
        net.train()(torch.zeros(2, 3, 64, 64))
    own = {parameter.data_ptr() for parameter in net.parameters()}
    real = {
        saved.untyped_storage().data_ptr(): saved.untyped_storage().nbytes()
        for saved in kept
        if saved.data_ptr() not in own
    }
    assert 0.7 < 2 * small / sum(real.values()) < 1.4


def test_norms_of_random_networks_average_before_they_forget() -> None:
    norm = torch.nn.BatchNorm2d(1, momentum=None)
    pictures = torch.randn(5, 4, 1, 3, 3) + 7
    for picture in pictures:
        settle_norms([norm])
        norm(picture)
    assert norm.running_mean is not None
    torch.testing.assert_close(norm.running_mean[0], pictures.mean(), atol=1e-4, rtol=1e-4)
    norm.num_batches_tracked.fill_(100)
    settle_norms([norm])
    assert norm.momentum == 0.1


def test_a_pretrained_base_keeps_its_statistics_and_a_random_one_gathers_its_own(
    data: Data, weights_folder: Path
) -> None:
    def norms(folders: dict[str, Path]) -> set[bool]:
        recipe = recipe_for(*RESNEXT, data, folders, **SMALL)
        learner = _result(recipe.begin(recipe, data, False))
        learner.net.train()  # type: ignore[attr-defined]
        return {norm.training for norm in batchnorms(learner.net)}  # type: ignore[attr-defined]

    assert norms({}) == {True}
    assert norms({"weights": weights_folder}) == {False}


@pytest.mark.slow
def test_ones_own_embedder_as_base_learns_faster_than_from_scratch(digits: Path, packs: Path, tmp_path: Path) -> None:
    """An embedder has seen 0 to 4; a classifier of 5 to 9 then has 120 pictures: accuracy 0.67, from scratch 0.47."""
    name = ("classification_basemodel_v1", "visual-classifier")
    network = {**SMALL, "model_cfg": "inception_batchnorm", "batch_size": 32, "logreg": 0, "lrate": 0.05}
    seen = some_digits(digits, every=3, only="01234")
    embedder: Lesson = _learned(
        "classification_basemodel_v1_embed", "visual-embedder", seen, packs, {**network, "num_epochs": 4}
    )
    embedder.written(tmp_path / "embedder")
    data = data_for(*name, some_digits(digits, every=6, only="56789"), packs, **network)
    short = {**network, "num_epochs": 2}
    own = learned(recipe_for(*name, data, {"base": tmp_path / "embedder"}, **short), data)
    scratch = learned(recipe_for(*name, data, **short), data)
    assert own.metrics["accuracy"] > scratch.metrics["accuracy"] + 0.1


def _learned(name: str, model_type: str, items: list, packs: Path, params: dict[str, object]) -> Lesson:
    data = data_for(name, model_type, items, packs, **params)
    return learned(recipe_for(name, model_type, data, **params), data)


def _result(generator: object) -> object:
    while True:
        try:
            next(generator)  # type: ignore[call-overload]
        except StopIteration as end:
            return end.value


def test_weights_are_kept_for_machines_that_are_offline(tmp_path, capsys):
    from lehr.cli import main

    assert main(["weights", "tf_efficientnet_lite0", "--weights", str(tmp_path)]) == 0
    (tmp_path / "tf_efficientnet_lite0.safetensors").rename(tmp_path / "inception_v4.tf_in1k.safetensors")
    assert main(["weights", "--weights", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert f"inception_v4.tf_in1k: {tmp_path}/inception_v4.tf_in1k.safetensors" in told
    assert "tf_efficientnet_lite0: built in" in told
    assert all(template.name in told for template in CATALOGUE if template.weights)


@pytest.mark.parametrize("template", CATALOGUE, ids=lambda template: f"{template.model_type}-{template.name}")
def test_what_an_order_is_checked_against_is_the_backbone_that_the_recipe_builds(template) -> None:
    if "pretrained_weights" not in template.form.model_fields:
        assert template.backbone_with(template.form()) == ""
        return
    form = template.form(pretrained_weights="none")
    net = template.recipe(form, problem()).net
    built = layout_of({"net": {"name": net.name, "arguments": net.arguments}})
    takes_any = template.name == "Clarifai_InceptionTransferEmbedNorm"
    assert template.backbone_with(form) == ("" if takes_any else built.backbone)
