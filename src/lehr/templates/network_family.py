"""What the templates on published networks share: their knobs, and the recipes for classifiers and embedders.

The knobs and defaults are the public ones: 65 epochs, the first drop of the rate after 25, then every 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from lehr.hyperparameters import Form, knob, resolved_lrate
from lehr.learn.layouts import Layout, check_backbone
from lehr.learn.problem import NONE
from lehr.templates.classifier_form import DETECTOR_KNOBS, ClassifierForm, TrainingForm
from lehr.templates.embedder_form import AngularForm, UnseenKnob

if TYPE_CHECKING:
    from lehr.learn.base_weights import BaseWeights
    from lehr.learn.data.crops import Augmentation
    from lehr.learn.learners.pixels import Begin
    from lehr.learn.preprocessing import Preprocessing
    from lehr.learn.problem import Problem
    from lehr.learn.recipe import BeginLearning, Recipe

Pixels = tuple[float, float, float]

_MAX_GRADIENT_NORM = 1.0
"""Of a pretrained network: pictures unlike its own make the first gradients hundreds of times longer."""
_NOTHING_TO_LEARN = (
    "base_gradient_multiplier is 0, which would leave nothing to learn, for this embedding is the base's own: give "
    "more than 0 (0.1 to 1 is usual), choose Lehr_Lite, which learns an embedding behind a frozen base, or give "
    'pretrained_weights "none" to train all of it from random weights'
)
_HEAD_WEIGHT_DECAY = 1e-2
"""Of a lone head on cached features."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One published network as a template uses it."""

    backbone: str
    """Its name in learn/nets/backbones.py."""
    weights: str = ""
    """Name of its own pretrained weights; "": it starts from random ones unless others are named."""
    mean: Pixels = (0.5, 0.5, 0.5)
    std: Pixels = (0.5, 0.5, 0.5)
    dropout: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the backbone."""

    def without_weights(self) -> Family:
        """The same network, starting from random weights unless others are named."""
        return replace(self, weights="")


_IMAGENET_MEAN: Pixels = (0.485, 0.456, 0.406)
_IMAGENET_STD: Pixels = (0.229, 0.224, 0.225)

INCEPTION_V2 = Family(backbone="inception_v2", dropout=0.2)
INCEPTION_BATCH_NORM = Family(backbone="bn_inception", weights="bn_inception", dropout=0.2)
INCEPTION_RESNET_V2 = Family(backbone="inception_resnet_v2", weights="inception_resnet_v2.tf_in1k", dropout=0.2)
RESNEXT = Family(backbone="resnext50", weights="resnext50_32x4d.a1h_in1k", mean=_IMAGENET_MEAN, std=_IMAGENET_STD)
RESNET_101 = Family(backbone="resnet101", weights="resnet101.a1h_in1k", mean=_IMAGENET_MEAN, std=_IMAGENET_STD)
LITE = Family(backbone="efficientnet_lite0", weights="tf_efficientnet_lite0")


class BaseKnobs(Form):
    """About the base of a published network, and how it is trained."""

    base_gradient_multiplier: float = knob(1.0, minimum=0.0, maximum=10.0)
    """Learning rate of the pre-initialised base, as a multiple of the head's. 0 freezes it: its features are computed
    once and the head trains in seconds. Without pretrained weights there is no such base, and all of it trains."""
    pretrained_weights: str | None = knob(None, placeholder="the template's own, where they can be had")
    """What the base starts from: the name of published weights (from the folder of weights or the hub), a trained model
    of yours ("model_id" or "model_id/version_id"), or "none". Not set: the template's own where they can be had."""
    gradient_checkpointing: str = knob("auto", options=("auto", "on", "off"))
    """Recompute parts of the network instead of keeping them: less memory for a third more time. "auto": when the batch
    would take more than half of the free memory."""


class NetworkKnobs(TrainingForm):
    """The public knobs with the public defaults."""

    image_size: int = knob(256, minimum=32, maximum=1024, step=16)
    """Size of the training images: their shorter side in pixels; the network sees crops of seven eighths of it. Smaller
    is faster, larger shows more detail. Small sizes take a stem that keeps the resolution."""
    init_epochs: int | None = knob(25, minimum=1, maximum=200, step=1)
    """Number of epochs to run at the initial learning rate, before its first drop."""
    step_epochs: int | None = knob(7, minimum=1, maximum=200, step=1)
    """Number of epochs between drops of the learning rate."""
    num_epochs: int = knob(65, minimum=1, maximum=200, step=1)
    """Total number of epochs: passes over the training items (or over num_items_per_epoch of them)."""
    per_item_lrate: float | None = knob(7.8125e-05, minimum=0.0)
    """Learning rate per item: lrate = batch_size * per_item_lrate."""


class NetworkForm(BaseKnobs, NetworkKnobs, ClassifierForm):
    """A classifier of a published network."""


