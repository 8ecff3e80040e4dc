"""From a service's descriptor and its handlers to what gRPC serves.

The layers around handlers are put together once, at start. (gRPC's own interceptors are asked again
for every call, which costs more than most handlers do.)

Every method is served as one whose client streams, and its one request is read inside the layers:
gRPC would read it before anybody has said who calls, and wait for it as long as the caller likes.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc.aio import ServicerContext

from boxwall.v1 import box_service_pb2, enforcement_service_pb2, node_service_pb2
from boxwall.wire.errors import ApiError, ErrorReason
from boxwall_server.service.call import Call

SERVICES: Final = (
    box_service_pb2.DESCRIPTOR.services_by_name["BoxService"],
    enforcement_service_pb2.DESCRIPTOR.services_by_name["EnforcementService"],
    node_service_pb2.DESCRIPTOR.services_by_name["NodeService"],
)
"""All of ours, in this order."""

REQUEST_TIMEOUT: Final = 20.0
"""Seconds that a caller may take to send a request."""

_TOO_LATE: Final = f"no request came within {REQUEST_TIMEOUT:.0f} s"

Handler: TypeAlias = Callable[[Any, Call], Awaitable[Any]]
"""`async def (request, call) -> response`. A stream takes an iterator as request if the client
streams, and writes to `call.context` and returns nothing if the server does. `Any`: each handler
has types of its own, which the descriptor and the tests check, and `Callable` cannot say."""


@dataclass(frozen=True, slots=True)
class Rpc:
    """What a layer may want to know of the method it wraps."""

    service: str
    method: str
    server_streams: bool

    @property
    def path(self) -> str:
        """As in HTTP/2: /boxwall.v1.BoxService/GetBox."""
        return f"/{self.service}/{self.method}"


Layer: TypeAlias = Callable[[Rpc, Handler], Handler]


def generic_handler(
    service: ServiceDescriptor,
    handlers: Mapping[str, Handler],
    layers: Sequence[Layer],
    *,
    max_request_bytes: int = 256 * 1024,
) -> grpc.GenericRpcHandler:
    """Return what `grpc.aio.Server.add_generic_rpc_handlers` takes.

    `handlers` are by method name in snake case; the first layer is the outermost. A request that is
    larger than `max_request_bytes` is refused; messages of a stream may be as large as gRPC takes.
    Raises ValueError when a method has no handler, or a handler no method.
    """
    by_name = {snake_case(method.name): method for method in service.methods}
    if by_name.keys() != handlers.keys():
        odd = sorted(by_name.keys() ^ handlers.keys())
        raise ValueError(f"{service.full_name}: handlers and methods differ in {odd}")
    return grpc.method_handlers_generic_handler(
        service.full_name,
        {
            method.name: _rpc_handler(service, method, handlers[name], layers, max_request_bytes)
            for name, method in by_name.items()
        },
    )


def snake_case(name: str) -> str:
    """Return "GetBox" as "get_box"."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _rpc_handler(
    service: ServiceDescriptor,
    method: MethodDescriptor,
    handler: Handler,
    layers: Sequence[Layer],
    max_request_bytes: int,
) -> "grpc.RpcMethodHandler[Any, Any]":
    rpc = Rpc(service.full_name, method.name, method.server_streaming)
    read = _reader(method)
    if not method.client_streaming:
        handler = _reading(read, handler, max_request_bytes)
    for layer in reversed(layers):
        handler = layer(rpc, handler)

    async def serve(requests: Any, context: "ServicerContext[Any, Any]") -> Any:
        return await handler(requests, Call(context))

    if method.client_streaming:
        return grpc.stream_stream_rpc_method_handler(serve, read, ready_bytes)
    if method.server_streaming:
        return grpc.stream_stream_rpc_method_handler(serve, None, ready_bytes)
    serialize = GetMessageClass(method.output_type).SerializeToString
    return grpc.stream_unary_rpc_method_handler(serve, None, serialize)


def _reader(method: MethodDescriptor) -> Callable[[bytes], Message]:
    """Return what reads a request. Raises ApiError for bytes that are none."""
    parse = GetMessageClass(method.input_type).FromString

    def read(data: bytes) -> Message:
        try:
            return parse(data)
        except DecodeError as exc:
            name = method.input_type.full_name
            raise ApiError(
                ErrorReason.INVALID_REQUEST, f"what was sent is not a {name}: {exc}"
            ) from exc

    return read


def _reading(read: Callable[[bytes], Message], handler: Handler, max_bytes: int) -> Handler:
    """Return a handler that reads the one request, and has it read by then."""

    async def reading(_: Any, call: Call) -> Any:
        request = await _one_message(call)
        if len(request) > max_bytes:
            raise ApiError(
                ErrorReason.INVALID_REQUEST,
                f"the request has {len(request)} bytes; at most {max_bytes} are allowed",
            )
        return await handler(read(request), call)

    return reading


async def _one_message(call: Call) -> bytes:
    """Raises ApiError if none comes in time."""
    task = asyncio.current_task()
    assert task is not None
    # Not asyncio.timeout: nothing is to be paid for each call but this.
    timer = asyncio.get_running_loop().call_later(REQUEST_TIMEOUT, task.cancel, _TOO_LATE)
    try:
        request = await call.context.read()
    except asyncio.CancelledError as exc:
        if exc.args == (_TOO_LATE,):
            task.uncancel()
            raise ApiError(ErrorReason.INVALID_REQUEST, _TOO_LATE) from None
        raise
    finally:
        timer.cancel()
    if not isinstance(request, bytes):
        raise ApiError(ErrorReason.INVALID_REQUEST, "no request came with the call")
    return request


def ready_bytes(message: Message | bytes) -> bytes:
    """Return bytes as they are, so that streams can send what was encoded before."""
    return message if isinstance(message, bytes) else message.SerializeToString()
