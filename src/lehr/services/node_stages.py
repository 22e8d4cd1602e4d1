"""From a node to its stage: finds the model, its bundle and its configuration; one method per kind of model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lehr.errors import InvalidPrediction, LehrError
from lehr.learn.clusters import Clusters, read_clusters
from lehr.learn.heads import read_head
from lehr.protocol import resources_pb2
from lehr.protocol.ids import PUBLIC_APP, AppRef
from lehr.protocol.structs import from_struct
from lehr.services.built_in_catalogue import BY_MODEL_ID, EMBEDDING
from lehr.services.neighbours import Neighbours
from lehr.services.operators import OPERATORS, operator_of
from lehr.services.predict import Predict, Ready
from lehr.services.telling import Choice, best_concepts, chosen, known_bundle
from lehr.services.workflow_graph import Step
from lehr.services.workflow_nodes import overridden, runnable
from lehr.services.workflow_stages import OperatorStage, PictureStage, Stage, Vectors, VectorStage
from lehr.store import labelled
from lehr.store.versions import ModelVersionRef

KNN_NEIGHBOURS = 5
_LOOKING = frozenset({"image-crop", "image-align", "image-tiling-operator"})


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A node of a run: its stage, and the model that its outputs name."""

    step: Step
    stage: Stage
    model: resources_pb2.Model


@dataclass(frozen=True, kw_only=True)
class NodeStages:
    """Needs predictions and the neighbours of embeddings."""

    predict: Predict
    neighbours: Neighbours

    def placed(self, ref: AppRef, steps: Sequence[Step], config: resources_pb2.OutputConfig) -> list[Placed]:
        """Every node made ready; `config` is what the request wants of all of them.

        Raises ModelNotFound, Untrained, Loading, Busy or what is wrong with a configuration, with the node's name.
        """
        found = []
        for step in steps:
            try:
                found.append(self._placed(ref, step, config))
            except LehrError as error:
                error.details = f"Node {step.node.id!r}: {error.details}"
                raise
        return found

    def _placed(self, ref: AppRef, step: Step, config: resources_pb2.OutputConfig) -> Placed:
        with self.predict.db.read() as tx:
            model, vref = runnable(tx, step.node)
        asked = resources_pb2.Model(output_info=step.node.output_info_override)
        asked.model_version.output_info.output_config.CopyFrom(config)
        order = _Order(ref=ref, step=step, model=model, vref=vref, asked=asked)
        return Placed(step=step, stage=self._stage(order), model=model)

    def _stage(self, order: _Order) -> Stage:
        operator = operator_of(order.model.model_type_id)
        if operator is not None:
            settings = operator.settings(overridden(order.model.model_version.output_info, order.step.node))
            return OperatorStage(operator=operator, settings=settings, looks=operator.model_type_id in _LOOKING)
        made = _MAKERS.get(order.model.model_type_id)
        if made is not None:
            return made(self, order)
        return PictureStage(ready=self._ready(order), per_region=order.step.fit.per_region)

    def _ready(self, order: _Order) -> Ready:
        """A selection of concepts that another node knows, and this one does not, leaves this one with nothing."""
        config = order.asked.model_version.output_info.output_config
        try:
            return self.predict.ready(order.ref, order.vref, order.asked)
        except InvalidPrediction:
            if not config.select_concepts:
                raise
            plain = resources_pb2.Model()
            plain.CopyFrom(order.asked)
            del plain.model_version.output_info.output_config.select_concepts[:]
            ready = self.predict.ready(order.ref, order.vref, plain)
            return replace(ready, tell=lambda values: resources_pb2.Data())

    def _head(self, order: _Order) -> Stage:
        """An embedding-classifier: on the embeddings of another node its last layer alone, else all of it."""
        ready = self._ready(order)
        if order.step.fit.field != "embeddings":
            return PictureStage(ready=ready, per_region=order.step.fit.per_region)
        head = read_head(ready.bundle.folder)

        def use(embeddings_ND: np.ndarray, of_regions: bool) -> list[resources_pb2.Data]:
            return ready.told(head.probabilities(embeddings_ND))

        return self._vectors(order, use, None)

    def _clusterer(self, order: _Order) -> Stage:
        folder = self.predict.bundles.folder_of(order.vref)
        clusters = read_clusters(folder)
        embedder = ModelVersionRef(PUBLIC_APP, EMBEDDING, BY_MODEL_ID[EMBEDDING].version_id)
        if known_bundle(folder).form.get("embedder"):
            embedder = ModelVersionRef.parse(known_bundle(folder).form["embedder"])
        return self._vectors(order, lambda vectors, _: _clustered(clusters, vectors), embedder)

    def _knn(self, order: _Order) -> Stage:
        info = overridden(order.model.model_version.output_info, order.step.node)
        k = from_struct(info.params).get("k") or KNN_NEIGHBOURS
        choice = chosen(order.model, order.asked)
        vote = Vote(
            neighbours=self.neighbours,
            ref=order.vref.app,
            k=int(k),  # type: ignore[arg-type]
            concepts={concept.id: concept.name or concept.id for concept in info.data.concepts},
            choice=choice,
        )
        is_given = order.step.fit.field == "embeddings"
        return self._vectors(order, vote, None if is_given else self.neighbours.embedder(order.vref.app))

    def _vectors(self, order: _Order, use: Vectors, embedder: ModelVersionRef | None) -> Stage:
        per_region = order.step.fit.per_region
        if order.step.fit.field == "embeddings" or embedder is None:
            return VectorStage(use=use, embedder=None, per_region=per_region)
        ready = self.predict.ready(order.ref, embedder, resources_pb2.Model())
        return VectorStage(use=use, embedder=PictureStage(ready=ready, per_region=per_region), per_region=per_region)


