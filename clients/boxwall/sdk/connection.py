"""Calls on one channel: deadlines, credentials, safe retries, and errors of ours."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Self, TypeVar

import grpc
from google.protobuf.message import DecodeError

from boxwall.sdk.credentials import Credentials, read_credentials, read_token
from boxwall.sdk.endpoint import Endpoint
from boxwall.sdk.errors import (
    BadConfig,
    BoxwallError,
    InvalidRequest,
    TimedOut,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
)
from boxwall.sdk.resume import Backoff
from boxwall.sdk.translate import error_of, is_worth_repeating
from boxwall.v1 import (
    box_service_pb2_grpc,
    enforcement_service_pb2_grpc,
    node_service_pb2_grpc,
)

A = TypeVar("A")

_HEALTH_METHOD: Final = "/grpc.health.v1.Health/Check"
_SERVING: Final = b"\x08\x01"
"""HealthCheckResponse{status: SERVING}; what generates it is in the server's extra only."""

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""A page of 1,000 boxes with large policies is more than gRPC's default of 4 MiB."""

_TAKE_TURNS: Final = '{"loadBalancingConfig":[{"round_robin":{}}]}'
"""Each call and stream goes to the next server that can be reached."""


class Connection:
    """One channel, opened with the first call and bound to the event loop that made it."""

    def __init__(self, endpoint: Endpoint, *, timeout: float, retries: int) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        self._retries = retries
        self._channel: grpc.aio.Channel | None = None
        self._credentials: Credentials | None = None
        self._retired: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self.boxes: Any = Service(self._open, box_service_pb2_grpc.BoxServiceStub)
        """The stub of BoxService; generated code has no types for it."""
        self.nodes: Any = Service(self._open, node_service_pb2_grpc.NodeServiceStub)
        """The stub of NodeService."""
        self.enforcement: Any = Service(
            self._open, enforcement_service_pb2_grpc.EnforcementServiceStub
        )
        """The stub of EnforcementService."""

    async def call(
        self,
        method: Callable[..., Any],
        make_request: Callable[[float], A],
        *,
        repeatable: bool,
        timeout: float | None = None,
        wait: float = 0.0,
    ) -> Any:
        """Make one call and return the answer, or raise a BoxwallError.

        `make_request` gets the seconds of `wait` that are left: the server's part of the deadline,
        which is `timeout` (None: the connection's) and `wait` together. Only a `repeatable` call is
        repeated, within the deadline, when the server was unavailable.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        deadline = began + wait + (self._timeout if timeout is None else timeout)
        backoff = Backoff(random.random)
        for attempts_left in range(self._retries if repeatable else 0, -1, -1):
            now = clock()
            request = _made(make_request, max(0.0, wait - (now - began)))
            try:
                return await self._attempt(method, request, deadline)
            except Unavailable as exc:
                delay = backoff.next_delay(exc.retry_after or 0.0)
                late = clock() + delay >= deadline
                if not attempts_left or late or not is_worth_repeating(exc):
                    raise
                await asyncio.sleep(delay)
        raise AssertionError("the last attempt returns or raises")

    async def stream(
        self, method: Callable[..., Any], request: object, *, dead_at: Callable[[], float]
    ) -> AsyncGenerator[Any, None]:
        """Yield the messages of one stream; end with it, or raise a BoxwallError.

        `request`: one message, or an async iterator of those to send while the stream lasts.
        Raises TimedOut at `dead_at` (time of the event loop, asked again for each message). The
        stream is cancelled when the generator is closed.
        """
        requests = Requests(request) if isinstance(request, AsyncIterator) else None
        call = method(requests or request, metadata=self._metadata())
        try:
            while True:
                async with asyncio.timeout_at(dead_at()):
                    message = await call.read()
                if message is grpc.aio.EOF:
                    break
                yield message
            code = await call.code()
            if code is not grpc.StatusCode.OK:
                raise await _failure_of(call, self._endpoint)
        except TimeoutError as exc:
            raise TimedOut("the stream fell silent") from exc
        except grpc.aio.AioRpcError as exc:
            raise await self._failed(exc) from exc
        finally:
            call.cancel()
            if requests is not None:
                requests.end()

    async def first_of_stream(self, method: Callable[..., Any], request: object) -> Any:
        """Return the first message of a stream, within the connection's deadline."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._timeout
        async with aclosing(self.stream(method, request, dead_at=lambda: deadline)) as messages:
            async for message in messages:
                return message
        raise UnexpectedAnswer("the stream ended before it said anything")

    async def is_serving(self, *, timeout: float | None = None) -> bool:
        """Return what the server says about its health. Raises BoxwallError if it says nothing."""

        def check(request: bytes, **how: Any) -> Any:
            method: Callable[..., Any] = self._open().unary_unary(_HEALTH_METHOD)
            return method(request, **how)

        answer: bytes = await self.call(check, lambda _: b"", repeatable=True, timeout=timeout)
        return answer == _SERVING

    async def close(self) -> None:
        """Close the channel; calls in progress are cancelled. Closing again does nothing."""
        self._closed = True
        for channel in (self._retired, self._channel):
            if channel is not None:
                await channel.close()
        self._retired = self._channel = None

    async def _failed(self, exc: grpc.aio.AioRpcError) -> BoxwallError:
        error = error_of(exc, self._endpoint.target)
        if self._endpoint.uses_tls and isinstance(error, Unavailable | Unauthenticated):
            await self._renew()
        return error

    async def _renew(self) -> None:
        """Connect anew next time if the files of TLS are others now: certificates are short-lived.

        What is still in progress on the old channel may end there.
        """
        try:
            if self._channel is None or read_credentials(self._endpoint) == self._credentials:
                return
        except BadConfig:
            return  # as they are they cannot be used; what is open may still be good
        older, self._retired, self._channel = self._retired, self._channel, None
        if older is not None:
            await older.close()

    async def _attempt(self, method: Callable[..., Any], request: object, deadline: float) -> Any:
        """Call once; twice if the connection's certificate is not good any more, and there is
        another by now. A call that is refused for who makes it has done nothing.
        """
        channel = self._open()
        try:
            return await self._once(method, request, deadline)
        except Unauthenticated:
            if self._channel is channel:
                raise
            return await self._once(method, request, deadline)

    async def _once(self, method: Callable[..., Any], request: object, deadline: float) -> Any:
        timeout = deadline - asyncio.get_running_loop().time()
        if timeout <= 0:
            raise TimedOut("no answer in time; give it longer with timeout=, or try again")
        try:
            return await method(request, timeout=timeout, metadata=self._metadata())
        except grpc.aio.AioRpcError as exc:
            raise await self._failed(exc) from exc
        except DecodeError as exc:
            raise Unavailable(f"the answer of {self._endpoint} cannot be read") from exc

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        token, tenant = read_token(self._endpoint), self._endpoint.tenant
        return (
            *([] if token is None else [("authorization", f"Bearer {token}")]),
            *([] if tenant is None else [("boxwall-tenant", tenant)]),
        )

    def _open(self) -> grpc.aio.Channel:
        loop = asyncio.get_running_loop()
        if self._closed:
            raise BadConfig("the client is closed; make a new one")
        if self._channel is None:
            self._loop = loop
            self._credentials = read_credentials(self._endpoint)
            self._channel = _channel(self._endpoint, self._credentials)
        elif self._loop is not loop:
            raise BadConfig("the client belongs to another event loop; make one in this loop")
        return self._channel


