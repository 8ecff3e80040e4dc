"""TLS on real connections: who gets through, and what a change of the files does."""

import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from boxwall.v1 import (
    box_pb2,
    box_service_pb2,
    box_service_pb2_grpc,
    enforcement_service_pb2,
    enforcement_service_pb2_grpc,
    stream_pb2,
)
from boxwall_server.app import App
from boxwall_server.changes.change import Timestamp
from boxwall_server.clock import SystemClock
from boxwall_server.config import BadConfig, Security, ServerConfig, TcpAddress
from boxwall_server.files import LOOK_EVERY
from boxwall_server.metrics import Metrics
from boxwall_server.store.memory import MemoryStore
from boxwall_server.tls import ServerTls
from fakes.authority import DAY, NOW, SERVER, Authority, Issued
from fakes.clock import FakeClock
from fakes.identities import bearing, token_entry, write_tokens
from fakes.service import refusal

CA, OTHER_CA = Authority(), Authority("other")
Request = enforcement_service_pb2.StreamPoliciesRequest


class Secure:
    """A server with TLS."""

    def __init__(self, app: App, folder: Path, logs: list[Any]) -> None:
        self.app = app
        self.folder = folder
        self.logs = logs

    @asynccontextmanager
    async def channel(
        self, trusts: Authority = CA, shows: Issued | None = None, host: str = "localhost"
    ) -> AsyncIterator[grpc.aio.Channel]:
        """Connect. `shows`: the client's certificate."""
        assert isinstance(self.app.address, TcpAddress)
        credentials = grpc.ssl_channel_credentials(
            trusts.certificate,
            None if shows is None else shows.key,
            None if shows is None else shows.certificate,
        )
        target = f"{host}:{self.app.address.port}"
        options = [("grpc.use_local_subchannel_pool", 1)]  # a handshake for each of ours
        async with grpc.aio.secure_channel(target, credentials, options=options) as channel:
            yield channel

    async def create(self, **how: Any) -> box_pb2.Box:
        """Make a box as an administrator."""
        async with self.channel(**how) as channel:
            return await create(channel)

    def look(self) -> None:
        """What a second of running does."""
        for _ in range(round(1 / LOOK_EVERY)):
            for kept, changed in self.app.guard._files:
                if kept.look():
                    changed()

    def replace(self, pair: Issued) -> None:
        """Put another certificate and key in place."""
        pair.write(self.folder, "server")


async def create(channel: grpc.aio.Channel, **box: Any) -> box_pb2.Box:
    stub = bearing(box_service_pb2_grpc.BoxServiceStub(channel), "root")
    request = box_service_pb2.CreateBoxRequest(box=box_pb2.Box(**box))
    made: box_pb2.Box = await stub.CreateBox(request, timeout=5)
    return made


@asynccontextmanager
async def secured(
    folder: Path, *, asks_clients: bool = False, server: Issued | None = None
) -> AsyncIterator[Secure]:
    """Run a server with TLS and tokens."""
    certificate, key = (server or CA.server()).write(folder, "server")
    (folder / "clients.pem").write_bytes(CA.certificate)
    tokens = write_tokens(folder / "tokens.toml", token_entry("root", "admin"))
    security = Security(
        tls_cert=certificate,
        tls_key=key,
        client_ca=folder / "clients.pem" if asks_clients else None,
        tokens=tokens,
    )
    config = ServerConfig(
        listen=TcpAddress("127.0.0.1", 0),
        database=folder / "unused.db",
        metrics_listen=None,
        grace=0.0,
        security=security,
    )
    with capture_logs() as logs:
        app = App(MemoryStore(), config, SystemClock(), Metrics())
        await app.start()
        try:
            yield Secure(app, folder, logs)
        finally:
            await app.stop()


