"""Makes, once per Lehr, what the models of `clarifai/main` run on: the worker half of services/built_in.py.

It is published as a training publishes its bundle; killed anywhere, the next attempt makes only what is still missing.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lehr.jobs.queue import Job, Queue
from lehr.services.built_in import VERSIONS
from lehr.services.built_in_catalogue import CLUSTERS, CONCEPTS
from lehr.services.bundles import Bundles
from lehr.store import bundles as bundle_rows
from lehr.store import versions as version_rows
from lehr.store.db import Database
from lehr.store.versions import ModelVersionRef

if TYPE_CHECKING:
    from lehr.learn.bundle import Bundle


@dataclass(frozen=True, kw_only=True)
class BuiltInBundles:
    """Needs the store, the queue and a place for bundles."""

    db: Database
    queue: Queue
    bundles: Bundles

    def run(self, job: Job) -> None:
        """Makes the bundles that are missing, the embedder's first: searches wait for that one."""
        for vref in sorted(VERSIONS, key=lambda vref: vref.model_id == CONCEPTS):
            with self.db.read() as tx:
                is_there = bundle_rows.get(tx, vref) is not None
            if not is_there:
                self._publish(job, vref)

    def _publish(self, job: Job, vref: ModelVersionRef) -> None:
        with tempfile.TemporaryDirectory(dir=self.bundles.scratch()) as beside:
            bundle = self._written(vref, Path(beside) / "bundle")
            sha, size = self.bundles.pack(bundle.folder)
        with self.db.write() as tx:
            self.queue.fence(tx, job)
            bundle_rows.put(tx, vref, bundle_rows.Bundle(sha=sha, size=size))
            self.queue.progressed(tx, job)

    def _written(self, vref: ModelVersionRef, folder: Path) -> Bundle:
        from lehr.learn import built_in

        if vref.model_id == CLUSTERS:
            return built_in.write_clusterer(folder)
        if vref.model_id != CONCEPTS:
            return built_in.write_embedder(folder)
        with self.db.read() as tx:
            version = version_rows.get(tx, vref)
        assert version is not None, "the rows are made before the job"
        return built_in.write_classifier([concept.id for concept in version.output_info.data.concepts], folder)
