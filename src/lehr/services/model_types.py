"""The model types a client can list: made from the template catalogue, in the shape that published clients read.

The traps of the public training helper are held here: every field has a path of at least two parts and a non-empty
placeholder, none is marked internal, and the `output_info.params.*` field that matters comes last, because the helper
keeps only the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lehr import templates
from lehr.errors import NotFound
from lehr.hyperparameters import Knob, describe
from lehr.protocol import resources_pb2
from lehr.protocol.structs import to_value
from lehr.services.clusterer_form import CLUSTERER, ClustererForm
from lehr.services.operator_types import is_operator, list_operator_types
from lehr.services.predicted_regions import DEFAULT_THRESHOLD
from lehr.templates import Template

Field = resources_pb2.ModelTypeField

KINDS = {
    "range": Field.RANGE,
    "number": Field.NUMBER,
    "boolean": Field.BOOLEAN,
    "string": Field.STRING,
    "enum": Field.ENUM,
    "numbers": Field.STRING,
}


@dataclass(frozen=True, kw_only=True)
class _Sheet:
    """What there is to say of a trainable model type besides its templates."""

    id: str
    title: str
    description: str
    output_fields: tuple[str, ...]
    evaluation: int
    output_params: tuple[resources_pb2.ModelTypeField, ...]


def _range(name: str, default: float, maximum: float, step: float, sentence: str) -> resources_pb2.ModelTypeField:
    return Field(
        path=f"output_info.params.{name}",
        field_type=Field.RANGE,
        default_value=to_value(default),
        description=sentence,
        placeholder=f"{default:g}",
        model_type_range_info=resources_pb2.ModelTypeRangeInfo(min=0, max=maximum, step=step),
    )


def _select_concepts() -> resources_pb2.ModelTypeField:
    return Field(
        path="output_info.params.select_concepts",
        field_type=Field.ARRAY_OF_MODEL_CONCEPTS,
        description="Return only these concepts, by id or name.",
        placeholder="concept ids",
    )


SHEETS = (
    _Sheet(
        id="visual-classifier",
        title="Visual Classifier",
        description="Classify what is in your images and video frames into a set of concepts.",
        output_fields=("concepts",),
        evaluation=resources_pb2.EvaluationType.Value("Classification"),
        output_params=(
            _range("max_concepts", 20, 1000, 1, "How many concepts a prediction returns at most."),
            _range("min_value", 0, 1, 0.01, "Concepts with a lower probability are left out."),
            _select_concepts(),
        ),
    ),
    _Sheet(
        id="visual-detector",
        title="Visual Detector",
        description="Find objects in your images and video frames: a bounding box and a concept for each.",
        output_fields=("regions[...].region_info.bounding_box", "regions[...].data.concepts"),
        evaluation=resources_pb2.EvaluationType.Value("Detection"),
        output_params=(
            _range("min_value", 0, 1, 0.01, "Boxes with a lower score are left out."),
            _select_concepts(),
            _range("detection_threshold", DEFAULT_THRESHOLD, 1, 0.01, "Boxes with a score above this are returned."),
        ),
    ),
    _Sheet(
        id="visual-embedder",
        title="Visual Embedder",
        description="Turn images and video frames into vectors: like images into near ones.",
        output_fields=("embeddings",),
        evaluation=resources_pb2.EvaluationType.Value("Undefined"),
        output_params=(),
    ),
    _Sheet(
        id="embedding-classifier",
        title="Embedding Classifier",
        description="Classify images by what an embedder makes of them: trained in seconds on one's own embedder.",
        output_fields=("concepts",),
        evaluation=resources_pb2.EvaluationType.Value("Classification"),
        output_params=(
            _range("max_concepts", 20, 1000, 1, "How many concepts a prediction returns at most."),
            _select_concepts(),
            _range("min_value", 0, 1, 0.01, "Concepts with a lower probability are left out."),
        ),
    ),
)


def list_types() -> list[resources_pb2.ModelType]:
    """Every model type that has at least one template, and those that need no training."""
    trained = [_model_type(sheet) for sheet in SHEETS if templates.of_type(sheet.id)]
    return [*trained, clusterer_type(), *list_operator_types()]


def get_type(model_type_id: str) -> resources_pb2.ModelType:
    """One model type. Raises NotFound naming those there are."""
    for model_type in list_types():
        if model_type.id == model_type_id:
            return model_type
    known = ", ".join(model_type.id for model_type in list_types())
    raise NotFound(f"There is no model type {model_type_id!r}; there are: {known}.")


def is_trainable(model_type_id: str) -> bool:
    """Whether models of this type are trained from a template."""
    return any(sheet.id == model_type_id for sheet in SHEETS)


def is_creatable(model_type_id: str) -> bool:
    """Whether models of this type can be made."""
    return is_trainable(model_type_id) or is_operator(model_type_id) or model_type_id == CLUSTERER


def clusterer_type() -> resources_pb2.ModelType:
    """Clusters of an app's inputs, by their embeddings; services/clustering.py trains and evaluates them."""
    return resources_pb2.ModelType(
        id=CLUSTERER,
        title="Clusterer",
        description="Puts like images together: k-means on what the app's base workflow makes of its inputs.",
        input_fields=["image"],
        output_fields=["clusters"],
        trainable=True,
        creatable=True,
        evaluation_type=resources_pb2.EvaluationType.Value("Clustering"),
        model_type_fields=[
            *(_field(f"train_info.params.{knob.name}", knob) for knob in describe(ClustererForm)),
            _dataset_field("dataset_id", Field.DATASET_ID, "Cluster this dataset; none: all inputs of the app."),
        ],
    )