class Service:
    """A stub whose methods go to the channel there is when they are called.

    Between two attempts of one call the channel may have been replaced, and the first be gone.
    """

    def __init__(
        self, channel: Callable[[], grpc.aio.Channel], stub: Callable[[grpc.aio.Channel], Any]
    ) -> None:
        self._channel = channel
        self._stub = stub
        self._made: tuple[grpc.aio.Channel, Any] | None = None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def method(request: object, **how: Any) -> Any:
            channel = self._channel()
            if self._made is None or self._made[0] is not channel:
                self._made = channel, self._stub(channel)
            return getattr(self._made[1], name)(request, **how)

        return method


class Requests:
    """What is to be sent on one stream. gRPC would wait for more of it even if it was refused."""

    def __init__(self, requests: AsyncIterator[object]) -> None:
        self._requests = requests
        self._reader: asyncio.Task[object] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> object:
        self._reader = asyncio.current_task()
        return await anext(self._requests)

    def end(self) -> None:
        """Let nobody wait for more."""
        if self._reader is not None:
            self._reader.cancel()


def _made(make_request: Callable[[float], A], wait_left: float) -> A:
    try:
        return make_request(wait_left)
    except ValueError as exc:
        # Lone surrogates, numbers out of range: protobuf says it in its own words.
        raise InvalidRequest(f"the request cannot be sent: {exc}") from exc


async def _failure_of(call: Any, endpoint: Endpoint) -> BoxwallError:
    return error_of(
        grpc.aio.AioRpcError(
            await call.code(),
            await call.initial_metadata(),
            await call.trailing_metadata(),
            details=await call.details(),
        ),
        endpoint.target,
    )


def _channel(endpoint: Endpoint, credentials: Credentials | None) -> grpc.aio.Channel:
    options = _channel_options(endpoint)
    if credentials is None:
        return grpc.aio.insecure_channel(endpoint.target, options=options)
    return grpc.aio.secure_channel(
        endpoint.target,
        grpc.ssl_channel_credentials(credentials.roots, credentials.key, credentials.certificate),
        options=options,
    )


def _channel_options(endpoint: Endpoint) -> list[tuple[str, Any]]:
    return [
        ("grpc.primary_user_agent", f"boxwall-python/{_version()}"),
        # A dead peer is noticed within 40 s also while a call waits; the server permits it.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
        # Ours is the only backoff: the channel tries again soon after a server has come back.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 10_000),
        # Nobody who answers for DNS decides about retries.
        ("grpc.service_config_disable_resolution", 1),
        *([("grpc.service_config", _TAKE_TURNS)] if endpoint.may_be_several else []),
        # In clear, a proxy from the environment would read the token on its way to localhost.
        ("grpc.enable_http_proxy", int(endpoint.uses_tls)),
    ]


def _version() -> str:
    try:
        return version("boxwall")
    except PackageNotFoundError:
        return "unknown"
