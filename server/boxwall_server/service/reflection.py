"""Server reflection, v1alpha and v1, so that grpcurl needs no proto files.

grpcio-reflection has only v1alpha. v1 is the same messages under another service name.
"""

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2

V1 = "grpc.reflection.v1.ServerReflection"


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


def add_reflection(server: grpc.aio.Server, services: Sequence[str]) -> None:
    """Serve the descriptors of `services`, given by full name, and of reflection itself."""
    names = [*services, "grpc.health.v1.Health", reflection.SERVICE_NAME, V1]
    descriptors: Any = _Descriptors()
    reflection.enable_server_reflection(names, server, pool=descriptors)
    servicer = reflection.aio.ReflectionServicer(names, pool=descriptors)
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(V1, {"ServerReflectionInfo": method}),)
    )
