"""What a version tells of its training: what was noticed, why it failed; concepts, metrics, how to make it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lehr.errors import LehrError
from lehr.learn.metrics.detection import DetectorEvaluation
from lehr.learn.metrics.embedding import EmbeddingEvaluation
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.statuses import status
from lehr.protocol.structs import Plain, from_struct, to_struct
from lehr.services import detection_metrics

if TYPE_CHECKING:
    from lehr.learn.bundle import AnyEvaluation, Bundle
    from lehr.learn.data.dataset import Data
    from lehr.learn.items import Finding

SHOWN_ITEMS = 60
"""Of those behind a finding; the sentence says how many there are."""
_KEPT = frozenset(
    """
    template form lrate schedule net pretrained versions device seed serving
    """.split()  # noqa: SIM905
)
"""Facts of the model folder that the version tells too."""


def note(version: resources_pb2.ModelVersion, findings: Sequence[Finding], warnings: Sequence[str]) -> list[str]:
    """Writes what was noticed before the first step into the version's metadata; the findings that were not there yet.

    It stays whatever becomes of the training: `describe_trained` writes it once more, beside the rest.
    """
    before = from_struct(version.metadata).get("lehr")
    told = before.get("findings") if isinstance(before, dict) else None  # users write metadata, too
    known = {each.get("text") for each in told if isinstance(each, dict)} if isinstance(told, list) else set()
    _write(version, {"findings": _told(findings), "warnings": list(warnings)})
    return [each.text for each in findings if each.text not in known]


def describe_trained(
    version: resources_pb2.ModelVersion,
    bundle: Bundle,
    evaluation: AnyEvaluation | None,
    data: Data,
    warnings: Sequence[str],
) -> None:
    """Fills the version in place. `warnings`: those of its order, which come before those of the training."""
    _list_concepts(version, bundle)
    version.active_concept_count = len(bundle.concepts)
    version.total_input_count = data.num_train + data.num_held_out
    if evaluation:
        version.metrics.status.CopyFrom(status(status_code_pb2.MODEL_EVALUATED))
        version.metrics.summary.CopyFrom(summary_of(evaluation))
    else:
        version.metrics.status.CopyFrom(status(status_code_pb2.MODEL_NOT_EVALUATED, "No items were kept back."))
    facts = _facts(bundle, data)
    _write(version, {**facts, "warnings": [*warnings, *bundle.details["warnings"]]})


def sentence_of(evaluation: AnyEvaluation | None) -> str:
    """The last line of a training's log."""
    if evaluation is None:
        return "Trained. No items were kept back to evaluate on."
    figures = evaluation.summary()
    shown = {"top1_accuracy": "accuracy", "map_50": "mean average precision at IoU 0.5"}
    found = "".join(f", {words} {figures[name]:.4f}" for name, words in shown.items() if figures.get(name) is not None)
    return f"Trained: {evaluation.num_items} held-out items{found}."


def reason_of(error: Exception) -> str:
    """The sentence for the user. What we did not foresee names its kind and where to read more."""
    if isinstance(error, LehrError):
        return error.details or type(error).__name__
    return f"{type(error).__name__}: {error}. The server's own log has the details."


def _write(version: resources_pb2.ModelVersion, facts: dict[str, Plain]) -> None:
    """Into the metadata, beside what the user keeps there."""
    for name, value in to_struct({"lehr": facts}).fields.items():
        version.metadata.fields[name].CopyFrom(value)


def _list_concepts(version: resources_pb2.ModelVersion, bundle: Bundle) -> None:
    """Names the concepts that the version knows, those of the app where the request named none."""
    listed = {concept.id for concept in version.output_info.data.concepts}
    for concept_id in bundle.concepts:
        if concept_id not in listed:
            version.output_info.data.concepts.add(id=concept_id, name=concept_id, app_id=version.app_id)


def summary_of(evaluation: AnyEvaluation) -> resources_pb2.MetricsSummary:
    """The summary as clients read it."""
    if isinstance(evaluation, DetectorEvaluation):
        return detection_metrics.summary(evaluation)
    if isinstance(evaluation, EmbeddingEvaluation):
        return _summary_of_embedding(evaluation)
    return resources_pb2.MetricsSummary(
        top1_accuracy=evaluation.top1_accuracy,
        macro_avg_roc_auc=evaluation.macro_roc_auc,
        macro_std_roc_auc=evaluation.macro_std_roc_auc,
        macro_avg_f1_score=evaluation.macro_f1,
        macro_std_f1_score=evaluation.macro_std_f1,
        macro_avg_precision=evaluation.macro_precision,
        macro_avg_recall=evaluation.macro_recall,
    )


def _summary_of_embedding(evaluation: EmbeddingEvaluation) -> resources_pb2.MetricsSummary:
    """Accuracy of the nearest neighbour, and how often one of the five nearest is right."""
    if evaluation.best is None:
        return resources_pb2.MetricsSummary()
    return resources_pb2.MetricsSummary(
        top1_accuracy=evaluation.best.recall_at_1, top5_accuracy=evaluation.best.recall_at_5
    )


def _facts(bundle: Bundle, data: Data) -> dict[str, Plain]:
    """Enough to make the same weights again, and what was noticed before training."""
    facts: dict[str, Plain] = {name: value for name, value in bundle.details.items() if name in _KEPT}
    return {
        **facts,
        "data": data.fingerprint,
        "findings": _told(data.findings),
        "thresholds": {name: float(value) for name, value in bundle.thresholds.items()},
    }


def _told(findings: Sequence[Finding]) -> list[Plain]:
    return [{"kind": each.kind, "text": each.text, "item_ids": list(each.item_ids[:SHOWN_ITEMS])} for each in findings]
