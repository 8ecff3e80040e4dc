"""A PostgreSQL of the benchmark's own, with its defaults: what it acknowledges is on disk."""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import asyncpg

from bench.harness import Bench, Server, server_command
from bench.processes import START_TIMEOUT, Child
from bench.procfs import cpu_seconds

USER = "postgres"


def missing() -> str:
    """Say why no PostgreSQL can be started here. Empty: it can."""
    if _programs() is None:
        return "PostgreSQL is not here (tools/bench-packages.sh installs it on Debian)"
    if os.geteuid() == 0 and _owner() is None:
        return f"root needs a user `{USER}` to run PostgreSQL as"
    return ""


class Postgres:
    """One that runs, on a port of its own."""

    def __init__(self, child: Child, port: int) -> None:
        self.child = child
        self._port = port

    @property
    def cpu(self) -> float:
        """Seconds of CPU so far, of all its processes that live."""
        self.child.check()
        spent = 0.0
        for pid in (self.child.pid, *_children(self.child.pid)):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                spent += cpu_seconds(pid)
        return spent

    def url(self, database: str) -> str:
        """Where a database is, for `--store`."""
        return f"postgresql://{USER}@127.0.0.1:{self._port}/{database}"

    async def make(self, database: str) -> None:
        """Make a database, as `createdb --encoding=UTF8` does."""
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            await connection.execute(
                f"CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8'"
            )
        finally:
            await connection.close()

    async def version(self) -> str:
        """What it is."""
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            return str(await connection.fetchval("SHOW server_version"))
        finally:
            await connection.close()


async def start_postgres(bench: Bench) -> Postgres:
    """Start one where stores are put; returns when it answers. It ends with the question."""
    programs, folder = _programs(), bench.fresh("postgres")
    assert programs is not None, "see missing()"
    folder.mkdir()
    if (owner := _owner()) is not None:
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        bench.directory.chmod(0o711)  # so that it can get there
    await asyncio.to_thread(_initialise, programs / "initdb", folder / "data")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [*_as_owner(), programs / "postgres", "-D", folder / "data", "-p", port, "-k", folder]
    argv += ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"]
    child = await bench.processes.spawn("postgres", [str(part) for part in argv])
    server = Postgres(child, port)
    await child.outlives(_answers(server))
    return server


async def start_replica(bench: Bench, postgres: Postgres, database: str) -> Server:
    """Start a control plane on a database. It may not accept connections yet."""
    target = bench.fresh("replica.sock")
    argv = [*server_command(), "--listen", f"unix:{target}", "--store", postgres.url(database)]
    return Server(
        await bench.processes.spawn("replica", [*argv, "--metrics-listen", "off"]), target
    )


def _initialise(program: Path, data: Path) -> None:
    options = ["-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]
    command = [*_as_owner(), str(program), "-D", str(data), *options]
    subprocess.run(command, check=True, capture_output=True, cwd="/")


async def _answers(server: Postgres) -> None:
    async with asyncio.timeout(START_TIMEOUT):
        while True:
            try:
                await server.version()
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.05)
            else:
                return


def _programs() -> Path | None:
    """Return the folder of the newest: Debian keeps them off PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda f: float(f.parent.name))
    on_path = shutil.which("initdb")
    found = [*reversed(folders), *([Path(on_path).parent] if on_path else [])]
    return next((folder for folder in found if (folder / "initdb").exists()), None)


def _owner() -> pwd.struct_passwd | None:
    """Return whom root runs it as: it refuses to run as root."""
    if os.geteuid() != 0:
        return None
    with suppress(KeyError):
        return pwd.getpwnam(USER)
    return None


def _as_owner() -> list[str]:
    owner = _owner()
    if owner is None:
        return []
    return ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups", "--"]


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