@dataclass(frozen=True, kw_only=True)
class _Order:
    """A node, its model, and what is wanted of it."""

    ref: AppRef
    """The app that runs the workflow."""
    step: Step
    model: resources_pb2.Model
    vref: ModelVersionRef
    asked: resources_pb2.Model


_MAKERS: Mapping[str, Callable[[NodeStages, _Order], Stage]] = {
    "embedding-classifier": NodeStages._head,
    "clusterer": NodeStages._clusterer,
    "knn-concept": NodeStages._knn,
}
assert not set(_MAKERS) & {operator.model_type_id for operator in OPERATORS}, "a model type is one or the other"


@dataclass(frozen=True, kw_only=True)
class Vote:
    """Concepts by the labels of the nearest labelled inputs (or regions) of an app."""

    neighbours: Neighbours
    ref: AppRef
    k: int
    concepts: Mapping[str, str]
    """Those that may be voted for, with their names; none: all of the app."""
    choice: Choice

    def __call__(self, embeddings_ND: np.ndarray, of_regions: bool) -> list[resources_pb2.Data]:
        """One answer per embedding [N, D], by labels of inputs or of regions."""
        with self.neighbours.db.read() as tx:
            labels = labelled.labels(tx, self.ref, list(self.concepts), of_regions=of_regions)
        carried: dict[int, set[str]] = {}
        for label in labels:
            key = label.annotation_key if of_regions else label.input_key
            carried.setdefault(key, set()).add(label.concept_id)
        return [self._elected(vector_D, carried, of_regions) for vector_D in embeddings_ND]

    def _elected(self, vector_D: np.ndarray, carried: Mapping[int, set[str]], of_regions: bool) -> resources_pb2.Data:
        """Each neighbour votes with its likeness; a concept's value is its share of all votes."""
        of = "annotations" if of_regions else "inputs"
        found = self.neighbours.nearest(self.ref, vector_D, among=list(carried), k=self.k, of=of)  # type: ignore[arg-type]
        ids = list(self.concepts) or sorted(set().union(*carried.values()))
        votes = np.zeros(len(ids))
        weights = [max(one.score, 1e-6) for one in found]
        for one, weight in zip(found, weights, strict=True):
            voters = carried[(one.annotation_key or 0) if of_regions else one.input_key]
            votes += [weight if concept_id in voters else 0.0 for concept_id in ids]
        shares = votes / max(sum(weights), 1e-9)
        data = resources_pb2.Data(concepts=best_concepts(shares, ids, dict(self.concepts), self.choice))
        for concept in data.concepts:
            concept.app_id, concept.user_id = self.ref.app_id, self.ref.user_id
        return data


def _clustered(clusters: Clusters, embeddings_ND: np.ndarray) -> list[resources_pb2.Data]:
    numbers_N = clusters.nearest(embeddings_ND)
    scores_N, places_N2 = clusters.scores(embeddings_ND, numbers_N), clusters.projections(embeddings_ND)
    return [
        resources_pb2.Data(
            clusters=[
                resources_pb2.Cluster(
                    id=str(number), count=int(clusters.counts_K[number]), score=float(score), projection=place.tolist()
                )
            ]
        )
        for number, score, place in zip(numbers_N.tolist(), scores_N, places_N2, strict=True)
    ]
