"""What answers each RPC, noun by noun. Nothing here decides anything."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cached_property

from lehr.api.rpcs.annotation_filters import AnnotationFilterRpcs
from lehr.api.rpcs.annotations import AnnotationRpcs
from lehr.api.rpcs.app_details import AppDetailRpcs
from lehr.api.rpcs.apps import AppRpcs
from lehr.api.rpcs.bulk_operations import BulkRpcs
from lehr.api.rpcs.concept_details import ConceptDetailRpcs
from lehr.api.rpcs.concepts import ConceptRpcs
from lehr.api.rpcs.dataset_exports import DatasetExportRpcs
from lehr.api.rpcs.datasets import DatasetRpcs
from lehr.api.rpcs.estimates import EstimateRpcs
from lehr.api.rpcs.evaluations import EvaluationRpcs
from lehr.api.rpcs.inputs import InputRpcs
from lehr.api.rpcs.model_details import ModelDetailRpcs
from lehr.api.rpcs.model_exports import ModelExportRpcs
from lehr.api.rpcs.model_streams import ModelStreamRpcs
from lehr.api.rpcs.models import ModelRpcs
from lehr.api.rpcs.people import PeopleRpcs
from lehr.api.rpcs.searches import SearchRpcs
from lehr.api.rpcs.statuses import StatusRpcs
from lehr.api.rpcs.tracks import TrackRpcs
from lehr.api.rpcs.uploads import UploadRpcs
from lehr.api.rpcs.workflows import WorkflowRpcs
from lehr.index.library import Library
from lehr.jobs.queue import Queue
from lehr.services.add_jobs import AddJobs
from lehr.services.annotation_filters import AnnotationFilters
from lehr.services.annotation_writing import AnnotationWriting
from lehr.services.annotations import Annotations
from lehr.services.app_details import AppDetails
from lehr.services.apps import Apps
from lehr.services.bases import Bases
from lehr.services.bulk_operations import BulkOperations
from lehr.services.bundles import Bundles
from lehr.services.collaborators import Collaborators
from lehr.services.concept_details import ConceptDetails
from lehr.services.concept_relations import ConceptRelations
from lehr.services.concepts import Concepts
from lehr.services.dataset_exports import DatasetExports
from lehr.services.dataset_metrics import DatasetMetrics
from lehr.services.dataset_versions import DatasetVersions
from lehr.services.datasets import Datasets
from lehr.services.estimates import Estimates
from lehr.services.evaluations import Evaluations
from lehr.services.exports import Exports
from lehr.services.extractions import Extractions
from lehr.services.inputs import Inputs
from lehr.services.keys import Keys
from lehr.services.log_entries import LogEntries
from lehr.services.manifests import Manifests
from lehr.services.model_ids import ModelIds
from lehr.services.model_inputs import ModelInputs
from lehr.services.model_outputs import ModelOutputs
from lehr.services.model_references import ModelReferences
from lehr.services.model_tags import ModelTags
from lehr.services.models import Models
from lehr.services.neighbours import Neighbours
from lehr.services.node_stages import NodeStages
from lehr.services.predict import Predict
from lehr.services.probes import Probes
from lehr.services.publications import Publications
from lehr.services.ranks import Ranks
from lehr.services.saved_searches import SavedSearches
from lehr.services.searches import Searches
from lehr.services.signing import Signer
from lehr.services.track_annotations import TrackAnnotations
from lehr.services.tracks import Tracks
from lehr.services.training import Orders
from lehr.services.uploads import Uploads
from lehr.services.users import Users
from lehr.services.workflow_runs import WorkflowRuns
from lehr.services.workflows import Workflows
from lehr.serving.decoders import DecoderPool
from lehr.serving.fetch import Fetcher
from lehr.serving.predictors import Predictors
from lehr.settings import Settings
from lehr.store.blobs import Blobs
from lehr.store.db import Database

LEHR = (sys.executable, "-m", "lehr")
"""This very Lehr, as a command."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """What every process of one Lehr shares."""

    db: Database
    blobs: Blobs
    queue: Queue
    bundles: Bundles


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the services of the control plane are made of."""

    settings: Settings
    store: Store
    predictors: Predictors
    decoders: DecoderPool
    signer: Signer

    @cached_property
    def fetcher(self) -> Fetcher:
        """Reads URLs, but none of the private ones."""
        return Fetcher(allow=self.settings.fetch_allow)

    @cached_property
    def predict(self) -> Predict:
        """Predictions of trained versions."""
        store = self.store
        return Predict(
            db=store.db,
            blobs=store.blobs,
            bundles=store.bundles,
            decoders=self.decoders,
            predictors=self.predictors,
            fetcher=self.fetcher,
        )

    @cached_property
    def neighbours(self) -> Neighbours:
        """Vectors of pictures, and what is near them."""
        return Neighbours(
            db=self.store.db,
            bundles=self.store.bundles,
            decoders=self.decoders,
            predictors=self.predictors,
            library=Library(self.settings.home / "cache" / "index"),
        )


