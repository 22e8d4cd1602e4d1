"""RPCs of collaborators, scopes, logs and licences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lehr.api.calls import Call
from lehr.errors import InvalidRequest, MissingScope
from lehr.protocol import service_pb2, status_pb2
from lehr.services import scopes
from lehr.services.collaborators import Collaborators
from lehr.services.licences import OPEN_SOURCE_LICENCES
from lehr.services.log_entries import LogEntries
from lehr.services.paging import paging


@dataclass(frozen=True, kw_only=True)
class PeopleRpcs:
    """Who may do what, and what a training says meanwhile."""

    collaborators: Collaborators
    logs: LogEntries

    def ListCollaborators(
        self, call: Call, request: service_pb2.ListCollaboratorsRequest
    ) -> service_pb2.MultiCollaboratorsResponse:
        """Who may enter the app, and whose it is."""
        ref, page = call.needed_app(), paging(request.page, request.per_page)
        return service_pb2.MultiCollaboratorsResponse(
            collaborators=self.collaborators.list_of(ref, page), app_owner=self.collaborators.owner(ref)
        )

    def PostCollaborators(
        self, call: Call, request: service_pb2.PostCollaboratorsRequest
    ) -> service_pb2.MultiCollaboratorsResponse:
        """Lets users into the app."""
        ref = call.needed_app()
        made = self.collaborators.add(ref, request.collaborators, call.caller.scopes)
        return service_pb2.MultiCollaboratorsResponse(collaborators=made, app_owner=self.collaborators.owner(ref))

    def PatchCollaborators(
        self, call: Call, request: service_pb2.PatchCollaboratorsRequest
    ) -> service_pb2.MultiCollaboratorsResponse:
        """Changes what collaborators may do."""
        ref = call.needed_app()
        done = self.collaborators.patch(ref, request.collaborators, request.action, call.caller.scopes)
        return service_pb2.MultiCollaboratorsResponse(collaborators=done, app_owner=self.collaborators.owner(ref))

    def DeleteCollaborators(
        self, call: Call, request: service_pb2.DeleteCollaboratorsRequest
    ) -> status_pb2.BaseResponse:
        """Takes users out of the app: the owner any, a collaborator only himself or herself."""
        ref, names = call.needed_app(), [*request.collaborator_ids, *request.user_emails]
        if ref.user_id != call.caller.user_id and set(names) - {call.caller.user_id}:
            raise MissingScope("Only the app's owner takes other collaborators out; name yourself by your user id.")
        self.collaborators.remove(ref, request.collaborator_ids, request.user_emails)
        return status_pb2.BaseResponse()

    def ListCollaborations(
        self, call: Call, request: service_pb2.ListCollaborationsRequest
    ) -> service_pb2.MultiCollaborationsResponse:
        """The apps of others that the caller may enter. None is a template."""
        page = paging(request.page, request.per_page)
        found = [] if request.template_only else self.collaborators.collaborations(call.caller.user_id, page)
        return service_pb2.MultiCollaborationsResponse(collaborations=found)

    def MyScopesUser(self, call: Call, request: service_pb2.MyScopesUserRequest) -> service_pb2.MultiScopeUserResponse:
        """What the token in hand may do as its user."""
        names, endpoints = scopes.granted(call.caller.scopes)
        return service_pb2.MultiScopeUserResponse(scopes=names, endpoints=endpoints)

    def MyScopesRoot(self, call: Call, request: service_pb2.MyScopesRootRequest) -> service_pb2.MultiScopeRootResponse:
        """The same: Lehr has no level above its users."""
        names, endpoints = scopes.granted(call.caller.scopes)
        return service_pb2.MultiScopeRootResponse(scopes=names, endpoints=endpoints)

    def ListScopes(self, call: Call, request: service_pb2.ListScopesRequest) -> service_pb2.MultiScopeDepsResponse:
        """What a key of a type can be given, and what each scope and endpoint needs."""
        return service_pb2.MultiScopeDepsResponse(
            scope_deps=scopes.scope_deps(request.key_type), endpoint_deps=scopes.endpoint_deps(request.key_type)
        )

    def ListLogEntries(
        self, call: Call, request: service_pb2.ListLogEntriesRequest
    ) -> service_pb2.MultiLogEntryResponse:
        """A page of a training's log, oldest first."""
        _check_offered(request)
        page = paging(request.page, request.per_page)
        found = self.logs.list_of(call.needed_app(), request.model_id, request.model_version_id, request.log_type, page)
        return service_pb2.MultiLogEntryResponse(log_entries=found, page=page.page, per_page=page.per_page)

    def StreamLogEntries(
        self, call: Call, request: service_pb2.StreamLogEntriesRequest
    ) -> Iterator[service_pb2.MultiLogEntryResponse]:
        """A training's log as it comes; the stream ends with the training."""
        _check_offered(request)
        ref = call.needed_app()
        for entries in self.logs.follow(ref, request.model_id, request.model_version_id, request.log_type):
            yield service_pb2.MultiLogEntryResponse(log_entries=entries)

    def ListOpenSourceLicenses(
        self, call: Call, request: service_pb2.ListOpenSourceLicensesRequest
    ) -> service_pb2.ListOpenSourceLicensesResponse:
        """Licences to choose from."""
        return service_pb2.ListOpenSourceLicensesResponse(licenses=OPEN_SOURCE_LICENCES)


def _check_offered(request: service_pb2.ListLogEntriesRequest | service_pb2.StreamLogEntriesRequest) -> None:
    """Raises InvalidRequest for logs of things that Lehr has not."""
    others = ("workflow_id", "compute_cluster_id", "nodepool_id", "runner_id", "pipeline_id", "pipeline_step_id")
    named = [name for name in others if getattr(request, name)]
    if named:
        raise InvalidRequest(f"{', '.join(named)}: such logs do not exist here; there are those of model versions.")
