"""A linear classifier on what an embedder gives, solved in seconds on cached embeddings; it needs no template's name.

The embedder is one of your own, or the base that comes with Lehr. Each picture is embedded once and never again.

Measured: on the embedder that comes with Lehr, accuracy 0.88 on 90 held-out digits of ten kinds (scikit-learn's, 360
to train on, image_size 64) after 39 s on busy cores, nearly all of them for the embeddings, on 2 cores of an AMD EPYC
(Zen 4), no GPU, 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from lehr.hyperparameters import knob
from lehr.templates.classifier_form import DETECTOR_KNOBS, ActivationKnob
from lehr.templates.template import Template

if TYPE_CHECKING:
    from lehr.learn.base_weights import BaseWeights
    from lehr.learn.preprocessing import Preprocessing
    from lehr.learn.problem import Problem
    from lehr.learn.recipe import Net, Recipe

_SOLVED = "the head is solved, not trained step by step"


class EmbeddingClassifierForm(ActivationKnob):
    """There is little to choose: the solution is exact, and its penalty chosen on held-out items."""

    meaningless: ClassVar[Mapping[str, str]] = {
        **DETECTOR_KNOBS,
        **{
            name: _SOLVED
            for name in (
                "average_horizontal_flips",
                "base_gradient_multiplier",
                "batch_size",
                "init_epochs",
                "lrate",
                "num_epochs",
                "num_items_per_epoch",
                "per_128_lrate",
                "per_item_lrate",
                "step_epochs",
                "test_freq",
            )
        },
    }

    base_embed_model: str | None = knob(None, placeholder="the embedder that comes with Lehr")
    """The embedder: a trained visual-embedder of yours, "model_id" or "model_id/version_id", with "user_id/app_id/"
    before it where it is of another app. Not set: the one that comes with Lehr (EfficientNet-Lite0, ImageNet)."""
    image_size: int = knob(256, minimum=32, maximum=1024, step=16)
    """Shorter side of the images for the embedder that comes with Lehr; one of yours brings its own."""
    enrich_dataset: str = knob("Automatic", options=("Automatic", "Disabled"))
    """Accepted for old clients; nothing is added to your data."""
    seed: int = knob(0, minimum=0, maximum=2**31 - 1, step=1)
    """Kept with the version; the solution depends on no chance."""
    invalid_data_tolerance_percent: float = knob(5.0, minimum=0.0, maximum=100.0, step=0.1)
    """More unreadable items than this percentage end the training with a list of them."""


def recipe(form: EmbeddingClassifierForm, problem: Problem) -> Recipe:
    """Features from the cache, the head solved, one empty step to measure it."""
    from lehr.learn.learners.solved import solving
    from lehr.learn.recipe import Descent, Recipe
    from lehr.learn.schedule import Steps

    weights, net, preprocessing = _embedder(form, problem)
    return Recipe(
        template=TEMPLATE.name,
        form=form.model_dump(),
        problem=problem,
        net=net,
        begin=solving(weights),
        preprocessing=preprocessing,
        activation=form.activation,
        descent=Descent(lrate=0.0, weight_decay=0.0),
        schedule=Steps(init_epochs=1, step_epochs=1, decay=1.0),
        batch_size=1,
        num_epochs=1,
        num_items_per_epoch=1,
        seed=form.seed,
        provenance=weights.to_json(),
    )


def _embedder(form: EmbeddingClassifierForm, problem: Problem) -> tuple[BaseWeights, Net, Preprocessing]:
    from lehr.learn.base_weights import of_embedder
    from lehr.learn.bundle import read_bundle
    from lehr.learn.layouts import check_whole_embedder
    from lehr.learn.nets.embedding_classifier import num_dimensions
    from lehr.learn.recipe import Net

    num_concepts = len(problem.concepts)
    if problem.base is None:
        return _built_in(form, problem)
    bundle = read_bundle(problem.base)
    check_whole_embedder(bundle.details)
    inner = bundle.details["net"]
    arguments = {
        "embedder": inner["name"],
        "arguments": inner["arguments"],
        "num_features": num_dimensions(inner["name"], inner["arguments"]),
        "num_concepts": num_concepts,
    }
    return of_embedder(problem.base), Net(name="embedding_classifier", arguments=arguments), bundle.preprocessing


def _built_in(form: EmbeddingClassifierForm, problem: Problem) -> tuple[BaseWeights, Net, Preprocessing]:
    from lehr.learn.base_weights import choose_base
    from lehr.learn.nets.embedding_classifier import num_dimensions
    from lehr.learn.preprocessing import Preprocessing, crop_side
    from lehr.learn.recipe import Net
    from lehr.templates.network_family import LITE

    side = crop_side(form.image_size)
    inner = {"backbone": LITE.backbone, "num_concepts": 1, "options": {"image_size": side}}
    arguments = {
        "embedder": "embedder",
        "arguments": inner,
        "num_features": num_dimensions("embedder", inner),
        "num_concepts": len(problem.concepts),
    }
    net = Net(name="embedding_classifier", arguments=arguments)
    return choose_base(LITE.weights, "", problem), net, Preprocessing(image_size=form.image_size, side=side)


TEMPLATE = Template(
    name="embedding_classifier",
    model_type="embedding-classifier",
    title="Embedding classifier",
    description="A linear classifier on the embeddings of a visual-embedder, solved in seconds.",
    when="A good embedder is at hand, or a first answer is wanted at once.",
    measured=(
        "On the embedder that comes with Lehr, accuracy 0.88 on 90 held-out digits of ten kinds (scikit-learn's, 360 "
        "to train on, image_size 64) after 39 s on busy cores, nearly all of them for the embeddings, on 2 cores of "
        "an AMD EPYC (Zen 4), no GPU, 2026-11-22."
    ),
    form=EmbeddingClassifierForm,
    recipe=recipe,
    weights="tf_efficientnet_lite0",
    aliases=("embedding-classifier",),
    needs_name=False,
    follows_base=True,
)
