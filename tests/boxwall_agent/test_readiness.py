"""Who started the agent is told when it enforces, if it wants to know."""

import secrets
import socket
from pathlib import Path

import pytest

from boxwall_agent.readiness import tell_ready


@pytest.mark.parametrize("is_abstract", [False, True])
def test_who_waits_is_told(tmp_path: Path, is_abstract: bool) -> None:
    name = f"boxwall-{secrets.token_hex(8)}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name if is_abstract else name)
        manager.settimeout(10)
        tell_ready({"NOTIFY_SOCKET": "@" + name if is_abstract else name})
        assert manager.recv(64) == b"READY=1"


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/no/such"}])
def test_if_nobody_waits_nothing_happens(environ: dict[str, str]) -> None:
    tell_ready(environ)
