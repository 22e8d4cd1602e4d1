"""Every backbone against published sizes, and the four switches that all of them share."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lehr.learn.nets.backbone import Backbone, batchnorms, freeze_batchnorm
from lehr.learn.nets.bn_inception import bn_inception, load_tf_slim
from lehr.learn.nets.conv_norm import ConvNorm
from lehr.learn.nets.efficientnet_lite import efficientnet_lite0
from lehr.learn.nets.inception_resnet_v2 import inception_resnet_v2
from lehr.learn.nets.inception_v2 import inception_v2
from lehr.learn.nets.inception_v4 import inception_v4
from lehr.learn.nets.resnet import resnet101, resnext50
from lehr.learn.nets.stem import Stem, stem_for

NETS: dict[str, tuple[Callable[..., Backbone], int, int, float]] = {
    # build, parameters with 1,000 classes, native size, GMACs without the classifier (which adds 0.001 to 0.002)
    "inception_v2": (inception_v2, 24_263_240, 299, 5.865),
    "inception_v3 layout": (lambda **kw: inception_v2(stem="v3", **kw), 23_834_568, 299, 5.713),
    "bn_inception": (bn_inception, 11_188_288, 224, 1.935),
    "bn_inception plain": (lambda **kw: bn_inception(stem="plain", **kw), 11_194_984, 224, 2.019),
    "inception_v4": (inception_v4, 42_679_816, 299, 12.254),
    "inception_resnet_v2": (inception_resnet_v2, 55_843_464, 299, 13.156),
    "resnet101": (resnet101, 44_549_160, 224, 7.801),
    "efficientnet_lite0": (efficientnet_lite0, 4_652_008, 224, 0.384),
    "resnext50": (resnext50, 25_028_904, 224, 4.230),
}


def on_meta(build: Callable[..., Backbone], **options: object) -> Backbone:
    with torch.device("meta"):
        return build(**options).eval()


def shapes(net: Backbone, size: int) -> list[tuple[int, ...]]:
    return [tuple(map_.shape[1:]) for map_ in net.maps(torch.empty(1, 3, size, size, device="meta"))]


@pytest.mark.parametrize("name", NETS)
def test_parameters_and_multiply_adds_are_the_published_ones(name: str) -> None:
    build, parameters, size, gmacs = NETS[name]
    net = on_meta(build)
    classifier = 1000 * net.num_features + 1000
    assert sum(p.numel() for p in net.parameters()) + classifier == parameters
    with FlopCounterMode(display=False) as counter:
        pooled = net.features(torch.empty(1, 3, size, size, device="meta"))
    assert pooled.shape == (1, net.num_features)
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, abs=0.01)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("size", [32, 64, 96, 128])
def test_small_images_take_a_low_resolution_stem_with_the_same_weights(name: str, size: int) -> None:
    build = NETS[name][0]
    net, full = on_meta(build, image_size=size), on_meta(build)
    assert shapes(net, size)[2][1] >= 1
    assert [tuple(t.shape) for t in net.state_dict().values()] == [tuple(t.shape) for t in full.state_dict().values()]


def test_small_images_end_in_maps_as_large_as_those_of_a_large_one() -> None:
    sides = [shapes(on_meta(inception_v2, image_size=size), size)[2][1] for size in (299, 149, 79)]
    assert sides == [8, 7, 8]
    assert [stem_for(size, 299) for size in (299, 150, 149, 109, 108)] == [
        Stem.FULL, Stem.FULL, Stem.STRIDE_1, Stem.STRIDE_1, Stem.NO_POOL,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (inception_v2, {"same_padding": True}),
        (inception_v2, {"same_padding": True, "stem": "v3"}),
        (inception_v4, {"same_padding": True}),
        (inception_resnet_v2, {"same_padding": True}),
        (bn_inception, {}),
        (resnet101, {}),
        (resnext50, {}),
    ],
)
@pytest.mark.parametrize("size", [320, 512])
def test_detector_maps_have_exact_strides(
    build: Callable[..., Backbone], options: dict[str, object], size: int
) -> None:
    net = on_meta(build, **options)
    wanted = [(channels, size // s, size // s) for channels, s in zip(net.map_channels, (8, 16, 32), strict=True)]
    assert shapes(net, size) == wanted


def test_unpadded_inception_maps_are_smaller() -> None:
    assert [side for _, side, _ in shapes(on_meta(inception_v2), 512)] == [61, 30, 14]


@pytest.mark.parametrize("size", [299, 75])
def test_weights_of_timms_inception_v3_give_timms_features(size: int) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("inception_v3").eval()
    randomise_statistics(theirs)
    ours = inception_v2(stem="v3").eval()
    ours.load_published(dict(sorted(theirs.state_dict().items())))  # files keep tensors in any order
    image = torch.randn(1, 3, size, size)
    with torch.inference_mode():
        torch.testing.assert_close(ours(image), theirs.forward_head(theirs.forward_features(image), pre_logits=True))


@pytest.mark.parametrize(
    ("build", "architecture"),
    [
        (resnext50, "resnext50_32x4d"),
        pytest.param(resnet101, "resnet101", marks=pytest.mark.slow),
        pytest.param(inception_v4, "inception_v4", marks=pytest.mark.slow),
        pytest.param(inception_resnet_v2, "inception_resnet_v2", marks=pytest.mark.slow),
    ],
)
def test_a_chained_timm_network_gives_timms_features(build: Callable[..., Backbone], architecture: str) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model(architecture).eval()
    randomise_statistics(theirs)
    ours = build().eval()
    ours.load_published(theirs.state_dict())
    image = torch.randn(1, 3, 160, 160)
    with torch.inference_mode():
        torch.testing.assert_close(ours(image), theirs.forward_head(theirs.forward_features(image), pre_logits=True))


def test_weights_that_do_not_fit_are_refused_with_a_sentence() -> None:
    state = timm.create_model("resnext50_32x4d").state_dict()
    with pytest.raises(ValueError, match=r"do not fit.*this very architecture"):
        resnet101().load_published(state)
    with pytest.raises(ValueError, match="no published weights fit this layout"):
        inception_v2().load_published(state)


def test_a_tf_slim_checkpoint_is_expressed_exactly() -> None:
    torch.manual_seed(0)
    net, variables = bn_inception().eval(), slim_variables()
    load_tf_slim(net, {name: value.numpy() for name, value in variables.items()})
    # 10,173,112 "model variables" is what TF-Slim's own unit test counts for the network without its classifier
    assert sum(value.numel() for value in variables.values()) == 10_173_112
    image = torch.randn(1, 3, 32, 32)
    scope = "InceptionV2/Conv2d_1a_7x7"
    with torch.inference_mode():
        deep = torch.nn.functional.conv2d(
            image, variables[f"{scope}/depthwise_weights"].permute(2, 3, 0, 1).reshape(24, 1, 7, 7), None, 2, 3, 1, 3
        )
        wanted = torch.einsum("nchw,ck->nkhw", deep, variables[f"{scope}/pointwise_weights"][0, 0])
        wanted = (wanted + variables[f"{scope}/biases"][:, None, None]).relu()
        torch.testing.assert_close(net.blocks[0](image), wanted)
    del variables["InceptionV2/Mixed_5c/Branch_3/Conv2d_0b_1x1/weights"]
    with pytest.raises(ValueError, match="Mixed_5c/Branch_3"):
        load_tf_slim(net, {name: value.numpy() for name, value in variables.items()})


@pytest.mark.parametrize("build", [inception_v4, inception_v2, resnext50])
def test_checkpointing_changes_neither_gradients_nor_batch_statistics(build: Callable[..., Backbone]) -> None:
    torch.manual_seed(0)
    plain = build(image_size=32).train()
    thrifty = copy.deepcopy(plain)
    thrifty.checkpoint_gradients()
    images = torch.randn(2, 3, 32, 32)
    for net in (plain, thrifty):
        net(images).square().sum().backward()
    for (name, one), other in zip(plain.named_parameters(), thrifty.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad), name
    for (name, one), other in zip(plain.named_buffers(), thrifty.buffers(), strict=True):
        assert torch.equal(one, other), name
    thrifty.checkpoint_gradients(0)
    assert not thrifty._cuts()


def test_checkpointing_keeps_fewer_activations() -> None:
    def kept_bytes(segments: int) -> int:
        net = resnext50(image_size=64).train()
        net.checkpoint_gradients(segments)
        kept: dict[int, int] = {}
        weights = {p.data_ptr() for p in net.parameters()}

        def pack(t: torch.Tensor) -> torch.Tensor:
            if t.data_ptr() not in weights:
                kept[t.data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            out = net(torch.randn(2, 3, 64, 64))
        assert out.requires_grad
        return sum(kept.values())

    assert kept_bytes(4) < kept_bytes(0) / 3


def test_frozen_batchnorm_holds_its_statistics_through_train_and_still_trains_its_scale() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(bn_inception(image_size=32), nn.BatchNorm1d(1024))
    freeze_batchnorm(model)
    model.train()
    before = [layer.running_mean.clone() for layer in batchnorms(model[0])]
    model(torch.randn(4, 3, 32, 32)).square().sum().backward()
    assert all(torch.equal(a, b.running_mean) for a, b in zip(before, batchnorms(model[0]), strict=True))
    assert all(layer.weight.grad is not None for layer in batchnorms(model[0]))
    assert model[1].training  # only the backbone's
    freeze_batchnorm(model, False)
    assert all(layer.training for layer in batchnorms(model))
    model(torch.randn(4, 3, 32, 32))
    assert not torch.equal(before[0], next(batchnorms(model)).running_mean)


def randomise_statistics(net: nn.Module) -> None:
    for layer in batchnorms(net):
        nn.init.normal_(layer.running_mean, std=0.1)
        nn.init.uniform_(layer.running_var, 0.5, 2)
        nn.init.uniform_(layer.weight, 0.8, 1.2)
        nn.init.normal_(layer.bias, std=0.1)


def slim_variables() -> dict[str, torch.Tensor]:
    """A random checkpoint with TF-Slim's names and shapes."""
    from lehr.learn.nets.bn_inception import _slim_scopes

    stem = "InceptionV2/Conv2d_1a_7x7"
    out = {
        f"{stem}/depthwise_weights": torch.randn(7, 7, 3, 8),
        f"{stem}/pointwise_weights": torch.randn(1, 1, 24, 64),
        f"{stem}/biases": torch.randn(64),
    }
    convolutions = [m.conv for m in bn_inception().modules() if isinstance(m, ConvNorm)][1:]
    for scope, conv in zip(_slim_scopes(), convolutions, strict=True):
        out[f"{scope}/weights"] = torch.randn_like(conv.weight).permute(2, 3, 1, 0)
        for name in ("beta", "moving_mean", "moving_variance"):
            out[f"{scope}/BatchNorm/{name}"] = torch.rand(conv.out_channels)
    return out