class NetworkEmbedderForm(UnseenKnob, NetworkForm):
    """An embedder of a published network that learns as a classifier."""

    base_gradient_multiplier: float = knob(1.0, minimum=0.0, maximum=10.0)
    """Learning rate of the pre-initialised base, as a multiple of the head's. It must be more than 0, for the embedding
    is the base's own, and a frozen one would learn nothing. Without pretrained weights it has no effect: all trains."""

    @property
    def is_from_scratch(self) -> bool:
        """Whether the form alone says that the weights are random."""
        return (self.pretrained_weights or "").strip() == NONE

    def problems(self) -> tuple[str, ...]:
        """A base that is to be the embedding, and not to learn."""
        return (*super().problems(), *((_NOTHING_TO_LEARN,) if self._learns_nothing else ()))

    @property
    def _learns_nothing(self) -> bool:
        return self.base_gradient_multiplier == 0 and not self.is_from_scratch


class NetworkAngularForm(BaseKnobs, NetworkKnobs, AngularForm):
    """An embedder of a published network that learns by angles."""

    meaningless: ClassVar[Mapping[str, str]] = {
        **DETECTOR_KNOBS,
        "logreg": "learning by angles takes exactly one concept to be true of a picture",
    }


def needs_base(form: Any, own: str) -> tuple[str, ...]:
    """The problem of a form that asks for random weights and cannot do with them. `own`: what it takes by itself."""
    if (form.pretrained_weights or "").strip().lower() != NONE:
        return ()
    return (
        f"pretrained_weights is {form.pretrained_weights!r}, but this template builds on a pretrained base: leave it "
        f"out for {own}, name a trained model of yours, or choose a template that learns from random weights, such as "
        "Clarifai_ResNext or classification_cifar10_v1",
    )


def classifier(family: Family, template: str, form: ClassifierForm, problem: Problem) -> Recipe:
    """A linear layer on the pooled features of the family's network."""
    from lehr.learn.base_weights import choose_base
    from lehr.learn.recipe import Net

    weights = choose_base(_wanted(form), family.weights, problem)
    arguments = {"num_concepts": len(problem.concepts), **network_arguments(family, weights, form)}
    return recipe_of(
        template, form, problem, Plan(weights=weights, family=family, net=Net(name="classifier", arguments=arguments))
    )


def embedder(family: Family, template: str, form: NetworkEmbedderForm, problem: Problem) -> Recipe:
    """The pooled features of the family's network, trained as a classifier, brought to length 1."""
    from lehr.errors import InvalidParams
    from lehr.learn.base_weights import choose_base
    from lehr.learn.learners.embedding import EmbeddingLearner
    from lehr.learn.learners.features import probed
    from lehr.learn.learners.pixels import at_priors
    from lehr.learn.recipe import Net

    weights = choose_base(_wanted(form), family.weights, problem)
    if weights.are_pretrained and form.base_gradient_multiplier == 0:
        raise InvalidParams([_NOTHING_TO_LEARN])
    begin = learning_from_pixels(
        form, weights, probed(weights) if weights.are_pretrained else at_priors, learner_type=EmbeddingLearner
    )
    arguments = {"num_concepts": len(problem.concepts), **network_arguments(family, weights, form)}
    net = Net(name="embedder", arguments=arguments)
    plan = Plan(weights=weights, family=family, net=net, begin=begin, output="embedding")
    return recipe_of(template, form, problem, plan)


def angular_embedder(family: Family, template: str, form: NetworkAngularForm, problem: Problem) -> Recipe:
    """An embedding of chosen length behind the family's network, trained by angles."""
    from lehr.learn.base_weights import choose_base
    from lehr.learn.learners.embedding import AngularLearner, angular_feature_learning, filled
    from lehr.learn.recipe import Net

    weights = choose_base(_wanted(form), family.weights, problem)
    if weights.are_pretrained and form.base_gradient_multiplier == 0:
        begin = angular_feature_learning(weights, form.training_flip_probability)
    else:
        begin = learning_from_pixels(form, weights, filled(weights), learner_type=AngularLearner)
    arguments = {name: value for name, value in network_arguments(family, weights, form).items() if name != "dropout"}
    arguments |= {"embeddings_size": form.embeddings_size, "arcface": _arcface(form, problem, weights)}
    net = Net(name="angular", arguments=arguments)
    plan = Plan(weights=weights, family=family, net=net, begin=begin, output="embedding")
    return recipe_of(template, form, problem, plan)


