"""Applications: everything else belongs to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from lehr.errors import Duplicate, InvalidRequest, MissingScope, NotFound
from lehr.jobs.queue import Queue
from lehr.protocol import resources_pb2
from lehr.protocol.ids import PUBLIC_APP, AppRef, checked_id, new_id
from lehr.protocol.patch import patched
from lehr.services.base_dependents import refuse_app_in_use
from lehr.services.built_in import want
from lehr.services.built_in_catalogue import BY_WORKFLOW_ID, EMPTY
from lehr.services.paging import Paging
from lehr.services.reindex import begin, named_anew
from lehr.store import apps as app_rows
from lehr.store import inputs as input_rows
from lehr.store import workflows as workflow_rows
from lehr.store.db import Database

ACTIONS = ("overwrite", "remove")
INPUTS_AT_ONCE = 500
"""Deleted in one transaction: other writers wait for a fraction of a second."""
OF_EVERYBODY = frozenset(
    """
    GetApp GetModel ListModels GetModelOutputInfo GetModelVersion ListModelVersions ListModelTypes GetModelType
    ListModelConcepts PostModelsSearches ListModelReferences GetModelVersionInputExample ListModelVersionInputExamples
    PostModelOutputs GenerateModelOutputs StreamModelOutputs GetConcept ListConcepts PostConceptsSearches
    GetWorkflow ListWorkflows ListWorkflowVersions GetWorkflowVersion PostWorkflowResults
    """.split()  # noqa: SIM905
)
"""What anyone with a key may call on the built-in app. Everything else there is refused, whoever asks."""


@dataclass(frozen=True, kw_only=True)
class Apps:
    """Needs the store, and the queue to stop the jobs of a deleted app."""

    db: Database
    queue: Queue

    def admit(self, rpc: str, user_id: str, of_user: str, ref: AppRef | None) -> None:
        """Lets the owner in, and everybody to the built-in app, to use it.

        What is not there and what is somebody else's get the same NotFound. Raises MissingScope for an RPC that would
        change what is built in.
        """
        if ref == PUBLIC_APP:
            _check_use(rpc)
            return
        if of_user != user_id:
            raise NotFound(f"User {of_user!r} does not exist.")
        if ref is None:
            return
        with self.db.read() as tx:
            if ref.user_id != user_id or not app_rows.exists(tx, ref):
                raise NotFound(f"App {ref.app_id!r} does not exist.")

    def create(self, user_id: str, wanted: Sequence[resources_pb2.App]) -> list[resources_pb2.App]:
        """Makes the apps, all or none. Raises Duplicate if one exists."""
        if not wanted:
            raise InvalidRequest("No app was given: `apps` is empty.")
        made = [self._new(user_id, order) for order in wanted]
        with self.db.write() as tx:
            for app in made:
                _check_workflow(tx, user_id, app.default_workflow)
                if app_rows.exists(tx, AppRef(user_id, app.id)):
                    raise Duplicate(f"App {app.id!r} already exists.")
                app_rows.insert(tx, app)
                if app.default_workflow.id != EMPTY:
                    want(tx, self.queue)
        return made

    def get(self, ref: AppRef) -> resources_pb2.App:
        """The app. Raises NotFound."""
        with self.db.read() as tx:
            return self._found(tx, ref)

    def list_of(self, user_id: str, paging: Paging, *, name: str = "") -> list[resources_pb2.App]:
        """A page of the user's apps, newest first; `name` may hold `*`."""
        with self.db.read() as tx:
            return app_rows.page(tx, user_id, page=paging.page, per_page=paging.per_page, name=name)

    def patch(
        self,
        user_id: str,
        changes: Sequence[resources_pb2.App],
        action: str,
        *,
        reindex: bool = False,
        confined: bool = False,
    ) -> list[resources_pb2.App]:
        """Changes names, descriptions, metadata, sample_ms or default workflow; ids and owners stay.

        `reindex`: the index is built on the default workflow's embedder; without, it stays on the one that it has.
        `confined`: workflows and models of the owner's other apps are out of reach.
        """
        if (action or "overwrite") not in ACTIONS:
            raise InvalidRequest(f"Apps are patched with {' or '.join(ACTIONS)}, not with {action!r}.")
        done = []
        with self.db.write() as tx:
            for change in changes:
                stored = self._found(tx, AppRef(user_id, change.id))
                app = patched(stored, change, action or "overwrite")
                app.id, app.user_id = stored.id, stored.user_id
                app.created_at.CopyFrom(stored.created_at)
                ref = AppRef(app.user_id, app.id)
                named_anew(tx, app, stored, change, confined=confined)
                app_rows.update(tx, app)
                if reindex:
                    begin(tx, self.queue, ref)
                done.append(app)
        return done

    def delete(self, ref: AppRef) -> None:
        """Removes the app with everything in it and stops its jobs. Raises NotFound, InvalidRequest for one in use.

        Its inputs go first, some at a time: others write in between. Killed there, it is to be deleted again.
        """
        with self.db.write() as tx:
            refuse_app_in_use(tx, ref)
            self._found(tx, ref)
            self.queue.cancel_under(tx, f"{ref.user_id}/{ref.app_id}/")
            last = input_rows.newest_key(tx, ref)
        gone = INPUTS_AT_ONCE
        while gone == INPUTS_AT_ONCE:
            with self.db.write() as tx:
                gone = input_rows.delete_some(tx, ref, up_to=last, limit=INPUTS_AT_ONCE)
        with self.db.write() as tx:
            refuse_app_in_use(tx, ref)
            self.queue.cancel_under(tx, f"{ref.user_id}/{ref.app_id}/")
            if not app_rows.delete(tx, ref):
                raise NotFound(f"App {ref.app_id!r} does not exist.")

    @staticmethod
    def _found(tx: Connection, ref: AppRef) -> resources_pb2.App:
        app = app_rows.get(tx, ref)
        if app is None:
            raise NotFound(f"App {ref.app_id!r} does not exist.")
        return app

    @staticmethod
    def _new(user_id: str, order: resources_pb2.App) -> resources_pb2.App:
        app = resources_pb2.App()
        app.CopyFrom(order)
        app.id = checked_id(order.id, "App") if order.id else new_id()
        app.user_id, app.name = user_id, order.name or app.id
        app.default_language = order.default_language or "en"
        app.ClearField("created_at")
        _name_workflow(app)
        return app


