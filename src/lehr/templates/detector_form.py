"""The knobs that every detector has, and the recipe that they share: RetinaNet on a backbone.

Ranges are the public ones; defaults, which were never published, are RetinaNet's own (arXiv 1708.02002).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from lehr.hyperparameters import Form, knob, resolved_lrate
from lehr.learn.data.order import MOST_ITEMS
from lehr.learn.schedule import Schedule, Steps, WarmedUp
from lehr.templates.network_family import scratch_notices
from lehr.templates.step_notices import step_notices

if TYPE_CHECKING:
    from lehr.learn.base_weights import BaseWeights
    from lehr.learn.problem import Problem
    from lehr.learn.recipe import Net, Recipe

_FOR_CLASSIFIERS = "it is a setting of classifiers and embedders; a detector sees the whole picture and names boxes"
_CLASSIFIERS_KNOBS = (
    "angular_margin",
    "angular_scale",
    "embeddings_size",
    "inference_crop_type",
    "logreg",
    "width_multiplier",
)

NATIVE_SIZE = 320
"""From this image size on anchors are as large as RetinaNet's; below they shrink with the pictures."""
_HALF = (0.5, 0.5, 0.5)
_MAX_GRADIENT_NORM = 10.0
_MAX_TENSOR_GRADIENT_NORM = 1.0
"""Of a random base: its first layers' gradients are thousands of times as long as the head's."""
_WARM_UP_STEPS = 500
_WARM_UP_SHARE = 0.1
"""The step size climbs over 500 steps, in short runs over a tenth of them."""


class DetectorForm(Form):
    """Shared by all detectors; a template redeclares what differs."""

    meaningless: ClassVar[Mapping[str, str]] = dict.fromkeys(_CLASSIFIERS_KNOBS, _FOR_CLASSIFIERS)

    image_size: int = knob(512, minimum=64, maximum=1024, step=32)
    """Size of the images: their shorter side in pixels; the whole picture is seen. Larger finds smaller objects and
    takes longer: 320, 512 and 800 are usual, less than 320 is for small pictures."""
    batch_size: int = knob(8, minimum=1, maximum=16, step=1)
    """Number of images in one update of the network."""
    num_epochs: int = knob(30, minimum=1, maximum=200, step=1)
    """Total number of epochs: passes over the training items (or over num_items_per_epoch of them)."""
    init_epochs: int | None = knob(None, minimum=1, maximum=200, step=1, placeholder="two thirds of num_epochs")
    """Number of epochs to run at the initial learning rate, before its first drop; not set: two thirds of them."""
    step_epochs: int | None = knob(None, minimum=1, maximum=200, step=1, placeholder="a sixth of num_epochs")
    """Number of epochs between drops of the learning rate; not set: a sixth of them."""
    lrate: float | None = knob(None, minimum=0.0, placeholder="batch_size * per_item_lrate")
    """Learning rate: the step size of one batch. Give this, per_item_lrate or per_128_lrate."""
    per_item_lrate: float | None = knob(0.000625, minimum=0.0)
    """Learning rate per item: lrate = batch_size * per_item_lrate."""
    per_128_lrate: float | None = knob(None, minimum=0.0, placeholder="128 * per_item_lrate")
    """Learning rate per 128 items: lrate = per_128_lrate * (batch_size / 128)."""
    use_perclass_regression: bool = knob(False)
    """Box coordinates are regressed per class: when true there are as many sets of regressors at each anchor location
    as there are concepts, when false one. True needs some fifty boxes of every concept."""
    anchor_ratios: tuple[float, ...] = knob((0.5, 1.0, 2.0), minimum=0.05, maximum=20.0)
    """Widths divided by heights of the boxes that the detector starts from, as a list; add those of your objects where
    they are much longer than wide."""
    use_focal_loss: bool = knob(True)
    """Focal loss, which weighs the many easy places down; when false, only the hardest places without an object train
    (online hard example mining)."""
    detection_score_threshold: float = knob(0.3, minimum=0.0, maximum=1.0, step=0.01, aliases=("detection_threshold",))
    """Only boxes with a score above this are returned; a prediction can ask for another one. Boxes at 0.05 or below
    never are."""
    test_freq: int = knob(5, minimum=0, maximum=200, step=1, aliases=("test_every",))
    """Number of epochs between evaluations on the held-out items; 0 evaluates only after the last."""
    average_horizontal_flips: bool = knob(False)
    """Mirror each training image and its boxes with probability 0.5. Leave it off where left and right differ."""
    flip_probability: float | None = knob(
        None, minimum=0.0, maximum=1.0, step=0.01, placeholder="0.5 if average_horizontal_flips, else 0"
    )
    """Probability that a training image and its boxes are mirrored; not set: 0.5 with average_horizontal_flips."""
    num_items_per_epoch: int = knob(0, minimum=0, maximum=MOST_ITEMS, step=1)
    """Number of training items that make an epoch; 0 means as many as there are. The next epoch goes on where this one
    stopped, so none is left out."""
    base_gradient_multiplier: float = knob(1.0, minimum=0.0, maximum=10.0)
    """Learning rate of the pre-initialised base, as a multiple of the rest's. 0 leaves the base as it is, which is
    faster. Without pretrained weights there is no such base, and all of it trains."""
    lrate_decay: float | None = knob(None, minimum=0.0, maximum=1.0, placeholder="max(0.1, 10^(-3 / number of drops))")
    """Factor of the learning rate at each drop."""
    balanced_sampling: bool = knob(False)
    """Draw pictures of every concept equally often, so that rare ones are seen as often as frequent ones."""
    gradient_checkpointing: str = knob("auto", options=("auto", "on", "off"))
    """Memory optimization for backpropagation: recompute parts of the base instead of keeping them; less memory for a
    third more time. "auto": when the batch would take more than half of the free memory."""
    pretrained_weights: str | None = knob(None, placeholder="the template's own, where they can be had")
    """What the base starts from: the name of published weights (from the folder of weights or the hub), a trained model
    of yours ("model_id" or "model_id/version_id"), or "none". Not set: the template's own where they can be had."""
    seed: int = knob(0, minimum=0, maximum=2**31 - 1, step=1)
    """Same data, same form, same seed, same machine: same weights."""
    invalid_data_tolerance_percent: float = knob(5.0, minimum=0.0, maximum=100.0, step=0.1)
    """More unreadable items than this percentage end the training with a list of them."""

    @property
    def training_flip_probability(self) -> float:
        """What the two mirroring knobs come to."""
        if self.flip_probability is not None:
            return self.flip_probability
        return 0.5 if self.average_horizontal_flips else 0.0

    @property
    def steps(self) -> Steps:
        """How the learning rate drops."""
        return Steps.over(
            self.num_epochs,
            init=self.init_epochs or max(1, round(self.num_epochs * 2 / 3)),
            step=self.step_epochs or max(1, round(self.num_epochs / 6)),
            decay=self.lrate_decay,
        )

    def notices(self) -> tuple[str, ...]:
        """About drops of the learning rate that do not come."""
        return step_notices(self, self.steps, self.num_epochs)

    def schedule(self, steps_per_epoch: int) -> Schedule:
        """Warm-up, then the steps of init_epochs and step_epochs."""
        warm_up = min(_WARM_UP_STEPS / steps_per_epoch, _WARM_UP_SHARE * self.num_epochs)
        return WarmedUp(schedule=self.steps, epochs=warm_up)


