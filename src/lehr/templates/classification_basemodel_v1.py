"""The classifier that the other public templates are cases of: the network is a knob.

Measured: with model_cfg resnext from random weights, accuracy 0.94 on 72 held-out digits of four kinds
(scikit-learn's, 288 to train on, image_size 32, batch_size 32, lrate 0.05, logreg 0, seed 0) after 8 epochs, 279 s on
busy cores (145 s of processor time), on 2 cores of an AMD EPYC (Zen 4), no GPU, 2026-11-22.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lehr.hyperparameters import knob
from lehr.templates.network_family import (
    INCEPTION_BATCH_NORM,
    INCEPTION_RESNET_V2,
    INCEPTION_V2,
    RESNET_101,
    RESNEXT,
    Family,
    NetworkForm,
    NetworkKnobs,
    classifier,
)
from lehr.templates.template import Template

if TYPE_CHECKING:
    from lehr.learn.problem import Problem
    from lehr.learn.recipe import Recipe

NETWORKS = {
    "resnext": RESNEXT,
    "resnet101": RESNET_101,
    "inception_v2": INCEPTION_V2,
    "inception_batchnorm": INCEPTION_BATCH_NORM,
    "inception_resnet_v2": INCEPTION_RESNET_V2,
}


class BaseModelKnobs(NetworkKnobs):
    """Which network, and what it starts from, as old clients say it."""

    num_gpus: int = knob(1, minimum=0, maximum=1, step=1)
    """Accepted for old clients; a GPU is used when there is one."""
    model_cfg: str = knob("resnext", options=tuple(NETWORKS))
    """The network."""
    preinit: str = knob("general-v1.5", options=("general-v1.5", "none"))
    """Whether to start from the network's pretrained weights, where they can be had, or from random ones;
    pretrained_weights says more, and wins."""

    @property
    def family(self) -> Family:
        """The network that model_cfg names, without weights of its own where preinit is none."""
        family = NETWORKS[self.model_cfg]
        return family if self.preinit != "none" else family.without_weights()


class BaseModelForm(NetworkForm, BaseModelKnobs):
    """The public fields, the hidden ones included."""


def recipe(form: BaseModelForm, problem: Problem) -> Recipe:
    """A classifier on the network of model_cfg."""
    return classifier(form.family, TEMPLATE.name, form, problem)


TEMPLATE = Template(
    name="classification_basemodel_v1",
    model_type="visual-classifier",
    title="Classifier of a chosen network",
    description="A classifier on the network that model_cfg names (ResNeXt-50 where nothing is said).",
    when="Old clients that ask for it, and comparisons of networks under one name.",
    measured=(
        "With model_cfg resnext from random weights, accuracy 0.94 on 72 held-out digits of four kinds "
        "(scikit-learn's, 288 to train on, image_size 32, batch_size 32, lrate 0.05, logreg 0, seed 0) after 8 "
        "epochs, 279 s on busy cores (145 s of processor time), on 2 cores of an AMD EPYC (Zen 4), no GPU, 2026-11-22."
    ),
    form=BaseModelForm,
    recipe=recipe,
    aliases=("classification-basemodel-v1",),
)
