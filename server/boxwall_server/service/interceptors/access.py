"""Counts and times every call, and logs those that fail."""

import asyncio
from typing import Any, Final

import structlog

from boxwall_server.clock import Clock
from boxwall_server.metrics import Metrics
from boxwall_server.service.call import Call
from boxwall_server.service.registry import Handler, Layer, Rpc

_NOT_LOGGED: Final = frozenset(("OK", "CANCELLED", "UNAUTHENTICATED"))
"""Who is not known is said by the gate, and not for every call: strangers can make any number."""

_log = structlog.get_logger()


def access_layer(metrics: Metrics, clock: Clock) -> Layer:
    """Return the layer. It is the outermost, so it sees the status that the client gets."""

    def layer(rpc: Rpc, handler: Handler) -> Handler:
        observe = metrics.request_observer(rpc.service, rpc.method)

        async def timed(request: Any, call: Call) -> Any:
            started = clock.steady()
            code = "OK"
            try:
                return await handler(request, call)
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            except BaseException:
                code = _code_of(call)
                raise
            finally:
                seconds = clock.steady() - started
                observe(code, seconds)
                if code not in _NOT_LOGGED:
                    _log.info(
                        "call_failed",
                        rpc=rpc.path,
                        code=code,
                        message=call.context.details() or "",
                        tenant=call.tenant,
                        caller=call.caller.name,
                        peer=call.context.peer(),
                        seconds=round(seconds, 6),
                    )

        return timed

    return layer


def _code_of(call: Call) -> str:
    code = call.context.code()
    return getattr(code, "name", None) or str(code)
