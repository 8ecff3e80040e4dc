"""A real server in a process of its own, with a real file, for tests that treat it as users do."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

ROOT = Path(__file__).resolve().parents[2]


class ServerProcess:
    """`boxwall server`, on a unix socket unless told otherwise. `start` returns when it serves."""

    def __init__(self, folder: Path, listen: str = "", store: str = "") -> None:
        self._listen = listen or f"unix:{folder / 'server.sock'}"
        self.database = folder / "state" / "boxwall.db"
        self._store = store
        self.log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def target(self) -> str:
        """What clients connect to: as the server said, if it was to choose a port."""
        if not self._listen.endswith(":0"):
            return self._listen
        return self.log.read_text().rpartition("boxwall serves on ")[2].split()[0]

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    def command(self, *arguments: str) -> list[str]:
        """The command line of the server."""
        return [
            *boxwall("server", "--listen", self._listen, "--metrics-listen", "off"),
            *([] if self._store else ["--store", f"sqlite:{self.database}"]),
            *arguments,
        ]

    def start(self, *arguments: str) -> None:
        """Start, and wait until the health service says SERVING."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(*arguments),
                stdout=log,
                stderr=log,
                # As operators should: what is on the command line, everybody can read.
                env=environment() | ({"BOXWALL_STORE": self._store} if self._store else {}),
            )
        self._wait_until_serving()

    def kill(self) -> None:
        """kill -9, and reap."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; return the exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        status = self._process.wait(30)
        self._process = None
        return status

    def close(self) -> None:
        """Leave nothing running."""
        if self._process is not None:
            self.kill()

    def _wait_until_serving(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise AssertionError(f"the server ended: {self.log.read_text()}")
            if "boxwall serves on " not in self.log.read_text():
                time.sleep(0.01)
                continue
            with contextlib.suppress(grpc.RpcError), grpc.insecure_channel(self.target) as channel:
                stub: Any = health_pb2_grpc.HealthStub(channel)
                answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=1, wait_for_ready=True)
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
        raise AssertionError(f"the server does not serve: {self.log.read_text()}")


def boxwall(*arguments: str) -> list[str]:
    """The command line of the installed `boxwall`, whatever PATH says."""
    return [sys.executable, "-m", "boxwall", *arguments]


def environment() -> dict[str, str]:
    """An environment in which the checkout is found and no BOXWALL_ variable leaks in."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("BOXWALL_")}
    return kept | {"PYTHONPATH": f"{ROOT / 'clients'}:{ROOT / 'server'}"}
