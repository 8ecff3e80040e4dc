"""grpc.health.v1, which strangers may ask; so how many may watch at once is bounded."""

from typing import Any, Final

import grpc
from grpc.aio import ServicerContext
from grpc_health.v1 import health

MOST_WATCHES: Final = 1_000


class Health(health.aio.HealthServicer):
    """The library's, with an end to its watches."""

    def __init__(self) -> None:
        super().__init__()
        self._watches = 0

    async def Watch(self, request: Any, context: "ServicerContext[Any, Any]") -> None:
        """Tell of each change, until the client leaves."""
        if self._watches >= MOST_WATCHES:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many watch; ask Check")
        self._watches += 1
        try:
            await super().Watch(request, context)
        finally:
            self._watches -= 1