def _arcface(form: AngularForm, problem: Problem, weights: BaseWeights) -> dict[str, Any]:
    """Arguments of losses.arcface.ArcFace; a random network gets the gentler margin."""
    return {
        "num_classes": len(problem.concepts),
        "scale": form.scale(len(problem.concepts)),
        "margin": form.margins(problem.positives),
        "centers": form.angular_centers,
        "easy": not weights.are_pretrained,
    }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a recipe on a published network is made of, besides its form."""

    weights: BaseWeights
    family: Family
    net: Any
    """learn.recipe.Net."""
    begin: BeginLearning | None = None
    """Where it is not that of a classifier."""
    output: str = "probabilities"


def recipe_of(template: str, form: Any, problem: Problem, plan: Plan) -> Recipe:
    """The recipe that all published networks share."""
    from lehr.learn.recipe import Descent, Recipe

    weights = plan.weights
    is_frozen = weights.are_pretrained and form.base_gradient_multiplier == 0
    return Recipe(
        template=template,
        form=form.model_dump(),
        problem=problem,
        net=plan.net,
        begin=plan.begin or begin_classifier(form, weights),
        preprocessing=preprocessing_of(form, plan.family, weights),
        activation=getattr(form, "activation", "softmax"),
        descent=Descent(
            lrate=resolved_lrate(form),
            weight_decay=_HEAD_WEIGHT_DECAY if is_frozen else 1e-4,
            max_gradient_norm=_MAX_GRADIENT_NORM if weights.are_pretrained and not is_frozen else None,
            multipliers=(("base.*", form.base_gradient_multiplier),) if weights.are_pretrained else (),
        ),
        schedule=form.steps,
        batch_size=form.batch_size,
        num_epochs=form.num_epochs,
        num_items_per_epoch=form.num_items_per_epoch,
        test_freq=form.test_freq,
        seed=form.seed,
        is_balanced=form.balanced_sampling,
        output=plan.output,
        notices=scratch_notices(form, weights),
        provenance=weights.to_json(),
    )


def network_arguments(family: Family, weights: BaseWeights, form: Any) -> dict[str, Any]:
    """Of a network of learn/nets on the family's backbone, in the layout that the weights need.

    Raises InvalidParams when the weights are of another backbone.
    """
    from lehr.learn.preprocessing import crop_side

    layout = _layout(family, weights)
    options = {**layout.options, "image_size": crop_side(form.image_size)}
    return {"backbone": layout.backbone, "dropout": family.dropout, "options": options}


def preprocessing_of(form: Any, family: Family, weights: BaseWeights) -> Preprocessing:
    """How pictures are shown to the network."""
    from lehr.learn.preprocessing import Preprocessing, crop_side, views_of

    return Preprocessing(
        image_size=form.image_size,
        side=crop_side(form.image_size),
        mean=weights.mean or family.mean,
        std=weights.std or family.std,
        views=views_of(form.inference_crop_type, are_mirrored=form.average_horizontal_flips),
    )


def augmentation_of(form: Any) -> Augmentation:
    """How training crops are drawn; where a crop is as large as the picture, it may reach a little beyond it."""
    from lehr.learn.data.crops import Augmentation
    from lehr.learn.preprocessing import crop_side

    side = crop_side(form.image_size)
    return Augmentation(
        side=side,
        padding=side // 16 if side == form.image_size else 0,
        flip_probability=form.training_flip_probability,
    )


def begin_classifier(form: Any, weights: BaseWeights) -> BeginLearning:
    """The head on cached features; or head first, then everything; or everything from random weights."""
    from lehr.learn.learners.features import feature_learning, probed
    from lehr.learn.learners.pixels import at_priors

    if weights.are_pretrained and form.base_gradient_multiplier == 0:
        return feature_learning(weights, form.training_flip_probability)
    return learning_from_pixels(form, weights, probed(weights) if weights.are_pretrained else at_priors)


def learning_from_pixels(form: Any, weights: BaseWeights, begin: Begin, **options: Any) -> BeginLearning:
    """Trains the whole network. A pretrained base keeps its norms' statistics, a random one gathers its own."""
    from lehr.learn.learners.pixels import pixel_learning
    from lehr.learn.memory import save_memory

    return pixel_learning(
        augmentation_of(form),
        begin,
        norms="frozen" if weights.are_pretrained else "settling",
        adapt=lambda net, recipe: save_memory(net, form.gradient_checkpointing, recipe),
        **options,
    )


def _wanted(form: Any) -> str | None:
    return form.pretrained_weights.strip() if form.pretrained_weights else None


def _layout(family: Family, weights: BaseWeights) -> Layout:
    if weights.layout is None:
        return Layout(backbone=family.backbone, options=family.options)
    check_backbone(weights.layout.backbone, family.backbone)
    return weights.layout


def scratch_notices(form: Any, weights: BaseWeights) -> tuple[str, ...]:
    """What is to be said where the weights are random: that they are, and what then has no effect."""
    from lehr.learn.base_weights import scratch_notice

    if weights.are_pretrained:
        return ()
    notices = [scratch_notice(weights)]
    if "base_gradient_multiplier" in form.model_fields_set and form.base_gradient_multiplier != 1:
        notices.append("base_gradient_multiplier has no effect: there is no pre-initialised base, all of it trains.")
    return tuple(notices)
