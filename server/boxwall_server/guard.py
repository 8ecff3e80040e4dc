"""What keeps strangers out: TLS, tokens, and the gate in front of every call, wired together."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import grpc

from boxwall.wire.errors import ApiError, ErrorReason
from boxwall_server.clock import Clock
from boxwall_server.config import Security
from boxwall_server.files import BadFile, Kept, keep_looking
from boxwall_server.identity.authenticator import Authenticator
from boxwall_server.identity.tokens import BadTokens, TokenTable, read_tokens
from boxwall_server.metrics import Metrics
from boxwall_server.service.hub import Hub
from boxwall_server.service.interceptors.auth import Gate
from boxwall_server.tls import ServerTls

CHECK_EVERY: Final = 1.0
"""Seconds between looks at whether those who hold streams still may."""


class Guard:
    """Made once for each server."""

    def __init__(self, security: Security, clock: Clock, metrics: Metrics) -> None:
        """Raises BadConfig if a file cannot be used."""
        self._clock = clock
        self._authenticator = Authenticator(
            needs_identity=security.needs_identity,
            takes_certificates=security.client_ca is not None,
            trust_domain=security.trust_domain,
        )
        self.gate = Gate(self._authenticator, clock, metrics)
        self._files: list[tuple[Kept[Any], Callable[[], None]]] = []
        self._tls = ServerTls(security, clock, metrics) if security.is_encrypted else None
        if self._tls is not None:
            self._files.append((self._tls.files, self._tls.say_expiry))
        if security.tokens is not None:
            tokens = Kept("tokens", [security.tokens], tokens_of, metrics)
            self._authenticator.tokens = tokens.value
            self._files.append((tokens, lambda: self._take(tokens.value)))

    def credentials(self) -> grpc.ServerCredentials | None:
        """Return what a port is bound with. None: plaintext."""
        return None if self._tls is None else self._tls.credentials()

    def check_streams(self, hub: Hub) -> None:
        """End the streams of callers who have expired, or were taken out of the file."""
        if not self._authenticator.needs_identity:
            return
        now = self._clock.now()
        for stream in hub.streams():
            if not self._authenticator.stands(stream.call.caller, now):
                stream.end(
                    ApiError(ErrorReason.UNAUTHENTICATED, "the credentials are not valid any more")
                )

    async def keep_watch(self, hub: Hub) -> None:
        """Take in changes of files and look at open streams, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep_looking(self._files))
            while True:
                await asyncio.sleep(CHECK_EVERY)
                self.check_streams(hub)

    def _take(self, tokens: TokenTable) -> None:
        self._authenticator.tokens = tokens


def tokens_of(content: bytes) -> TokenTable:
    """Read the content of the file of `--tokens`. Raises BadFile."""
    try:
        return read_tokens(content.decode())
    except UnicodeDecodeError as exc:
        raise BadFile("it is not UTF-8 text") from exc
    except BadTokens as exc:
        raise BadFile(str(exc)) from exc
