"""How actors connect: as many real connections as they ask for, mostly over unix sockets."""

import asyncio
import socket
import time
from pathlib import Path

import grpc
from google.rpc import error_details_pb2, status_pb2

from bench.messages import GET

OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),  # else channels to one address share a connection
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 65_536),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
]


def connect(place: str) -> grpc.aio.Channel:
    """Return a channel with a connection of its own, to a socket's path or to HOST:PORT."""
    target = f"unix:{place}" if place.startswith("/") else place
    return grpc.aio.insecure_channel(target, options=OPTIONS)


def connect_over_tcp(target: str, ca: str = "") -> grpc.aio.Channel:
    """Return a channel to HOST:PORT; over TLS if `ca` names a file of trusted certificates."""
    if not ca:
        return connect(target)
    trusted = grpc.ssl_channel_credentials(Path(ca).read_bytes())
    return grpc.aio.secure_channel(target, trusted, options=OPTIONS)


def unary(
    channel: grpc.aio.Channel, method: str
) -> "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]":
    """Return a method that takes and returns ready bytes."""
    return channel.unary_unary(method, request_serializer=None, response_deserializer=None)


def retry_after(error: grpc.aio.AioRpcError) -> float | None:
    """Return the seconds that a server asks to wait (RetryInfo), if it does."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.RetryInfo()
                if detail.Unpack(info):
                    return float(info.retry_delay.ToTimedelta().total_seconds())
    return None


async def listening(path: str, timeout: float) -> None:
    """Wait until somebody accepts connections on a socket. Raises TimeoutError."""
    until = time.monotonic() + timeout
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(path)
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > until:
                    raise TimeoutError("nobody listens") from None
            else:
                return
        await asyncio.sleep(0.002)


async def first_answer(path: str, timeout: float) -> float:
    """Wait until a server answers a GetBox, whatever it says; return when (monotonic clock)."""
    await listening(path, timeout)
    async with connect(path) as channel:
        try:
            await unary(channel, GET)(b"\x0a\x04none", timeout=timeout, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNKNOWN):
                raise
        return time.monotonic()
