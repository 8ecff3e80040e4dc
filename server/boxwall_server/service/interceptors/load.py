"""Sheds what is too much, before it is worked on, and says when to come back.

    calls     so many in progress, of each caller and in all
    streams   so many open, likewise; observers begin at a bounded rate of their own
    writes    so many worked on at once (see `slots`); the others wait, or come back

What nodes say is none of these once their stream is open: overload of writes delays no
acknowledgement and no bookmark.
"""

from typing import Any, Final

from boxwall.wire.errors import ApiError, ErrorReason
from boxwall_server.clock import Clock
from boxwall_server.config import Bounds
from boxwall_server.identity.access import SCOPES_OF
from boxwall_server.identity.caller import Caller, Scope
from boxwall_server.metrics import Metrics
from boxwall_server.service.admission import Admission
from boxwall_server.service.call import Call
from boxwall_server.service.occupancy import Full, Occupancy
from boxwall_server.service.registry import Handler, Layer, Rpc
from boxwall_server.service.slots import Slots, TooManyWait

_COME_BACK: Final = 1.0
"""Seconds after which a caller who was turned away may ask again."""

_FOR_NODES: Final = "StreamPolicies"
"""Whether such a stream is a node's shows only when it speaks: its handler asks."""


class Load:
    """What is in progress on this server."""

    def __init__(
        self, bounds: Bounds, clock: Clock, metrics: Metrics, *, tells_callers_apart: bool
    ) -> None:
        self._bounds = bounds
        self._clock = clock
        self._metrics = metrics
        self._tells_apart = tells_callers_apart
        self.calls = Occupancy(
            most=bounds.calls,
            most_of_one=bounds.calls_of_caller if tells_callers_apart else bounds.calls,
        )
        self.streams = Occupancy(
            most=bounds.streams,
            most_of_one=bounds.streams_of_caller if tells_callers_apart else bounds.streams,
        )
        self.slots = Slots()
        self._observers: dict[str, Admission] = {}

    def admit_observer(self, caller: Caller) -> None:
        """Let one more observer of this caller begin. Raises ApiError, with when to come back."""
        if not self._tells_apart:
            return
        who = _one(caller)
        budget = self._observers.get(who)
        if budget is None:
            budget = self._observers[who] = Admission(
                rate=self._bounds.observers_rate, burst=self._bounds.observers_burst
            )
        delay = budget.ask(self._clock.steady())
        if delay:
            raise self.shed("streams of one caller begin too fast", delay)

    def shed(self, what: str, delay: float = _COME_BACK) -> ApiError:
        """Return the refusal of what is too much, counted."""
        self._metrics.shed.inc()
        message = f"{what}; come back after {delay:.1f} s"
        return ApiError(ErrorReason.OVERLOADED, message, retry_after=delay)


def load_layer(load: Load) -> Layer:
    """Return the layer; it stands inside of the one that says whose the call is."""

    def layer(rpc: Rpc, handler: Handler) -> Handler:
        if rpc.server_streams:
            return _bounded(load, load.streams, "streams", _begun(load, rpc, handler))
        if SCOPES_OF.get(rpc.path) == frozenset({Scope.BOXES_WRITE}):
            handler = _in_turn(load, handler)
        return _bounded(load, load.calls, "calls", handler)

    return layer


def _begun(load: Load, rpc: Rpc, handler: Handler) -> Handler:
    if rpc.method == _FOR_NODES:
        return handler

    async def begun(request: Any, call: Call) -> Any:
        load.admit_observer(call.caller)
        return await handler(request, call)

    return begun


def _bounded(load: Load, occupancy: Occupancy, what: str, handler: Handler) -> Handler:
    async def bounded(request: Any, call: Call) -> Any:
        who = _one(call.caller)
        match occupancy.enter(who):
            case Full.CALLER:
                raise load.shed(f"one caller has too many {what} open")
            case Full.SERVER:
                raise load.shed(f"too many {what} are open")
        try:
            return await handler(request, call)
        finally:
            occupancy.leave(who)

    return bounded


def _in_turn(load: Load, handler: Handler) -> Handler:
    async def in_turn(request: Any, call: Call) -> Any:
        try:
            await load.slots.take(call.tenant)
        except TooManyWait:
            raise load.shed("too many writes wait") from None
        call.on_written = load.slots.give_back
        try:
            return await handler(request, call)
        finally:
            call.written()

    return in_turn


def _one(caller: Caller) -> str:
    """What tells callers apart, whichever tenant they act in."""
    return caller.credential or caller.name
