"""A token over TLS to a server that proves who it is, and to one that does not."""

import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from fake_service import FakeBoxService  # type: ignore[import-not-found]  # mypy has no path to it

from boxwall import Box, BoxNotFound, Client, Unauthenticated, Unavailable
from boxwall.v1 import box_service_pb2_grpc
from boxwall.wire.errors import ApiError, ErrorReason

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="needs openssl on PATH to make certificates"
)


def certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """Make a self-signed certificate for localhost; return key and certificate."""
    key, made = directory / f"{name}.key", directory / f"{name}.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(made)),
        ],
        check=True,
        capture_output=True,
    )
    return key, made


@asynccontextmanager
async def serving(fake: Any, key: Path, shows: Path, port: int = 0) -> AsyncIterator[int]:
    """Serve over TLS, and yield the port."""
    server = grpc.aio.server()
    box_service_pb2_grpc.add_BoxServiceServicer_to_server(fake, server)
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), shows.read_bytes())])
    port = server.add_secure_port(f"localhost:{port}", credentials)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def test_a_call_is_repeated_with_the_certificates_that_were_renewed_meanwhile(
    tmp_path: Path,
) -> None:
    """The first attempt finds that the old ones are not believed; the next uses the new ones."""
    old, new = (certificate(tmp_path, name) for name in ("old", "new"))
    trusts = tmp_path / "trusts.pem"
    trusts.write_bytes(old[1].read_bytes())
    async with AsyncExitStack() as first:
        port = await first.enter_async_context(serving(FakeBoxService(), *old))
        async with Client(f"localhost:{port}", ca=str(trusts), environ={}) as client:
            assert await Box.list(client=client) == []
            await first.aclose()
            trusts.write_bytes(new[1].read_bytes())
            async with serving(FakeBoxService(), *new, port):
                assert await Box.list(client=client) == []


async def test_a_call_that_is_refused_for_an_old_certificate_is_made_again_with_the_new_one(
    tmp_path: Path,
) -> None:
    pair = certificate(tmp_path, "server")
    trusts = tmp_path / "trusts.pem"
    trusts.write_bytes(pair[1].read_bytes())
    fake = FakeBoxService()
    refused = ApiError(ErrorReason.UNAUTHENTICATED, "not any more")
    async with (
        serving(fake, *pair) as port,
        Client(f"localhost:{port}", ca=str(trusts), retries=0, environ={}) as client,
    ):
        fake.script["GetBox"].append(refused)
        with pytest.raises(Unauthenticated):
            await Box.get("b1", client=client)
        assert len(fake.called("GetBox")) == 1, "nothing is other than it was"
        fake.script["GetBox"].append(refused)
        trusts.write_bytes(pair[1].read_bytes() + b"\n")
        with pytest.raises(BoxNotFound):
            await Box.get("b1", client=client)
        assert len(fake.called("GetBox")) == 3


async def test_only_a_server_with_a_trusted_certificate_gets_the_token(tmp_path: Path) -> None:
    key, trusted = certificate(tmp_path, "server")
    _, other = certificate(tmp_path, "other")
    fake = FakeBoxService()
    async with serving(fake, key, trusted) as port:
        address = f"localhost:{port}"
        async with Client(address, "s3cret", str(trusted), environ={}) as client:
            assert await Box.list(client=client) == []
        async with Client(address, "s3cret", str(other), retries=0, environ={}) as client:
            with pytest.raises(Unavailable):
                await Box.list(client=client)
        async with Client(address, retries=0, environ={}) as client:
            with pytest.raises(Unavailable):
                await Box.list(client=client)

    assert [metadata["authorization"] for metadata in fake.metadata] == ["Bearer s3cret"]
