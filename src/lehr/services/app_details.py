"""Apps in detail: found by name, counted, described, and given other ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from lehr.errors import InvalidRequest, NotFound
from lehr.jobs.queue import Queue
from lehr.protocol import resources_pb2, service_pb2
from lehr.protocol.ids import AppRef, checked_id
from lehr.protocol.patch import OVERWRITE, checked_action
from lehr.services.apps import Apps
from lehr.services.paging import Paging
from lehr.store import app_ids, datasets, inputs, models, workflows
from lehr.store import apps as app_rows
from lehr.store.db import Database

WORDS = ("name", "description", "notes", "metadata", "visibility", "sample_ms", "is_template", "image")
"""What PatchAppsDetails changes; all else of an app needs PatchApps."""


@dataclass(frozen=True, kw_only=True)
class AppDetails:
    """Needs the store, the queue to know what is under way, and the rules of PATCH for apps."""

    db: Database
    queue: Queue
    apps: Apps

    def describe(self, ref: AppRef, changes: Sequence[resources_pb2.App], action: str) -> list[resources_pb2.App]:
        """Changes what is said of the app. Raises InvalidRequest for another app, or for what needs PatchApps."""
        if len(changes) != 1 or changes[0].id not in ("", ref.app_id):
            raise InvalidRequest(f"One app is changed here, {ref.app_id!r}: send it alone, with this id or none.")
        [change] = changes
        beyond = [field.name for field, _ in change.ListFields() if field.name not in (*WORDS, "id", "user_id")]
        if beyond:
            raise InvalidRequest(f"{', '.join(beyond)}: use PatchApps; here are changed: {', '.join(WORDS)}.")
        change.id = ref.app_id
        return self.apps.patch(ref.user_id, [change], action)

    def rename(
        self, user_id: str, changes: Sequence[service_pb2.IdUpdateSource], action: str
    ) -> list[resources_pb2.App]:
        """Gives apps new ids, all or none. Raises NotFound, Duplicate, InvalidRequest for an app at work."""
        checked_action(action or OVERWRITE, [OVERWRITE])
        if not changes:
            raise InvalidRequest("No app was named: `ids` is a list of {id, new_id}.")
        with self.db.write() as tx:
            return [self._renamed(tx, AppRef(user_id, change.id), change.new_id) for change in changes]

    def _renamed(self, tx: Connection, ref: AppRef, new_id: str) -> resources_pb2.App:
        checked_id(new_id, "App")
        if new_id != ref.app_id:
            self._check_idle(tx, ref)
            app_ids.rename(tx, ref, new_id)
        app = app_rows.get(tx, AppRef(ref.user_id, new_id))
        if app is None:
            raise NotFound(f"App {ref.app_id!r} does not exist.")
        return app

    def _check_idle(self, tx: Connection, ref: AppRef) -> None:
        """A job knows what it works on by the app's id."""
        busy = self.queue.busy_under(tx, f"{ref.user_id}/{ref.app_id}")
        if busy:
            raise InvalidRequest(
                f"App {ref.app_id!r} cannot get another id while {len(busy)} jobs in it are under way, or build on its "
                f"models ({', '.join(sorted({view.job.kind for view in busy}))}): wait for them."
            )

    def search(self, user_id: str, name: str, paging: Paging) -> list[resources_pb2.App]:
        """A page of the user's apps, newest first, whose id or name is `name`; `*` stands for anything."""
        with self.db.read() as tx:
            return app_rows.page_like(tx, user_id, name, **paging._asdict())

    def counts(self, ref: AppRef) -> service_pb2.GetResourceCountsResponse:
        """How much there is in the app."""
        with self.db.read() as tx:
            return service_pb2.GetResourceCountsResponse(
                datasets=datasets.count(tx, ref),
                models=models.count(tx, ref),
                workflows=workflows.count(tx, ref),
                inputs=inputs.count(tx, ref),
            )
