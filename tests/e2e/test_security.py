"""From `certs init` to a server that others can reach, with processes and files as users have."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from boxwall import Box, Client, PermissionDenied, Unauthenticated, Unavailable
from boxwall.sdk.connection import Connection
from boxwall.sdk.endpoint import Endpoint, endpoint
from boxwall.sdk.errors import BoxwallError
from boxwall.wire.node_stream import Request, subscribe_request
from fakes.server_process import ROOT, ServerProcess, boxwall, environment

pytestmark = pytest.mark.slow


class Installation:
    """A CA, a server with mutual TLS and tokens, and those who call it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certs = folder / "certs"
        self.tokens = folder / "tokens.toml"
        self.server = SecureServer(folder, "0.0.0.0:0")

    def run(self, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
        """Run one command."""
        return subprocess.run(
            boxwall(*arguments), env=environment() | env, capture_output=True, text=True, timeout=30
        )

    def issue(self, *arguments: str) -> None:
        """Run `boxwall certs`."""
        done = self.run("certs", *arguments, "--dir", str(self.certs))
        assert done.returncode == 0, done.stderr

    def token(self, name: str, *scopes: str, **more: str) -> str:
        """Make a token, and add it to the file."""
        options = [part for key, value in more.items() for part in (f"--{key}", value)]
        for scope in scopes:
            options += ["--scope", scope]
        done = self.run("tokens", "new", name, *options, "--file", str(self.tokens))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"localhost:{self.server.target.rpartition(':')[2]}"

    def endpoint(self, name: str, token: str | None = None) -> Endpoint:
        """The endpoint of whoever has the certificate of that name."""
        return endpoint(
            self.address,
            token,
            str(self.certs / "ca.pem"),
            cert=str(self.certs / f"{name}.pem"),
            key=str(self.certs / f"{name}.key"),
            environ={},
        )

    def client(self, token: str, tenant: str | None = None) -> Client:
        """A client with a certificate and a token."""
        asked = self.endpoint("client-ci", token)
        return Client(
            asked.target,
            token,
            asked.ca,
            cert=asked.cert,
            key=asked.key,
            tenant=tenant,
            retries=0,
            environ={},
        )


class SecureServer(ServerProcess):
    """Waits for its own word only: a stranger cannot ask for its health."""

    def _wait_until_serving(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + 30
        while "boxwall serves on " not in self.log.read_text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the server does not serve: {self.log.read_text()}")
            time.sleep(0.01)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path)
    installation.issue("init")
    installation.issue("server", "localhost")
    installation.issue("client", "ci")
    installation.issue("node", "n1")
    installation.token("root", "admin")
    certs = installation.certs
    installation.server.start(
        *("--tls-cert", str(certs / "server.pem"), "--tls-key", str(certs / "server.key")),
        *("--tls-client-ca", str(certs / "ca.pem"), "--tokens", str(installation.tokens)),
    )
    yield installation
    installation.server.close()


async def eventually(installation: Installation, token: str) -> None:
    """Wait until the server knows a token that is new in the file."""
    async with asyncio.timeout(20), installation.client(token) as client:
        while True:
            try:
                await Box.list(client=client)
                return
            except Unauthenticated:
                await asyncio.sleep(0.05)


async def test_who_has_certificate_and_token_is_served_as_far_as_it_may(made: Installation) -> None:
    writer = made.token("writer", "boxes.read", "boxes.write")
    reader = made.token("reader", "boxes.read", tenant="acme")
    await eventually(made, writer)
    async with made.client(writer) as client:
        box = await Box.create(box_id="b1", client=client)
        assert [revision.author async for revision in box.policy_history()] == ["writer"]
    await eventually(made, reader)
    async with made.client(reader) as client:
        assert await Box.list(client=client) == []
        with pytest.raises(PermissionDenied, match=r"boxes\.write"):
            await Box.create(client=client)
    root = made.token("root2", "admin")
    await eventually(made, root)
    for tenant, found in ((None, ["b1"]), ("default", ["b1"]), ("acme", [])):
        async with made.client(root, tenant=tenant) as client:
            assert [box.id async for box in Box.list(client=client)] == found
    async with made.client(writer, tenant="acme") as client:
        with pytest.raises(PermissionDenied, match="another tenant"):
            await Box.list(client=client)
    async with made.client("boxwall_made-up") as client:
        with pytest.raises(Unauthenticated):
            await Box.list(client=client)
    ca = str(made.certs / "ca.pem")
    async with Client(made.address, writer, ca, retries=0, environ={}) as client:
        with pytest.raises(Unavailable):
            await Box.list(client=client)
    log = made.server.log.read_text()
    assert writer not in log
    assert reader not in log
    assert "boxwall_made-up" not in log


async def first(connection: Connection, node_id: str) -> None:
    """Subscribe as a node, and take the first message."""

    async def asked() -> AsyncIterator[Request]:
        yield subscribe_request(node_id, "test", [], "")
        await asyncio.sleep(30)

    await connection.first_of_stream(connection.enforcement.StreamPolicies, asked())


async def test_a_node_connects_with_its_certificate_alone_and_as_itself_alone(
    made: Installation,
) -> None:
    before = len(asyncio.all_tasks())
    connection = Connection(made.endpoint("node-n1"), timeout=10, retries=0)
    await first(connection, "n1")
    with pytest.raises(PermissionDenied, match="only for itself"):
        await first(connection, "n2")
    await connection.close()
    async with asyncio.timeout(5):
        while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110  # about what gRPC leaves
            await asyncio.sleep(0.01)


async def test_a_renewed_certificate_is_taken_up_with_the_next_connection(
    made: Installation,
) -> None:
    connection = Connection(made.endpoint("node-n1"), timeout=10, retries=0)
    await first(connection, "n1")
    made.issue("node", "n1", "--replace")
    await first(connection, "n1")
    made.server.kill()
    with pytest.raises(BoxwallError):
        await first(connection, "n1")
    read = connection._credentials
    assert connection._channel is None
    assert read is not None
    with pytest.raises(BoxwallError):
        await first(connection, "n1")
    assert connection._credentials is not None
    assert connection._credentials.certificate != read.certificate
    await connection.close()


def test_the_command_line_says_who_calls(made: Installation) -> None:
    root = (made.folder / "tokens.toml").read_text()
    token = made.token("cli", "admin")
    certs = made.certs
    env = {
        "BOXWALL_SERVER": made.address,
        "BOXWALL_TLS_CA": str(certs / "ca.pem"),
        "BOXWALL_TLS_CERT": str(certs / "client-ci.pem"),
        "BOXWALL_TLS_KEY": str(certs / "client-ci.key"),
    }
    strangers = made.run("box", "list", **env)
    assert (strangers.returncode, "BOXWALL_TOKEN" in strangers.stderr) == (1, True)
    deadline = time.monotonic() + 20
    while (done := made.run("box", "list", **env, BOXWALL_TOKEN=token)).returncode:
        assert time.monotonic() < deadline, done.stderr
    made.tokens.write_text(root)


def test_a_server_that_others_could_reach_is_not_started_without_identities(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [*boxwall("server", "--listen", "0.0.0.0:0", "--store", f"sqlite:{tmp_path / 'x.db'}")],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        cwd=ROOT,
    )
    assert done.returncode == 2
    assert "neither TLS nor authentication" in done.stderr
    assert not (tmp_path / "x.db").exists()


def test_up_does_not_pretend_to_have_credentials_for_its_agent(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text("tokens = []")
    done = subprocess.run(
        boxwall("up", "--tokens", str(tokens), "--store", f"sqlite:{tmp_path / 'x.db'}"),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, "boxwall server and boxwall agent" in done.stderr) == (2, True)