def _check_use(rpc: str) -> None:
    if rpc not in OF_EVERYBODY:
        raise MissingScope(
            f"{rpc} is not possible on {PUBLIC_APP.user_id}/{PUBLIC_APP.app_id}: what is built in is there for "
            "everybody to use and for nobody to change. Name an app of your own."
        )


def _name_workflow(app: resources_pb2.App) -> None:
    """Fills in what a new app leaves open of its default workflow: a bare id means a built-in one, none `Empty`."""
    workflow = app.default_workflow
    workflow.id = workflow.id or app.default_workflow_id or EMPTY
    if not workflow.app_id or (workflow.user_id or app.user_id, workflow.app_id) == (app.user_id, app.id):
        workflow.user_id, workflow.app_id = PUBLIC_APP.user_id, PUBLIC_APP.app_id
    workflow.user_id = workflow.user_id or app.user_id
    app.default_workflow_id = workflow.id


def _check_workflow(tx: Connection, user_id: str, workflow: resources_pb2.Workflow) -> None:
    """Raises InvalidRequest where a new app names a workflow that is not there, or is not its owner's to use."""
    ref = AppRef(workflow.user_id, workflow.app_id)
    if ref == PUBLIC_APP and workflow.id in BY_WORKFLOW_ID:
        return
    if ref.user_id != user_id or workflow_rows.get(tx, ref, workflow.id) is None:
        raise InvalidRequest(
            f"default_workflow {workflow.id!r} of {ref.user_id}/{ref.app_id} does not exist; built in are: "
            f"{', '.join(BY_WORKFLOW_ID)}."
        )
