"""A token over TLS to a server that proves who it is, and to one that does not."""

import shutil
import subprocess
from pathlib import Path

import grpc
import pytest
from fake_service import FakeBoxService  # type: ignore[import-not-found]  # mypy has no path to it

from boxwall import Box, Client, Unavailable
from boxwall.v1 import box_service_pb2_grpc

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


async def test_only_a_server_with_a_trusted_certificate_gets_the_token(tmp_path: Path) -> None:
    key, trusted = certificate(tmp_path, "server")
    _, other = certificate(tmp_path, "other")
    fake = FakeBoxService()
    server = grpc.aio.server()
    box_service_pb2_grpc.add_BoxServiceServicer_to_server(fake, server)
    pair = (key.read_bytes(), trusted.read_bytes())
    port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([pair]))
    await server.start()
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
    await server.stop(None)
