"""Refuses writes beyond what a tenant may have, or faster than it may write."""

from typing import Any

from boxwall_server.identity.access import SCOPES_OF
from boxwall_server.identity.caller import Scope
from boxwall_server.service.call import Call
from boxwall_server.service.quotas import Quotas
from boxwall_server.service.registry import Handler, Layer, Rpc


def quota_layer(quotas: Quotas) -> Layer:
    """Return the layer; it stands inside of the one that says whose the call is."""

    def layer(rpc: Rpc, handler: Handler) -> Handler:
        if SCOPES_OF.get(rpc.path) != frozenset({Scope.BOXES_WRITE}):
            return handler  # reads, and above all what nodes say, are never held up by writes

        async def within(request: Any, call: Call) -> Any:
            quotas.check_write(call.tenant)
            return await handler(request, call)

        async def within_room(request: Any, call: Call) -> Any:
            quotas.check_write(call.tenant)
            async with quotas.room_for_a_box(call.tenant):
                return await handler(request, call)

        return within_room if rpc.method == "CreateBox" else within

    return layer
