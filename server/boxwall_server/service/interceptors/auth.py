"""Lets a call in if who makes it is known and may do this, confined to that caller's tenant."""

from typing import Any, Final, TypeAlias

import structlog
from grpc.aio import ServicerContext

from boxwall.wire.errors import ApiError, ErrorReason
from boxwall_server.clock import Clock
from boxwall_server.identity.access import TENANT_KEY, Denied, admitted
from boxwall_server.identity.authenticator import Authenticator, Unknown
from boxwall_server.identity.caller import Caller
from boxwall_server.metrics import Metrics
from boxwall_server.service.call import Call
from boxwall_server.service.registry import Handler, Layer, Rpc
from boxwall_server.service.seldom import Seldom

_AUTHORIZATION: Final = "authorization"
_CERTIFICATE: Final = "x509_pem_cert"
_UNKNOWN: Final = (
    "these credentials are not valid here: give a token that is (BOXWALL_TOKEN), "
    "or for a node its certificate"
)
Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]

_log = structlog.get_logger()


class Gate:
    """Says whose a call is, or refuses it with ApiError."""

    def __init__(self, authenticator: Authenticator, clock: Clock, metrics: Metrics) -> None:
        self._authenticator = authenticator
        self._clock = clock
        self._metrics = metrics
        self._seldom = Seldom()

    def identify(
        self, context: "ServicerContext[Any, Any]", metadata: Metadata, rpc: str
    ) -> Caller:
        """Return who makes a call of `rpc` (a path). Raises ApiError if nobody who is known."""
        certificate = None
        if self._authenticator.needs_identity:
            certificate = next(iter(context.auth_context().get(_CERTIFICATE, ())), None)
        try:
            return self._authenticator.identify(
                _values(metadata, _AUTHORIZATION), certificate, self._clock.now()
            )
        except Unknown as exc:
            self._metrics.refused_callers.labels(exc.flaw.value).inc()
            more = self._seldom.note(exc.flaw.value, self._clock.steady())
            if more is not None:
                _log.info(
                    "caller_unknown",
                    flaw=exc.flaw.value,
                    rpc=rpc,
                    peer=context.peer(),
                    not_logged=more,
                )
            raise ApiError(ErrorReason.UNAUTHENTICATED, _UNKNOWN) from None

    def admit(self, caller: Caller, metadata: Metadata, rpc: str) -> Caller:
        """Return the caller as it acts in this call. Raises ApiError if it may not."""
        try:
            return admitted(caller, rpc, _values(metadata, TENANT_KEY))
        except Denied as exc:
            self._metrics.refused_callers.labels("denied").inc()
            raise denied(exc) from None


def auth_layer(gate: Gate) -> Layer:
    """Return the layer. It is the innermost: nothing is read for a caller who may not."""

    def layer(rpc: Rpc, handler: Handler) -> Handler:
        path = rpc.path

        async def admitted_only(request: Any, call: Call) -> Any:
            metadata = metadata_of(call.context)
            call.caller = gate.identify(call.context, metadata, path)
            call.caller = gate.admit(call.caller, metadata, path)
            return await handler(request, call)

        return admitted_only

    return layer


def denied(refusal: Denied) -> ApiError:
    """Return a refusal as clients get it."""
    return ApiError(ErrorReason.PERMISSION_DENIED, f"permission denied: {refusal}")


def metadata_of(context: "ServicerContext[Any, Any]") -> Metadata:
    """Return what came with a call. gRPC makes it anew each time it is asked."""
    return tuple(context.invocation_metadata() or ())


def _values(metadata: Metadata, wanted: str) -> list[str]:
    return [
        value if isinstance(value, str) else value.decode("latin-1")
        for key, value in metadata
        if key == wanted
    ]
