"""Databases that cannot be served: a clear error at start, and nothing lost."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from fakes.server_process import ServerProcess, boxwall, environment

OBEY_FILE_MODES = """
import ctypes, os, sys
bounding_set_drop, dac_override = 24, 1  # linux/prctl.h, linux/capability.h
if ctypes.CDLL(None).prctl(bounding_set_drop, dac_override, 0, 0, 0) != 0:
    sys.exit("prctl failed")
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Takes from root what lets it write to read-only files, then becomes the server."""


def failing_start(process: ServerProcess, *, obeying: bool = False) -> str:
    """Start a server that must not start; return what it said."""
    command = process.command()
    if obeying and os.geteuid() == 0:
        command = [sys.executable, "-c", OBEY_FILE_MODES, *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment())
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_second_server_on_the_same_file_is_refused(server: ServerProcess, tmp_path: Path) -> None:
    second = ServerProcess(tmp_path / "second")
    (tmp_path / "second").mkdir()
    second.database = server.database
    assert "another" in failing_start(second)


def test_a_file_of_a_newer_version_is_refused_and_left_alone(server: ServerProcess) -> None:
    assert server.stop() == 0
    with contextlib.closing(sqlite3.connect(server.database)) as database:
        database.execute("PRAGMA user_version = 9999")
        database.commit()
    said = failing_start(server)
    assert "9999" in said
    assert "newer" in said


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    process = ServerProcess(tmp_path)
    process.database = tmp_path / "notes.txt"
    process.database.write_text("these are my notes, and they are long enough to be a header" * 100)
    before = process.database.read_bytes()
    assert str(process.database) in failing_start(process)
    assert process.database.read_bytes() == before


def test_a_read_only_file_is_refused(server: ServerProcess) -> None:
    assert server.stop() == 0
    server.database.chmod(0o400)
    assert "cannot be read and written by this user" in failing_start(server, obeying=True)


def test_a_public_address_is_refused_with_the_way_out(tmp_path: Path) -> None:
    done = subprocess.run(
        boxwall("server", "--listen", "0.0.0.0:50051", "--store", f"sqlite:{tmp_path / 'x.db'}"),
        capture_output=True,
        text=True,
        timeout=30,
        env=environment(),
    )
    assert done.returncode == 2
    assert "127.0.0.1" in done.stderr
    assert not (tmp_path / "x.db").exists()


def test_a_backup_is_a_new_history_with_the_same_boxes(
    server: ServerProcess, tmp_path: Path
) -> None:
    run = [*boxwall("--server", server.target), "box"]
    subprocess.run(
        [*run, "create", "--id", "b1", "--mode", "deny-all"],
        check=True,
        capture_output=True,
        env=environment(),
    )
    copy = tmp_path / "copy.db"
    backup = boxwall("backup", str(copy), "--store", f"sqlite:{server.database}")
    subprocess.run(backup, check=True, capture_output=True, env=environment())
    assert subprocess.run(backup, capture_output=True, env=environment()).returncode == 1
    assert server.stop() == 0
    server.database = copy
    server.start()
    done = subprocess.run(
        [*run, "get", "b1"], check=True, capture_output=True, text=True, env=environment()
    )
    assert "deny-all" in done.stdout
