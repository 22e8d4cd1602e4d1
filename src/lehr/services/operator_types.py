"""How model types that nobody trains are listed, and how their models are made: a version of one works at once."""

from __future__ import annotations

from lehr.errors import InvalidModel, InvalidParams
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.statuses import status
from lehr.protocol.structs import to_value
from lehr.services.operators import OPERATORS, Operator, Parameter, operator_of

Field = resources_pb2.ModelTypeField
KNN = "knn-concept"
_NEIGHBOURS = Parameter(
    name="k",
    kind="number",
    default=5,
    minimum=1,
    maximum=1000,
    step=1,
    sentence="How many of the nearest labelled inputs vote.",
)
_KNN = Operator(
    model_type_id=KNN,
    title="KNN Concept",
    description="Concepts by the labels of the app's nearest inputs: nothing to train, and every new label counts.",
    input_fields=("image",),
    output_fields=("concepts",),
    parameters=(_NEIGHBOURS,),
    has_concepts=True,
    run=lambda item, scene, settings: item,
)
"""What it needs of an operator; its work is done by services/node_stages.py, which can search."""
UNTRAINED_TYPES = (*OPERATORS, _KNN)


def is_operator(model_type_id: str) -> bool:
    """Whether models of this type work without training."""
    return model_type_id == KNN or operator_of(model_type_id) is not None


def settle(version: resources_pb2.ModelVersion, model_type_id: str) -> None:
    """Checks the configuration of a version of such a type and marks it trained: there is nothing to train.

    Raises InvalidParams with every problem at once, InvalidModel for concepts without thresholds that mean nothing.
    """
    operator = _KNN if model_type_id == KNN else operator_of(model_type_id)
    assert operator is not None, f"{model_type_id} is trained"
    settings = operator.settings(version.output_info)
    if settings.concepts and not operator.has_concepts:
        raise InvalidModel(f"A model of type {model_type_id} has no concepts of its own; leave output_info.data out.")
    wrong = [concept.id for concept in settings.concepts if not 0 <= concept.value <= 1]
    if wrong:
        raise InvalidParams([f"output_info.data.concepts: a value is from 0 to 1; wrong are: {', '.join(wrong)}."])
    if version.train_info.ListFields():
        raise InvalidModel(f"A model of type {model_type_id} is not trained; leave train_info out.")
    version.status.CopyFrom(status(status_code_pb2.MODEL_TRAINED))


def list_operator_types() -> list[resources_pb2.ModelType]:
    """As ListModelTypes shows them, with other ids of the same types at the end."""
    return [_model_type(one, name) for one in UNTRAINED_TYPES for name in (one.model_type_id, *one.aliases)]


def _model_type(operator: Operator, model_type_id: str) -> resources_pb2.ModelType:
    concepts = [_concepts_field(operator)] if operator.has_concepts else []
    return resources_pb2.ModelType(
        id=model_type_id,
        title=operator.title,
        description=operator.description,
        input_fields=operator.input_fields,
        output_fields=operator.output_fields,
        trainable=False,
        creatable=True,
        model_type_fields=[*concepts, *(_field(parameter) for parameter in operator.parameters)],
    )


def _concepts_field(operator: Operator) -> resources_pb2.ModelTypeField:
    thresholds = operator.model_type_id != KNN
    return Field(
        path="output_info.data.concepts",
        field_type=Field.ARRAY_OF_CONCEPTS_WITH_THRESHOLD if thresholds else Field.ARRAY_OF_CONCEPTS,
        description="Concepts, with thresholds for values." if thresholds else "Concepts that can be voted for.",
        placeholder="concept ids",
    )


def _field(parameter: Parameter) -> resources_pb2.ModelTypeField:
    field = Field(
        path=f"output_info.params.{parameter.name}",
        field_type=_kind(parameter),
        description=parameter.sentence,
        placeholder=parameter.name.replace("_", " "),
    )
    if parameter.default not in ({}, (), ""):
        field.default_value.CopyFrom(to_value(parameter.default))
    if parameter.minimum is not None and parameter.maximum is not None:
        field.model_type_range_info.min, field.model_type_range_info.max = parameter.minimum, parameter.maximum
        field.model_type_range_info.step = parameter.step or 0
    for name in parameter.options or ():
        field.model_type_enum_options.add(id=name)
    return field


def _kind(parameter: Parameter) -> resources_pb2.ModelTypeField.ModelTypeFieldType:
    if parameter.kind == "number":
        return Field.RANGE if parameter.maximum is not None else Field.NUMBER
    kinds = {"enum": Field.ENUM, "text": Field.STRING, "texts": Field.ARRAY_OF_STRINGS, "mapping": Field.JSON}
    return kinds[parameter.kind]
