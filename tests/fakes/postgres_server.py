"""A PostgreSQL of the tests' own: private directory, private port, gone at the end.

From Debian's package (tools/test-packages.sh installs it where it can). It does not run as root, so
root hands it to the user `postgres`.
"""

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg

from boxwall_server.store.postgres_url import PostgresUrl

PASSWORD = "se:cr/et"
_QUOTED = "se%3Acr%2Fet"
_numbers = itertools.count(1)


def why_no_postgres() -> str:
    """Why no PostgreSQL can be started here. Empty: it can."""
    if _programs() is None:
        return (
            "needs PostgreSQL's initdb and postgres; tools/test-packages.sh installs it on Debian"
        )
    if os.geteuid() == 0 and _owner() is None:
        return "root needs a user `postgres` to run PostgreSQL as"
    return ""


class PostgresServer:
    """`start` returns when it answers. One for many tests: each gets a database of its own."""

    def __init__(self, *settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="boxwall-postgres-"))
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        owner = _owner()
        if owner is not None:
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._make()

    @property
    def pid(self) -> int:
        """Of the running postmaster."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start, and wait until it answers.

        A process that was begun while the others were killed lives a moment longer, and has their
        memory: until it has gone, no other can start.
        """
        deadline = time.monotonic() + 30
        while True:
            before = self._log_bytes()
            self._spawn()
            try:
                return self._wait_until_it_answers()
            except AssertionError:
                said = (self.folder / "log").read_bytes()[before:]
                if b"is still in use" not in said or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _log_bytes(self) -> int:
        log = self.folder / "log"
        return log.stat().st_size if log.exists() else 0

    def _spawn(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(*_as_owner(), self._program("postgres"), "-D", self.folder / "data"),
                    *("-p", str(self.port), "-k", self.folder),
                    *("-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"),
                    *(part for setting in self._settings for part in ("-c", setting)),
                ],
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )

    def kill(self) -> None:
        """kill -9 of all of it, as if the machine had gone; and reap."""
        assert self._process is not None
        self.signal_all(signal.SIGKILL)
        self._process.wait(30)
        self._process = None

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to the postmaster and to every process that it has started."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        for process in (self.pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def close(self) -> None:
        """Leave nothing running and nothing behind."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # fast shutdown
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def database(self, *, made: bool = True, name: str = "") -> PostgresUrl:
        """Make an empty database; return where it is."""
        name = name or f"boxwall_{next(_numbers)}"
        if made:
            await self.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        return self.url(name)

    def url(self, name: str) -> PostgresUrl:
        """Where a database is."""
        return PostgresUrl.parse(f"postgresql://postgres:{_QUOTED}@127.0.0.1:{self.port}/{name}")

    def url_by_socket(self, name: str) -> PostgresUrl:
        """Where a database is for those in other network namespaces."""
        where = f"host={self.folder}&port={self.port}"
        return PostgresUrl.parse(f"postgresql://postgres:{_QUOTED}@/{name}?{where}")

    async def execute(self, statement: str, database: str = "postgres") -> None:
        """Run SQL as the superuser."""
        connection = await asyncpg.connect(self.url(database).text)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def value(self, query: str) -> Any:
        """Return the one value that a query of the superuser has."""
        connection = await asyncpg.connect(self.url("postgres").text)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    def _make(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self.run_as_owner(
            *("initdb", "-D", self.folder / "data", "-U", "postgres"),
            *("--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8"),
            *("--locale=C.UTF-8", "--no-sync"),
        )

    def run_as_owner(self, program: str, *arguments: str | Path, **environment: str) -> None:
        """Run one of PostgreSQL's programs as the user that the server runs as."""
        subprocess.run(
            [*_as_owner(), self._program(program), *arguments],
            check=True,
            capture_output=True,
            cwd=self.folder,
            env=os.environ | environment,
        )

    def _program(self, name: str) -> Path:
        programs = _programs()
        assert programs is not None
        return programs / name

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                raise AssertionError((self.folder / "log").read_text())
            asked = [
                str(self._program("pg_isready")),
                "-q",
                "-h",
                "127.0.0.1",
                "-p",
                str(self.port),
            ]
            if subprocess.run(asked).returncode == 0:
                return
            time.sleep(0.05)
        raise AssertionError(f"no answer: {(self.folder / 'log').read_text()}")


async def run(url: PostgresUrl, *statements: str) -> None:
    """Run SQL in a database."""
    connection = await asyncpg.connect(url.text)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def roll_back(url: PostgresUrl, to: int) -> None:
    """Make a database what a standby was that had not got everything."""
    await run(
        url,
        f"DELETE FROM boxwall.changes WHERE revision > {to}",
        f"DELETE FROM boxwall.boxes WHERE revision > {to}",
        f"UPDATE boxwall.head SET revision = {to}, "
        f"commit_id = (SELECT commit_id FROM boxwall.changes WHERE revision = {to})",
    )


async def logged_revisions(url: PostgresUrl) -> list[int]:
    """Return the revisions that the log of a database holds."""
    connection = await asyncpg.connect(url.text)
    try:
        rows = await connection.fetch("SELECT revision FROM boxwall.changes ORDER BY 1")
    finally:
        await connection.close()
    return [row[0] for row in rows]


def _programs() -> Path | None:
    """The folder of the newest initdb: Debian keeps them off PATH."""
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name)
    )
    on_path = shutil.which("initdb")
    candidates = [*reversed(folders), *([Path(on_path).parent] if on_path else [])]
    return next(
        (f for f in candidates if (f / "initdb").exists() and (f / "postgres").exists()), None
    )


def _owner() -> pwd.struct_passwd | None:
    """Whom root runs it as. None: this user, or nobody to run it as."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return None


def _as_owner() -> list[str | Path]:
    """What begins a command line that is to run as the owner.

    Not the arguments of subprocess for that: with them Python runs code of its own between fork and
    exec, which a process in which gRPC has threads does not survive.
    """
    owner = _owner()
    if owner is None:
        return []
    ids = [f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
    return ["setpriv", *ids, "--"]
