"""The blocking shell, against a fake control plane in a process of its own."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from boxwall.sync import (
    BadConfig,
    Box,
    BoxChanged,
    BoxGone,
    BoxNotFound,
    Client,
    EphemeralBox,
    InvalidPolicy,
    NetworkPolicy,
    NotEnforced,
    Snapshot,
    Unavailable,
)
from boxwall.sync.loop_thread import close_default_thread, default_thread

FAKE = Path(__file__).with_name("fake_service.py")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("sync") / "s"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, str(FAKE), str(path)], stdout=subprocess.PIPE, text=True, env=environ
    ) as fake:
        assert fake.stdout is not None
        assert fake.stdout.readline() == "ready\n"
        yield f"unix:{path}"
        fake.kill()


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client


def test_a_box_lives_from_create_to_delete(client: Client) -> None:
    box = Box.create(
        name="web", labels={"a": "b"}, network_policy={"mode": "deny-all"}, client=client
    )
    assert box.network_policy == NetworkPolicy.deny_all()
    assert not box.check("a.test:443").allowed

    assert box.update_network_policy({"mode": "allow-all"}) is box
    assert [verdict.allowed for verdict in box.check_all(["a.test", "10.0.0.1"])] == [True, False]
    assert [r.network_policy.mode for r in box.policy_history()] == ["allow-all", "deny-all"]
    assert box.update(name="new").name == "new"
    assert box.wait_enforced().refresh().name == "new"
    assert [w.code.value for w in box.validate_network_policy({"mode": "custom"})] == [
        "EMPTY_CUSTOM_DENIES_ALL"
    ]
    assert box.id in [found.id for found in Box.list(client=client)]
    box.delete()

    with pytest.raises(BoxNotFound):
        Box.get(box.id, client=client)


def test_errors_are_those_of_the_asynchronous_api(client: Client) -> None:
    with pytest.raises(InvalidPolicy, match=r"use 10\.0\.0\.0/24"):
        Box.create(network_policy={"mode": "custom", "allowed_cidrs": ["10.0.0.7/24"]})
    with pytest.raises(NotEnforced, match="n2"):
        Box.get("lagging", client=client).update_network_policy({"mode": "deny-all"})


def test_snapshots_and_ephemeral_boxes(client: Client) -> None:
    box = Box.create(network_policy={"mode": "deny-all"}, client=client)
    snapshot = box.snapshot()

    with EphemeralBox.from_snapshot(snapshot, ttl=60, client=client) as made:
        assert made.network_policy == box.network_policy
        assert made.extend(90).expire_time is not None
    with EphemeralBox.create(ttl=60, client=client) as other:
        assert other.expire_time is not None
    assert [s.id for s in Snapshot.list(box_id=box.id, client=client)] == [snapshot.id]
    assert Box.from_snapshot(snapshot.id, client=client).source_snapshot == snapshot.id
    Snapshot.get(snapshot.id, client=client).delete()


def test_a_watch_is_walked_through_and_closed(client: Client) -> None:
    with Box.watch(client=client) as watch:
        first, second, third = next(watch), next(watch), next(watch)

    assert isinstance(first, BoxChanged)
    assert isinstance(first.box, Box)
    assert (second.box_id, third) == ("b1", BoxGone("b1"))
    with pytest.raises(StopIteration):
        next(watch)


def test_refusals_are_walked_through(client: Client) -> None:
    with Box.get("hosted", client=client).refusals() as refusals:
        assert next(refusals).dropped_before == 1
    with Box.watch_refusals(client=client) as refusals:
        assert next(refusals).box_id == "hosted"
    assert len(Box.recent_refusals(client=client)) == 1


def test_nodes_are_for_operators(client: Client) -> None:
    assert "n1" in [node.id for node in client.nodes.list()]
    assert client.nodes.fence("n9", reason="odd").fence_reason == "odd"
    assert client.nodes.unfence("n9") == client.nodes.get("n9")
    assert client.nodes.forget("n9") == 0
    assert client.is_serving()


def test_many_threads_share_a_client(client: Client) -> None:
    box = Box.get("hosted", client=client)
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            for _ in range(5):
                box.check("a.test")
        except BaseException as exc:
            failed.append(exc)
            raise

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []


def test_a_closed_client_says_so(address: str) -> None:
    client = Client(address)
    client.close()
    client.close()

    with pytest.raises(BadConfig, match="closed"):
        Box.get("hosted", client=client)


def test_a_call_on_the_clients_own_thread_does_not_wait_for_itself() -> None:
    thread = default_thread()

    async def nested() -> None:
        Box.get("b1")

    with pytest.raises(BadConfig, match="own thread"):
        thread.run(nested())
    close_default_thread()


SCRIPT = """
import os, sys
from boxwall.sync import BadConfig, Box, Client

mine = Client()
Box.get("hosted"); Box.get("hosted", client=mine)
print(len(list(Box.list())) >= 3)
child = os.fork()
if child == 0:
    try:
        Box.get("hosted", client=mine)
    except BadConfig as exc:
        os.write(1, str(exc).encode() + b"\\n")
    os._exit(0)
os.waitpid(child, 0)
"""


def test_a_program_that_closes_nothing_ends_and_a_fork_needs_new_clients(address: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "BOXWALL_SERVER": address},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.stdout.splitlines() == [
        "True",
        "the client belongs to the parent process; make a new one after a fork",
    ]
    assert done.returncode == 0


def test_ctrl_c_ends_a_blocking_call_and_the_client_lives_on(address: str) -> None:
    script = """
import signal, threading, os
from boxwall.sync import Box

with Box.watch() as watch:
    for _ in range(3):
        next(watch)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        next(watch)
    except KeyboardInterrupt:
        print("interrupted")
print(Box.get("hosted").id)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "BOXWALL_SERVER": address},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert (done.stdout, done.returncode) == ("interrupted\nhosted\n", 0), done.stderr


def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    with Client(f"unix:{tmp_path}/none", retries=0) as client, pytest.raises(Unavailable):
        Box.get("b1", client=client)