def _model_type(sheet: _Sheet) -> resources_pb2.ModelType:
    return resources_pb2.ModelType(
        id=sheet.id,
        title=sheet.title,
        description=sheet.description,
        input_fields=["image"],
        output_fields=sheet.output_fields,
        trainable=True,
        creatable=True,
        evaluation_type=sheet.evaluation,
        model_type_fields=[
            *_training_fields(templates.of_type(sheet.id)),
            _dataset_field("dataset_id", Field.DATASET_ID, "Train on this dataset; none: on all inputs of the app."),
            _dataset_field(
                "dataset_version_id", Field.DATASET_VERSION_ID, "Train on this frozen version of the dataset."
            ),
            _concepts_field(),
            *sheet.output_params,
        ],
    )


def _training_fields(of_type: Sequence[Template]) -> list[resources_pb2.ModelTypeField]:
    """The choice of a template; where there is none to choose, the hyperparameters themselves."""
    if all(template.needs_name for template in of_type):
        return [_template_field(of_type)]
    return [_field(f"train_info.params.{knob.name}", knob) for template in of_type for knob in describe(template.form)]


def _template_field(of_type: Sequence[Template]) -> resources_pb2.ModelTypeField:
    field = Field(
        path="train_info.params.template",
        field_type=Field.RECURSIVE_ENUM,
        description="The network and recipe to train with.",
        placeholder="Choose a template",
        required=True,
    )
    field.model_type_enum_options.extend(_template_option(template) for template in of_type)
    return field


def _template_option(template: Template) -> resources_pb2.ModelTypeEnumOption:
    option = resources_pb2.ModelTypeEnumOption(
        id=template.name,
        description=f"{template.description}\n{template.when}\n{template.measured}",
        recommended=template.is_recommended,
        model_type_fields=[_field(f"train_info.params.{knob.name}", knob) for knob in describe(template.form)],
    )
    for alias in template.aliases:
        option.aliases.add(wildcard_string=alias)
    return option


def _field(path: str, knob: Knob) -> resources_pb2.ModelTypeField:
    field = Field(path=path, description=knob.sentence, placeholder=knob.placeholder)
    field.field_type = KINDS[knob.kind]
    if knob.default is not None:
        field.default_value.CopyFrom(to_value(knob.default))
    if knob.minimum is not None:
        field.model_type_range_info.min = knob.minimum
    if knob.maximum is not None:
        field.model_type_range_info.max = knob.maximum
    if knob.step is not None:
        field.model_type_range_info.step = knob.step
    for name in knob.options:
        field.model_type_enum_options.add(id=name)
    return field


def _dataset_field(name: str, kind: int, sentence: str) -> resources_pb2.ModelTypeField:
    return Field(
        path=f"train_info.params.{name}",
        field_type=kind,
        description=sentence,
        placeholder=name.replace("_", " "),
    )


def _concepts_field() -> resources_pb2.ModelTypeField:
    return Field(
        path="output_info.data.concepts",
        field_type=Field.ARRAY_OF_CONCEPTS,
        description="The concepts to learn; none: all concepts of the app.",
        placeholder="concept ids",
        required=False,
    )
