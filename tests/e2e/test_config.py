"""Settings of real processes: flag, environment, file, default, in this order."""

import json
import sqlite3
import subprocess
from pathlib import Path

import grpc
import pytest

from boxwall.v1 import (
    box_service_pb2,
    box_service_pb2_grpc,
    enforcement_service_pb2,
    enforcement_service_pb2_grpc,
    stream_pb2,
)
from fakes.server_process import ServerProcess, boxwall, environment


def failing(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run what must end by itself."""
    return subprocess.run(
        boxwall(*arguments),
        capture_output=True,
        text=True,
        timeout=30,
        env=environment() | variables,
    )


def run_for_a_moment(*arguments: str, **variables: str) -> str:
    """Start a server, stop it when it serves; return what it said."""
    process = subprocess.Popen(
        boxwall(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment() | variables,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    process.terminate()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    return line


def settings(folder: Path, **values: str) -> Path:
    """Write a file."""
    path = folder / "boxwall.toml"
    lines = (f'{key.replace("_", "-")} = "{value}"\n' for key, value in values.items())
    path.write_text("".join(lines))
    return path


def test_the_flag_beats_the_environment_and_the_environment_beats_the_file(tmp_path: Path) -> None:
    path = settings(
        tmp_path,
        listen=f"unix:{tmp_path / 'file.sock'}",
        store=f"sqlite:{tmp_path / 'file.db'}",
        metrics_listen="off",
    )
    common = ("server", "--config", str(path))
    assert "file.sock" in run_for_a_moment(*common)
    variable = {"BOXWALL_LISTEN": f"unix:{tmp_path / 'variable.sock'}"}
    assert "variable.sock" in run_for_a_moment(*common, **variable)
    flag = ("--listen", f"unix:{tmp_path / 'flag.sock'}")
    assert "flag.sock" in run_for_a_moment(*common, *flag, **variable)
    assert (tmp_path / "file.db").exists()


def test_a_file_named_before_the_verb_counts_for_the_server(tmp_path: Path) -> None:
    path = settings(
        tmp_path,
        listen=f"unix:{tmp_path / 'file.sock'}",
        store=f"sqlite:{tmp_path / 'file.db'}",
        metrics_listen="off",
    )
    assert "file.sock" in run_for_a_moment("--config", str(path), "server")
    assert "file.sock" in run_for_a_moment("server", BOXWALL_CONFIG=str(path))


def test_a_backup_answers_in_json_where_that_is_asked_for(
    server: ServerProcess, tmp_path: Path
) -> None:
    copy = str(tmp_path / "copy.db")
    store = ("--store", f"sqlite:{server.database}")
    done = failing("--output", "json", "backup", copy, *store)
    assert json.loads(done.stdout) == {"backup": copy}
    again = failing("backup", copy, *store, "--output", "json")
    assert again.returncode == 1
    assert "name another file" in json.loads(again.stderr)["message"]


@pytest.mark.parametrize("where", ["before", "after", "environment"])
def test_a_backup_copies_the_store_that_the_file_names(
    where: str, server: ServerProcess, tmp_path: Path
) -> None:
    run = (*boxwall("--server", server.target), "box", "create", "--id", "b1")
    subprocess.run(run, check=True, capture_output=True, env=environment(), timeout=30)
    path = settings(tmp_path, store=f"sqlite:{server.database}", listen="unix:/nowhere")
    copy = tmp_path / "copy.db"
    flag = ("--config", str(path))
    done = {
        "before": lambda: failing(*flag, "backup", str(copy)),
        "after": lambda: failing("backup", *flag, str(copy)),
        "environment": lambda: failing("backup", str(copy), BOXWALL_CONFIG=str(path)),
    }[where]()
    assert done.returncode == 0, done
    with sqlite3.connect(copy) as database:
        assert database.execute("SELECT count(*) FROM boxes").fetchone() == (1,)
    database.close()


def test_an_unknown_key_is_refused_by_name(tmp_path: Path) -> None:
    path = settings(tmp_path, lisen="127.0.0.1:1")
    done = failing("server", "--config", str(path))
    assert done.returncode == 2
    assert "unknown keys: lisen" in done.stderr


def test_only_placed_boxes_can_be_attached_when_the_operator_says_so(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    server.start("--only-placed")
    with grpc.insecure_channel(server.target) as channel:
        boxes = box_service_pb2_grpc.BoxServiceStub(channel)
        for box_id, node_id in (("free", ""), ("placed", "n1")):
            request = box_service_pb2.CreateBoxRequest(box_id=box_id)
            request.box.node_id = node_id
            boxes.CreateBox(request)
        stream = enforcement_service_pb2_grpc.EnforcementServiceStub(channel).StreamPolicies(
            iter([attaching("free", "placed")])
        )
        entries = {entry.box_id: entry for entry in next(stream).reset.boxes}
        stream.cancel()
    server.close()
    assert entries["placed"].HasField("network_policy")
    assert entries["free"].HasField("refused")


def attaching(*box_ids: str) -> enforcement_service_pb2.StreamPoliciesRequest:
    """The first message of a node."""
    boxes = [stream_pb2.HostedBox(box_id=box_id) for box_id in box_ids]
    return enforcement_service_pb2.StreamPoliciesRequest(
        subscribe=stream_pb2.Subscribe(node_id="n1", boxes=boxes)
    )
