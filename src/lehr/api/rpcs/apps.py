"""RPCs of users, apps and keys."""

from __future__ import annotations

from dataclasses import dataclass

from lehr.api.calls import Call
from lehr.protocol import service_pb2, status_pb2
from lehr.protocol.ids import AppRef
from lehr.services.apps import Apps
from lehr.services.keys import Keys
from lehr.services.paging import paging
from lehr.services.users import Users


@dataclass(frozen=True, kw_only=True)
class AppRpcs:
    """Who one is, what one owns, who else may come in."""

    users: Users
    apps: Apps
    keys: Keys

    def GetUser(self, call: Call, request: service_pb2.GetUserRequest) -> service_pb2.SingleUserResponse:
        """The user; only oneself."""
        return service_pb2.SingleUserResponse(user=self.users.get(call.user_id))

    def PostApps(self, call: Call, request: service_pb2.PostAppsRequest) -> service_pb2.MultiAppResponse:
        """Makes apps."""
        return service_pb2.MultiAppResponse(apps=self.apps.create(call.user_id, request.apps))

    def GetApp(self, call: Call, request: service_pb2.GetAppRequest) -> service_pb2.SingleAppResponse:
        """One app."""
        return service_pb2.SingleAppResponse(app=self.apps.get(call.needed_app()))

    def ListApps(self, call: Call, request: service_pb2.ListAppsRequest) -> service_pb2.MultiAppResponse:
        """The user's apps."""
        page = paging(request.page, request.per_page)
        return service_pb2.MultiAppResponse(apps=self.apps.list_of(call.user_id, page, name=request.name))

    def PatchApp(self, call: Call, request: service_pb2.PatchAppRequest) -> service_pb2.SingleAppResponse:
        """Changes one app; its id comes from the address."""
        ref = call.needed_app()
        request.app.id = ref.app_id
        [app] = self.apps.patch(
            ref.user_id, [request.app], request.action, reindex=request.reindex, confined=call.is_confined
        )
        return service_pb2.SingleAppResponse(app=app)

    def PatchApps(self, call: Call, request: service_pb2.PatchAppsRequest) -> service_pb2.MultiAppResponse:
        """Changes apps."""
        done = self.apps.patch(call.user_id, request.apps, request.action, reindex=request.reindex)
        return service_pb2.MultiAppResponse(apps=done)

    def DeleteApp(self, call: Call, request: service_pb2.DeleteAppRequest) -> status_pb2.BaseResponse:
        """Removes an app and everything in it."""
        self.apps.delete(call.needed_app())
        return status_pb2.BaseResponse()

    def PostKeys(self, call: Call, request: service_pb2.PostKeysRequest) -> service_pb2.MultiKeyResponse:
        """Makes keys; each secret is shown in this answer only."""
        made = self.keys.create(call.user_id, request.keys, held=call.caller.scopes)
        return service_pb2.MultiKeyResponse(keys=made)

    def GetKey(self, call: Call, request: service_pb2.GetKeyRequest) -> service_pb2.SingleKeyResponse:
        """One key, without its secret."""
        return service_pb2.SingleKeyResponse(key=self.keys.get(call.user_id, request.key_id))

    def ListKeys(self, call: Call, request: service_pb2.ListKeysRequest) -> service_pb2.MultiKeyResponse:
        """The user's keys."""
        page = paging(request.page, request.per_page)
        return service_pb2.MultiKeyResponse(keys=self.keys.list_of(call.user_id, page))

    def ListAppKeys(self, call: Call, request: service_pb2.ListAppKeysRequest) -> service_pb2.MultiKeyResponse:
        """The keys that open one app."""
        ref: AppRef = call.needed_app()
        page = paging(request.page, request.per_page)
        return service_pb2.MultiKeyResponse(keys=self.keys.list_of(ref.user_id, page, app=ref))

    def PatchKeys(self, call: Call, request: service_pb2.PatchKeysRequest) -> service_pb2.MultiKeyResponse:
        """Changes keys."""
        done = self.keys.patch(call.user_id, request.keys, request.action, held=call.caller.scopes)
        return service_pb2.MultiKeyResponse(keys=done)

    def DeleteKey(self, call: Call, request: service_pb2.DeleteKeyRequest) -> status_pb2.BaseResponse:
        """A key stops working at once."""
        self.keys.delete(call.user_id, request.key_id)
        return status_pb2.BaseResponse()
