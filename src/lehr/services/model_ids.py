"""Models get other ids. What names them by id follows where it is theirs, and otherwise keeps them as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from lehr.errors import InvalidModel, InvalidRequest
from lehr.jobs.queue import Queue
from lehr.protocol import resources_pb2, service_pb2
from lehr.protocol.ids import AppRef, checked_id
from lehr.protocol.patch import OVERWRITE, checked_action
from lehr.services.models import found_model, with_version
from lehr.services.paging import MAX_PER_PAGE
from lehr.store import embeddings
from lehr.store import model_ids as rows
from lehr.store import versions as version_rows
from lehr.store import workflows as workflow_rows
from lehr.store.db import Database


@dataclass(frozen=True, kw_only=True)
class ModelIds:
    """Needs the store, and the queue to know what is under way."""

    db: Database
    queue: Queue

    def rename(
        self, ref: AppRef, changes: Sequence[service_pb2.IdUpdateSource], action: str
    ) -> list[resources_pb2.Model]:
        """Gives models new ids, all or none, in the order given.

        Raises ModelNotFound, Duplicate, or InvalidModel for a model at work, or one that a workflow names.
        """
        checked_action(action or OVERWRITE, [OVERWRITE])
        if not changes:
            raise InvalidRequest("No model was named: `ids` is a list of {id, new_id}.")
        with self.db.write() as tx:
            for change in changes:
                self._rename(tx, ref, change.id, checked_id(change.new_id, "Model", refuse=InvalidModel))
            ids = [change.new_id for change in changes]
            newest = version_rows.latest(tx, ref, ids)
            return [with_version(found_model(tx, ref, one), newest.get(one)) for one in ids]

    def _rename(self, tx: Connection, ref: AppRef, old_id: str, new_id: str) -> None:
        found_model(tx, ref, old_id)
        if new_id == old_id:
            return
        self._check_idle(tx, ref, old_id)
        _check_unnamed(tx, ref, old_id)
        rows.rename(tx, ref, old_id, new_id)

    def _check_idle(self, tx: Connection, ref: AppRef, model_id: str) -> None:
        """A job knows its version by the model's id."""
        for view in self.queue.busy_under(tx, f"{ref.user_id}/{ref.app_id}/{model_id}"):
            raise InvalidModel(
                f"Model {model_id!r} cannot get another id while a job ({view.job.kind}) for {view.job.subject}, which "
                "is of it or builds on it, is under way: wait for it, or delete that version."
            )


def _check_unnamed(tx: Connection, ref: AppRef, model_id: str) -> None:
    """Raises InvalidModel where a workflow of the app, or an index, would lose the model."""
    searching = [app.app_id for app, _ in embeddings.built_on(tx, f"{ref.user_id}/{ref.app_id}/{model_id}/")]
    if searching:
        raise InvalidModel(
            f"Model {model_id!r} cannot get another id: it makes the vectors that searches in app {searching[0]!r} "
            "compare."
        )
    own = {(user, app) for user in ("", ref.user_id) for app in ("", ref.app_id)}
    naming = [
        workflow.id
        for workflow in workflow_rows.page(tx, ref, page=1, per_page=10 * MAX_PER_PAGE)
        if any(node.model.id == model_id and (node.model.user_id, node.model.app_id) in own for node in workflow.nodes)
    ]
    if naming:
        raise InvalidModel(
            f"Model {model_id!r} cannot get another id: workflows name it by this one ({', '.join(naming[:5])}). "
            "Delete or change them first."
        )
