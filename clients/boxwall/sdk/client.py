"""A connection to one control plane, and whom it acts as."""

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from boxwall.sdk.connection import Connection
from boxwall.sdk.endpoint import endpoint
from boxwall.sdk.nodes import Nodes

DEFAULT_TIMEOUT = 10.0
DEFAULT_RETRIES = 5


class Client:
    """Give one to the calls of Box as `client=`; without, they use one made from the environment.

    `server` is "HOST:PORT", "unix:/path", or for several servers "IP:PORT,IP:PORT"
    (`BOXWALL_SERVER`, default localhost:50051), `token` who is calling (`BOXWALL_TOKEN`), or
    `token_file` a file that says so and is read for each call (`BOXWALL_TOKEN_FILE`), `ca` a PEM
    file of certificates to trust, or "system" for those of this machine (`BOXWALL_CA`; without, the
    connection is not encrypted). `cert` and `key` are PEM files for a server that asks for a
    certificate (`BOXWALL_TLS_CERT`, `BOXWALL_TLS_KEY`). A token is never sent in clear to another
    machine. `tenant` is for administrators, who may act in any (`BOXWALL_TENANT`). `timeout`
    (seconds) bounds every call together with its retries, on top of the time that a call is asked
    to wait; `retries` bounds their number.

    Connects with the first call, and belongs to the event loop that makes it. Close it when done:

        async with Client("localhost:50051") as client:
            box = await Box.get("b1", client=client)

    Raises BadConfig.
    """

    def __init__(
        self,
        server: str | None = None,
        token: str | None = None,
        ca: str | None = None,
        *,
        cert: str | None = None,
        key: str | None = None,
        token_file: str | None = None,
        tenant: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retries: int = DEFAULT_RETRIES,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        self._endpoint = endpoint(
            server,
            token,
            ca,
            cert=cert,
            key=key,
            token_file=token_file,
            tenant=tenant,
            environ=environ,
        )
        self._connection = Connection(self._endpoint, timeout=timeout, retries=retries)

    @property
    def server(self) -> str:
        """Where this client connects to."""
        return self._endpoint.target

    @property
    def connection(self) -> Connection:
        """For the other modules of the SDK."""
        return self._connection

    @property
    def nodes(self) -> Nodes:
        """Nodes, for operators."""
        return Nodes(self._connection)

    async def is_serving(self, *, timeout: float | None = None) -> bool:
        """Return whether the server says that it is healthy. Raises Unavailable if it is silent."""
        return await self._connection.is_serving(timeout=timeout)

    async def close(self) -> None:
        """Close the connection; calls in progress are cancelled. Closing again does nothing."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"Client({self.server!r})"
