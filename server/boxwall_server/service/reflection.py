"""Server reflection, v1alpha and v1, so that grpcurl needs no proto files.

grpcio-reflection has only v1alpha. v1 is the same messages under another service name.
"""

from collections.abc import Sequence
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc.aio import ServicerContext
from grpc_reflection.v1alpha import reflection, reflection_pb2

from boxwall.wire.errors import ApiError, trailing_metadata_of
from boxwall_server.service.interceptors.auth import Gate, metadata_of

V1: Final = "grpc.reflection.v1.ServerReflection"
_METHOD: Final = "ServerReflectionInfo"


class _Descriptors:
    """The descriptors of this process; a method is found too, in the file of its service."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:
        """Raises KeyError."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return self._pool.FindMethodByName(symbol).containing_service.file


def add_reflection(server: grpc.aio.Server, services: Sequence[str], gate: Gate) -> None:
    """Serve the descriptors of `services`, given by full name, and of reflection itself."""
    versions = (reflection.SERVICE_NAME, V1)
    names = [*services, "grpc.health.v1.Health", *versions]
    descriptors: Any = _Descriptors()
    servicer = reflection.aio.ReflectionServicer(names, pool=descriptors)
    server.add_generic_rpc_handlers(tuple(_handler(name, servicer, gate) for name in versions))


def _handler(name: str, servicer: Any, gate: Gate) -> grpc.GenericRpcHandler:
    rpc = f"/{name}/{_METHOD}"

    async def gated(requests: Any, context: "ServicerContext[Any, Any]") -> Any:
        metadata = metadata_of(context)

        def check() -> None:
            gate.admit(gate.identify(context, metadata, rpc), metadata, rpc)

        async def admitted() -> Any:
            async for request in requests:
                check()  # for each: credentials may be taken away while the stream lasts
                yield request

        try:
            check()
            async for answer in servicer.ServerReflectionInfo(admitted(), context):
                yield answer
        except ApiError as exc:
            await context.abort(exc.status, exc.message, trailing_metadata_of(exc))

    method = grpc.stream_stream_rpc_method_handler(
        gated,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(name, {_METHOD: method})