def implementations(parts: Parts) -> list[object]:
    """Every group of RPCs."""
    return [*_resources(parts), *_searches(parts), *_learning(parts), *_around(parts), StatusRpcs()]


def _resources(parts: Parts) -> list[object]:
    """People, apps, concepts, inputs, annotations, data sets."""
    db, blobs, queue = parts.store.db, parts.store.blobs, parts.store.queue
    return [
        AppRpcs(users=Users(db=db), apps=Apps(db=db, queue=queue), keys=Keys(db=db)),
        ConceptRpcs(concepts=Concepts(db=db)),
        InputRpcs(inputs=Inputs(db=db, blobs=blobs, queue=queue), add_jobs=AddJobs(db=db, queue=queue)),
        UploadRpcs(uploads=Uploads(db=db, blobs=blobs, queue=queue), extractions=Extractions(db=db, queue=queue)),
        AnnotationRpcs(annotations=Annotations(db=db)),
        TrackRpcs(tracks=Tracks(db=db), track_annotations=TrackAnnotations(db=db), manifests=Manifests(db=db)),
        DatasetExportRpcs(
            exports=DatasetExports(db=db, queue=queue),
            metrics=DatasetMetrics(db=db, queue=queue),
            signer=parts.signer,
        ),
        AnnotationFilterRpcs(filters=AnnotationFilters(db=db)),
        DatasetRpcs(datasets=Datasets(db=db), versions=DatasetVersions(db=db)),
    ]


def _searches(parts: Parts) -> list[object]:
    """What finds inputs and annotations."""
    db, neighbours = parts.store.db, parts.neighbours
    ranks = Ranks(neighbours=neighbours, blobs=parts.store.blobs, fetcher=parts.fetcher)
    searches = Searches(db=db, neighbours=neighbours, ranks=ranks)
    return [
        SearchRpcs(searches=searches, saved=SavedSearches(db=db, searches=searches)),
        BulkRpcs(bulk=BulkOperations(db=db, queue=parts.store.queue, searches=searches)),
    ]


def _around(parts: Parts) -> list[object]:
    """Collaborators, scopes, logs; apps and concepts in detail."""
    db, queue = parts.store.db, parts.store.queue
    return [
        PeopleRpcs(collaborators=Collaborators(db=db), logs=LogEntries(db=db)),
        AppDetailRpcs(details=AppDetails(db=db, queue=queue, apps=Apps(db=db, queue=queue))),
        ConceptDetailRpcs(relations=ConceptRelations(db=db), details=ConceptDetails(db=db)),
    ]


def _learning(parts: Parts) -> list[object]:
    """Models, trainings, predictions, evaluations."""
    db, queue = parts.store.db, parts.store.queue
    models = Models(db=db, queue=queue)
    orders = Orders(db=db, queue=queue, bases=Bases(db=db, bundles=parts.store.bundles))
    return [
        ModelRpcs(models=models, orders=orders, predict=_outputs(parts), signer=parts.signer),
        WorkflowRpcs(workflows=Workflows(db=db), runs=_runs(parts)),
        _details(parts, models),
        ModelStreamRpcs(predict=_outputs(parts)),
        ModelExportRpcs(exports=Exports(db=db, queue=queue), signer=parts.signer),
        EstimateRpcs(estimates=_estimates(parts)),
        EvaluationRpcs(evaluations=Evaluations(db=db, blobs=parts.store.blobs, queue=queue)),
    ]


def _runs(parts: Parts) -> WorkflowRuns:
    db = parts.store.db
    nodes = NodeStages(predict=parts.predict, neighbours=parts.neighbours)
    return WorkflowRuns(db=db, nodes=nodes, writing=AnnotationWriting(db=db))


def _outputs(parts: Parts) -> ModelOutputs:
    """Predictions with models of every type: those that are not trained run as workflows of one node."""
    return ModelOutputs(db=parts.store.db, predict=parts.predict, runs=_runs(parts))


def _details(parts: Parts, models: Models) -> ModelDetailRpcs:
    db = parts.store.db
    return ModelDetailRpcs(
        models=models,
        tags=ModelTags(db=db),
        ids=ModelIds(db=db, queue=parts.store.queue),
        inputs=ModelInputs(db=db),
        references=ModelReferences(db=db),
        publications=Publications(db=db),
    )


def _estimates(parts: Parts) -> Estimates:
    settings, store = parts.settings, parts.store
    return Estimates(
        db=store.db,
        blobs=store.blobs,
        bases=Bases(db=store.db, bundles=store.bundles),
        decoders=parts.decoders,
        probes=Probes(
            command=[*LEHR, "probe"],
            folder=settings.home / "cache" / "probes",
            environment={**os.environ, **settings.to_environment()},
        ),
    )