@dataclass(frozen=True, kw_only=True)
class DetectorFamily:
    """One backbone as a detector uses it."""

    backbone: str
    """Its name in learn/nets/backbones.py."""
    weights: str
    """Name of the pretrained weights that it starts from where they can be had."""
    head: str = "standard"
    """"standard" or "lite", see learn/detection/detector.py."""
    has_steady_head: bool = False
    """Norms in the head, for training in few steps; with a random base there are norms in any case."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the backbone."""


def detector_recipe(family: DetectorFamily, template: str, form: DetectorForm, problem: Problem) -> Recipe:
    """The recipe that all detectors share."""
    from lehr.learn.base_weights import choose_base
    from lehr.learn.data.sampler import epoch_batches
    from lehr.learn.learners.detection import DetectorTraining, detection_learning
    from lehr.learn.preprocessing import Preprocessing
    from lehr.learn.recipe import Descent, Recipe

    weights = choose_base(form.pretrained_weights, family.weights, problem)
    is_frozen = weights.are_pretrained and form.base_gradient_multiplier == 0
    return Recipe(
        template=template,
        form=form.model_dump(mode="json"),
        problem=problem,
        net=_net(family, form, problem, weights),
        begin=detection_learning(
            weights,
            DetectorTraining(
                flip_probability=form.training_flip_probability,
                use_focal_loss=form.use_focal_loss,
                is_base_frozen=is_frozen,
                gradient_checkpointing=form.gradient_checkpointing,
            ),
        ),
        preprocessing=Preprocessing(
            image_size=form.image_size, side=form.image_size, mean=weights.mean or _HALF, std=weights.std or _HALF
        ),
        activation="sigmoid",
        descent=Descent(
            lrate=resolved_lrate(form),
            max_gradient_norm=_MAX_GRADIENT_NORM if weights.are_pretrained else None,
            max_tensor_gradient_norm=None if weights.are_pretrained else _MAX_TENSOR_GRADIENT_NORM,
            multipliers=(("detector.base.*", form.base_gradient_multiplier),) if weights.are_pretrained else (),
        ),
        schedule=form.schedule(len(epoch_batches(form.num_items_per_epoch or problem.num_items, form.batch_size))),
        batch_size=form.batch_size,
        num_epochs=form.num_epochs,
        num_items_per_epoch=form.num_items_per_epoch,
        test_freq=form.test_freq,
        seed=form.seed,
        is_balanced=form.balanced_sampling,
        output="detections",
        notices=scratch_notices(form, weights),
        provenance=weights.to_json(),
    )


def _net(family: DetectorFamily, form: DetectorForm, problem: Problem, weights: BaseWeights) -> Net:
    """Raises InvalidParams when the weights are of another backbone."""
    from lehr.learn.layouts import check_backbone
    from lehr.learn.recipe import Net

    layout = weights.layout
    if layout:
        check_backbone(layout.backbone, family.backbone)
    return Net(
        name="detector",
        arguments={
            "backbone": family.backbone,
            "num_concepts": len(problem.concepts),
            "anchor_ratios": list(form.anchor_ratios),
            "anchor_scale": min(1.0, form.image_size / NATIVE_SIZE),
            "use_perclass_regression": form.use_perclass_regression,
            "head": family.head,
            "group_norm": _has_norms(family, problem, weights),
            "options": {**family.options, **(layout.options if layout else {})},
        },
    )


def _has_norms(family: DetectorFamily, problem: Problem, weights: BaseWeights) -> bool:
    """Whether the head has norms: what is continued has what it had, which depended on its base's first weights."""
    own = family.has_steady_head or not weights.are_pretrained
    if problem.earlier is None:
        return own
    from lehr.learn.bundle import read_bundle

    return bool(read_bundle(problem.earlier).details["net"]["arguments"].get("group_norm", own))
