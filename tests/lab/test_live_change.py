"""A change on a running box: what it denies stops at once, what it allows goes on undisturbed."""

import asyncio
import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from boxwall import Box as SdkBox
from boxwall import Client
from boxwall.policy import AllowAll
from fakes.agent_process import Site, site
from lab.kernel import Kernel
from lab.namespaces import Namespace, inside
from lab.network import Lab
from lab.servers import Echo, connect

PORT = 9000
CHUNK = bytes(range(256)) * 64


@pytest.fixture
def here(lab: Lab, tmp_path: Path) -> Iterator[Site]:
    """A running site."""
    with site(lab, tmp_path) as made:
        yield made


@pytest.fixture
def source(here: Site) -> Iterator["Source"]:
    """A server outside."""
    source = Source(here.lab.internet)
    yield source
    source.close()


class Source:
    """Sends the same bytes for ever to whoever connects, on every address of its host."""

    def __init__(self, place: Namespace) -> None:
        with inside(place.name):
            self._server = socket.create_server(
                ("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True
            )
        self._going = True
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop_sending(self) -> None:
        """Close the connection in good order."""
        self._going = False

    def close(self) -> None:
        """Stop."""
        self.stop_sending()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(5)

    def _serve(self) -> None:
        try:
            connection, _ = self._server.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(1)
            try:
                while self._going:
                    connection.sendall(CHUNK)
                    time.sleep(0.0005)
            except OSError:
                return


class Download(threading.Thread):
    """Reads until the connection ends, and notes when the last byte came."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(daemon=True)
        self._connection = connection
        self.last_byte_at = 0.0
        self.received = 0
        self.digest = hashlib.sha256()
        self.ended_by: OSError | None = None

    def run(self) -> None:
        """Read."""
        self._connection.settimeout(5)
        try:
            while data := self._connection.recv(65536):
                self.last_byte_at = time.monotonic()
                self.received += len(data)
                self.digest.update(data)
        except OSError as exc:
            self.ended_by = exc
        self._connection.close()


def expected(size: int) -> "hashlib._Hash":
    """The digest of the first bytes of a source."""
    digest = hashlib.sha256()
    for _ in range(size // len(CHUNK)):
        digest.update(CHUNK)
    digest.update(CHUNK[: size % len(CHUNK)])
    return digest


@pytest.mark.parametrize("address", ["1.1.1.1", "2600::1"])
def test_a_running_download_stops_within_100_ms_of_the_return_of_the_call(
    here: Site, source: "Source", address: str
) -> None:
    box = here.box("b1", "--mode", "allow-all")
    download = Download(connect(box, address, PORT))
    download.start()
    time.sleep(0.3)

    async def deny() -> float:
        async with Client(here.server.target, environ={}) as client:
            found = await SdkBox.get("b1", client=client)
            await found.update_network_policy({"mode": "deny-all"})
            return time.monotonic()

    returned_at = asyncio.run(deny())
    download.join(6)
    assert download.received > 100_000
    assert download.last_byte_at - returned_at < 0.1
    assert isinstance(download.ended_by, ConnectionResetError)


def test_a_download_that_stays_allowed_does_not_lose_a_byte_over_100_updates(
    here: Site, source: "Source"
) -> None:
    box = here.box("b1", "--allow-cidr", "1.0.0.0/8")
    connection = connect(box, "1.1.1.1", PORT)
    download = Download(connection)
    download.start()

    async def change() -> None:
        async with Client(here.server.target, environ={}) as client:
            found = await SdkBox.get("b1", client=client)
            for number in range(100):
                await found.update_network_policy(
                    {
                        "mode": "custom",
                        "allowed_cidrs": ["1.0.0.0/8", f"2.{number}.0.0/16"],
                        "denied_cidrs": [f"3.{number}.0.0/16"],
                    }
                )

    asyncio.run(change())
    # The connection is judged again when the entry that let it in goes and another lets it in.
    here.must("policy", "set", "b1", "--mode", "allow-all")
    received = download.received
    time.sleep(0.3)
    assert download.received > received
    source.stop_sending()
    download.join(6)
    assert download.ended_by is None
    assert download.digest.digest() == expected(download.received).digest()


def test_a_table_that_is_replaced_again_and_again_disturbs_no_connection(lab: Lab) -> None:
    """Every restart of the agent replaces it. What its rules refer to must be counted right."""
    echo = Echo(lab.internet)
    kernel = Kernel(lab)
    box = lab.box()
    kernel.attach(box)
    kernel.enforce(box, AllowAll())
    connection = connect(box, "1.1.1.1")
    for number in range(600):
        kernel.replace()
        connection.sendall(b"%08d" % number)
        assert connection.recv(8) == b"%08d" % number
    connection.close()
    kernel.close()
    echo.close()
