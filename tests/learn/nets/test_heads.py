"""Backbones by name, and what stands on them."""

from __future__ import annotations

import pytest
import timm
import torch

from lehr.errors import InvalidModel
from lehr.learn.detection.detector import detector
from lehr.learn.losses.arcface import class_cosines
from lehr.learn.nets.angular_embedder import AngularEmbedder
from lehr.learn.nets.backbone import batchnorms
from lehr.learn.nets.backbones import BACKBONES, build_backbone, build_for_detection
from lehr.learn.nets.classifier import Classifier


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_is_built_by_name_and_padded_for_detectors(name: str) -> None:
    with torch.device("meta"):
        images = torch.empty(1, 3, 320, 320)
        net = build_for_detection(name).eval()
        assert [tuple(m.shape[2:]) for m in net.maps(images)] == [(40, 40), (20, 20), (10, 10)]
        assert [m.shape[1] for m in net.maps(images)] == list(net.map_channels)
        assert build_backbone(name, image_size=64).eval()(images[..., :64, :64]).shape == (1, net.num_features)


def test_an_unknown_backbone_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(InvalidModel, match=r"no backbone 'vgg'.*inception_v2, bn_inception"):
        build_backbone("vgg")


def test_weights_of_the_built_in_base_give_timms_features_and_shifted_maps_for_detectors() -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("tf_efficientnet_lite0").eval()
    for layer in batchnorms(theirs):
        torch.nn.init.uniform_(layer.running_var, 0.5, 2)
    ours, registered = build_backbone("efficientnet_lite0").eval(), build_for_detection("efficientnet_lite0").eval()
    ours.load_published(theirs.state_dict())
    registered.load_published(theirs.state_dict())
    image = torch.zeros(1, 3, 256, 256)
    image[..., 100:140, 100:140] = torch.randn(3, 40, 40)
    with torch.inference_mode():
        torch.testing.assert_close(ours(image), theirs.forward_head(theirs.forward_features(image), pre_logits=True))
        # symmetric padding samples 1, 2, 4 px earlier at strides 2, 4, 8: it sees what the other sees of a moved image
        moved = ours.maps(image.roll((7, 7), (2, 3)))[0]
        torch.testing.assert_close(
            registered.maps(image)[0][..., 8:24, 8:24], moved[..., 8:24, 8:24], rtol=1e-3, atol=1e-3
        )


def test_a_classifier_gives_logits_and_the_features_in_front_of_them() -> None:
    torch.manual_seed(0)
    net = Classifier("bn_inception", 5, dropout=0.2, options={"image_size": 32, "stem": "plain"})
    images = torch.randn(3, 3, 32, 32)
    net.train()(images).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    net.eval()
    torch.testing.assert_close(net(images), net.head(net.embed(images)))
    assert net(images).shape == (3, 5)


def test_an_angular_embedder_gives_unit_vectors_and_trains_by_angle() -> None:
    torch.manual_seed(0)
    arcface = {"num_classes": 4, "scale": 16.0, "margin": 0.3, "centers": 2}
    net = AngularEmbedder("efficientnet_lite0", 24, arcface=arcface, options={"image_size": 32})
    images, labels = torch.randn(4, 3, 32, 32), torch.arange(4)
    torch.nn.functional.cross_entropy(net.train().logits(images, labels, share=0.5), labels).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    embeddings = net.eval()(images)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(net.logits(images), 16 * class_cosines(embeddings, net.head.weight))


def test_a_detector_is_built_from_plain_values() -> None:
    with torch.device("meta"):
        net = detector(backbone="efficientnet_lite0", num_concepts=3, anchor_ratios=[0.5, 1, 2, 3], head="lite").eval()
        raw = net(torch.empty(1, 3, 64, 64))
        per_class = detector(backbone="efficientnet_lite0", num_concepts=3, use_perclass_regression=True, head="lite")
    assert raw.logits[0].shape == (1, 8 * 8 * 12, 3)
    assert net.regressors.conv.out_channels == 12 * 4
    assert per_class.regressors.conv.out_channels == 9 * 3 * 4