async def failure(served: Secure, **how: Any) -> grpc.StatusCode:
    """How a connection that must fail does."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.create(**how)
    return caught.value.code()


async def test_a_client_that_trusts_the_server_is_served(tmp_path: Path) -> None:
    async with secured(tmp_path) as served:
        assert (await served.create()).id
        assert (await served.create(host="127.0.0.1")).id


async def test_a_client_that_trusts_another_ca_does_not_send_its_token(tmp_path: Path) -> None:
    async with secured(tmp_path) as served:
        assert await failure(served, trusts=OTHER_CA) is grpc.StatusCode.UNAVAILABLE
        assert not [log for log in served.logs if log["event"] == "call_failed"]


async def test_a_client_refuses_a_server_of_another_name(tmp_path: Path) -> None:
    elsewhere = CA.issue(dns=["elsewhere.test"], usage=[SERVER])
    async with secured(tmp_path, server=elsewhere) as served:
        assert await failure(served) is grpc.StatusCode.UNAVAILABLE


async def test_plaintext_is_not_served_where_there_is_tls(tmp_path: Path) -> None:
    async with secured(tmp_path) as served, grpc.aio.insecure_channel(str(served.app.address)) as c:
        with pytest.raises(grpc.aio.AioRpcError):
            await create(c)


WRONG = {
    "none": None,
    "another CA's": OTHER_CA.node(),
    "self-signed": CA.node(self_signed=True),
    "expired": CA.node(expires=NOW - datetime.timedelta(minutes=1)),
    "not valid yet": CA.node(begins=NOW + datetime.timedelta(hours=1)),
    "a server's": CA.node(usage=[SERVER]),
}


@pytest.mark.parametrize("shows", WRONG.values(), ids=WRONG)
async def test_with_mutual_tls_a_wrong_certificate_opens_nothing(
    tmp_path: Path, shows: Issued | None
) -> None:
    async with secured(tmp_path, asks_clients=True) as served:
        assert await failure(served, shows=shows) is grpc.StatusCode.UNAVAILABLE
        assert (await served.create(shows=CA.node())).id


async def subscribed(channel: grpc.aio.Channel, node_id: str, *box_ids: str) -> Any:
    stub = enforcement_service_pb2_grpc.EnforcementServiceStub(channel)
    call = stub.StreamPolicies()
    boxes = [stream_pb2.HostedBox(box_id=box_id) for box_id in box_ids]
    await call.write(Request(subscribe=stream_pb2.Subscribe(node_id=node_id, boxes=boxes)))
    return call


async def test_a_node_is_who_its_certificate_says(tmp_path: Path) -> None:
    async with (
        secured(tmp_path, asks_clients=True) as served,
        served.channel(shows=CA.node("n1")) as channel,
    ):
        box = await create(channel, node_id="n1")
        other = await create(channel, node_id="n2")
        call = await subscribed(channel, "n1", box.id, other.id)
        entries = {entry.box_id: entry for entry in (await call.read()).reset.boxes}
        assert entries[box.id].HasField("network_policy")
        assert entries[other.id].HasField("refused")
        call.cancel()
        for name in ("n2", "N1", ""):
            error = await refusal((await subscribed(channel, name)).read())
            assert error.status is grpc.StatusCode.PERMISSION_DENIED
        error = await refusal(
            box_service_pb2_grpc.BoxServiceStub(channel).GetBox(
                box_service_pb2.GetBoxRequest(box_id=box.id)
            )
        )
        assert error.status is grpc.StatusCode.PERMISSION_DENIED


async def test_a_certificate_that_names_no_node_needs_a_token(tmp_path: Path) -> None:
    client = CA.issue(uris=["spiffe://boxwall/tenant/default/client/ci"])
    async with (
        secured(tmp_path, asks_clients=True) as served,
        served.channel(shows=client) as channel,
    ):
        error = await refusal((await subscribed(channel, "n1")).read())
        assert error.status is grpc.StatusCode.UNAUTHENTICATED
        await create(channel)


async def test_a_revoked_certificate_ends_its_streams_and_comes_in_no_more(tmp_path: Path) -> None:
    node = CA.node("n1")
    async with secured(tmp_path, asks_clients=True) as served:
        async with served.channel(shows=node) as channel:
            call = await subscribed(channel, "n1")
            await call.read()
            write_tokens(
                tmp_path / "tokens.toml", token_entry("root", "admin"), revoked=(node.fingerprint,)
            )
            served.look()
            served.app.guard.check_streams(served.app.hub)
            assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
            error = await refusal((await subscribed(channel, "n1")).read())
            assert error.status is grpc.StatusCode.UNAUTHENTICATED
            with pytest.raises(grpc.aio.AioRpcError, match="not valid here"):
                await create(channel)
        assert (await served.create(shows=CA.node("n1"))).id


async def test_a_revoked_certificate_ends_the_streams_of_tokens_on_its_connection(
    tmp_path: Path,
) -> None:
    lost, kept = (CA.issue(uris=[f"spiffe://boxwall/client/{name}"]) for name in ("a", "b"))
    async with (
        secured(tmp_path, asks_clients=True) as served,
        served.channel(shows=lost) as one,
        served.channel(shows=kept) as other,
    ):
        watches = [
            bearing(box_service_pb2_grpc.BoxServiceStub(channel), "root").WatchBoxes(
                box_service_pb2.WatchBoxesRequest()
            )
            for channel in (one, other)
        ]
        for watch in watches:
            await watch.read()
        write_tokens(
            tmp_path / "tokens.toml", token_entry("root", "admin"), revoked=(lost.fingerprint,)
        )
        served.look()
        served.app.guard.check_streams(served.app.hub)
        assert await watches[0].code() is grpc.StatusCode.UNAUTHENTICATED
        await create(other)
        assert (await watches[1].read()).HasField("changes")
        watches[1].cancel()


async def test_a_new_certificate_is_for_new_connections_and_old_ones_go_on(tmp_path: Path) -> None:
    async with secured(tmp_path) as served, served.channel() as old:
        await create(old)
        watch = bearing(box_service_pb2_grpc.BoxServiceStub(old), "root").WatchBoxes(
            box_service_pb2.WatchBoxesRequest()
        )
        await watch.read()
        served.replace(OTHER_CA.server())
        served.look()
        assert (await served.create(trusts=OTHER_CA)).id
        assert await failure(served) is grpc.StatusCode.UNAVAILABLE
        await create(old)
        assert (await watch.read()).HasField("changes")
        watch.cancel()


async def test_a_new_ca_of_clients_is_for_new_connections(tmp_path: Path) -> None:
    async with secured(tmp_path, asks_clients=True) as served:
        (tmp_path / "clients.pem").write_bytes(OTHER_CA.certificate)
        served.look()
        assert await failure(served, shows=CA.node()) is grpc.StatusCode.UNAVAILABLE
        assert (await served.create(shows=OTHER_CA.node())).id


BAD_PAIRS: dict[str, tuple[dict[str, bytes], str]] = {
    "half a certificate": ({"server.pem": CA.server().certificate[:200]}, "no certificate"),
    "an empty certificate": ({"server.pem": b""}, "no certificate"),
    "another's certificate": ({"server.pem": CA.server().certificate}, "is not the key"),
    "another's key": ({"server.key": CA.server().key}, "is not the key"),
    "half a key": ({"server.key": CA.server().key[:100]}, "no private key"),
    "an empty key": ({"server.key": b""}, "no private key"),
    "an expired one": (
        {
            "server.pem": (expired := CA.server(expires=NOW - DAY / 2)).certificate,
            "server.key": expired.key,
        },
        "expired at",
    ),
    "one that is not valid yet": (
        {
            "server.pem": (early := CA.server(begins=NOW + DAY / 2)).certificate,
            "server.key": early.key,
        },
        "not valid yet",
    ),
    "no CA": ({"clients.pem": b"nonsense"}, "no certificate"),
}


@pytest.mark.parametrize(("files", "complaint"), BAD_PAIRS.values(), ids=BAD_PAIRS)
async def test_what_cannot_serve_leaves_the_last_good_in_force_and_says_so(
    tmp_path: Path, files: dict[str, bytes], complaint: str
) -> None:
    async with secured(tmp_path, asks_clients=True) as served:
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        served.look()
        served.look()
        assert (await served.create(shows=CA.node())).id
        (said,) = [log for log in served.logs if log["event"] == "file_unusable"]
        assert complaint in said["error"]
        assert "PRIVATE KEY" not in str(said)
        stale = served.app.metrics.registry.get_sample_value("boxwall_stale_file", {"file": "tls"})
        assert stale == 1


async def test_a_certificate_that_is_put_there_early_is_taken_up_when_it_becomes_valid(
    tmp_path: Path,
) -> None:
    clock, metrics = FakeClock(Timestamp(round(NOW.timestamp() * 1e6))), Metrics()
    certificate, key = CA.server().write(tmp_path, "server")
    security = Security(tls_cert=certificate, tls_key=key)
    with capture_logs() as logs:
        files = ServerTls(security, clock, metrics).files
        CA.server(begins=NOW + DAY / 2).write(tmp_path, "server")
        for _ in range(5):
            assert not files.look()
        clock.advance(DAY.total_seconds() / 2)
        assert files.look()
        assert not files.look()
    assert [log["event"] for log in logs] == ["file_unusable", "file_reloaded"]
    assert metrics.registry.get_sample_value("boxwall_stale_file", {"file": "tls"}) == 0


@pytest.mark.parametrize(("files", "complaint"), BAD_PAIRS.values(), ids=BAD_PAIRS)
async def test_a_server_does_not_start_with_what_cannot_serve(
    tmp_path: Path, files: dict[str, bytes], complaint: str
) -> None:
    pair = CA.server()
    pair.write(tmp_path, "server")
    (tmp_path / "clients.pem").write_bytes(CA.certificate)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    security = Security(
        tls_cert=tmp_path / "server.pem",
        tls_key=tmp_path / "server.key",
        client_ca=tmp_path / "clients.pem",
    )
    config = ServerConfig(
        listen=TcpAddress("127.0.0.1", 0),
        database=tmp_path / "unused.db",
        metrics_listen=None,
        security=security,
    )
    with pytest.raises(BadConfig, match=complaint):
        App(MemoryStore(), config, SystemClock(), Metrics())


async def test_when_the_certificate_expires_is_a_metric(tmp_path: Path) -> None:
    async with secured(tmp_path) as served:
        registry = served.app.metrics.registry
        shown = registry.get_sample_value("boxwall_certificate_expire_time_seconds")
        assert shown == pytest.approx((NOW + DAY).timestamp(), abs=1.0)
