"""Several writers hammer one box, at two servers, while everything between them is lost in turn."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from boxwall.v1 import box_pb2, box_service_pb2, box_service_pb2_grpc, policy_pb2
from boxwall_server.store.postgres_url import PostgresUrl
from fakes.cutting_proxy import Cut, CuttingProxy, cutting_proxy
from fakes.postgres_server import PostgresServer
from fakes.server_process import ServerProcess
from fakes.server_processes import channel_to
from guarantees.claims import Claims, Reader
from guarantees.hammer import Hammer
from guarantees.linearizable import Lost, Wrote, check_linearizable
from guarantees.writer import policy_value

BOX = "b1"
DENY_ALL = policy_pb2.NetworkPolicy(deny_all=policy_pb2.DenyAll())
WRITES = 20
"""Known to have happened between two faults, at the least."""
WITHIN = 90
"""Seconds for that."""


class Scene:
    """Two servers, of which the second goes through a proxy to the database."""

    def __init__(
        self,
        near: ServerProcess,
        proxy: CuttingProxy,
        database: PostgresServer,
        hammers: Sequence[Hammer],
    ) -> None:
        self.near = near
        self.proxy = proxy
        self.database = database
        self.hammers = hammers

    @property
    def known(self) -> int:
        """How many writes are known to have happened."""
        return sum(isinstance(one, Wrote) for hammer in self.hammers for one in hammer.operations)

    async def grow(self) -> None:
        """Wait for some more writes."""
        wanted = self.known + WRITES
        async with asyncio.timeout(WITHIN):
            while self.known < wanted:  # noqa: ASYNC110  # the hammers have no event
                await asyncio.sleep(0.01)


async def lose_a_commit(scene: Scene) -> None:
    await _cut(scene, Cut.BEFORE)


async def lose_an_answer(scene: Scene) -> None:
    await _cut(scene, Cut.AFTER)


async def _cut(scene: Scene, when: Cut) -> None:
    before = scene.proxy.cuts
    scene.proxy.cut = when
    async with asyncio.timeout(WITHIN):
        while scene.proxy.cuts == before:  # noqa: ASYNC110  # the proxy has no event
            await asyncio.sleep(0.01)


async def kill_a_server(scene: Scene) -> None:
    scene.near.kill()
    await scene.grow()
    await asyncio.to_thread(scene.near.start)


async def kill_the_database(scene: Scene) -> None:
    await asyncio.to_thread(scene.database.kill)
    await asyncio.to_thread(scene.database.start)


FAULTS: Sequence[Callable[[Scene], Awaitable[None]]] = (
    *(lose_a_commit, lose_an_answer, kill_a_server, kill_the_database),
    *(lose_an_answer, lose_a_commit),
)


@asynccontextmanager
async def servers_of(
    folder: Path, database: PostgresServer
) -> AsyncIterator[tuple[list[ServerProcess], CuttingProxy]]:
    """Two that run."""
    url = await database.database()
    async with cutting_proxy(database.port) as proxy, AsyncExitStack() as stack:
        through = PostgresUrl.parse(url.text.replace(f":{database.port}/", f":{proxy.port}/"))
        servers = []
        for name, where in (("near", url), ("far", through)):
            (folder / name).mkdir()
            servers.append(ServerProcess(folder / name, store=where.text))
            stack.push_async_callback(asyncio.to_thread, servers[-1].close)
            await asyncio.to_thread(servers[-1].start)
        yield servers, proxy


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_what_all_see_of_a_box_that_many_write_to_is_explained_by_one_order(
    tmp_path: Path, mortal: PostgresServer
) -> None:
    async with (
        servers_of(tmp_path, mortal) as (servers, proxy),
        channel_to(servers[0].target) as here,
        channel_to(servers[1].target) as there,
    ):
        near, far = map(box_service_pb2_grpc.BoxServiceStub, (here, there))
        hammers = [Hammer("near", [near], BOX), Hammer("far", [far], BOX)]
        hammers.append(Hammer("both", [near, far], BOX))
        first = await create(near)
        reader, stopped = Reader([near, far], [BOX], Claims({})), asyncio.Event()
        scene = Scene(servers[0], proxy, mortal, hammers)
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(reader.read_for_ever(0.01))
            for hammer in hammers:
                tasks.create_task(hammer.write_until(stopped))
            for fault in FAULTS:
                await scene.grow()
                await fault(scene)
            await scene.grow()
            reading.cancel()
            stopped.set()
        history = await history_of(far)
    operations = [first, *(one for hammer in hammers for one in hammer.operations)]
    check_linearizable([*operations, *reader.seen[BOX]])
    check_history(history, operations)
    check_swaps(history, hammers)
    lost = sum(isinstance(one, Lost) for one in operations)
    print(f"{len(history)} policies, {lost} answers lost, {len(reader.seen[BOX])} reads")


async def create(stub: Any) -> Wrote:
    box = box_pb2.Box(network_policy=DENY_ALL)
    begin = time.monotonic()
    made = await stub.CreateBox(box_service_pb2.CreateBoxRequest(box_id=BOX, box=box))
    end, value = time.monotonic(), policy_value(DENY_ALL)
    return Wrote(begin=begin, end=end, revision=made.policy_revision, value=value)


async def history_of(stub: Any) -> dict[int, bytes]:
    """Return every policy that the box has had, by revision, oldest first."""
    request = box_service_pb2.ListPolicyRevisionsRequest(box_id=BOX, page_size=1000)
    found: dict[int, bytes] = {}
    while True:
        page = await stub.ListPolicyRevisions(request, timeout=WITHIN)
        found |= {one.revision: policy_value(one.network_policy) for one in page.revisions}
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return dict(sorted(found.items()))


def check_history(history: Mapping[int, bytes], operations: Sequence[Wrote | Lost]) -> None:
    """What was acknowledged is there, once, and nothing that nobody wrote."""
    known = {one.revision: one.value for one in operations if isinstance(one, Wrote)}
    assert known.items() <= history.items(), "acknowledged, and lost"
    found = [value for revision, value in history.items() if revision not in known]
    lost = {one.value for one in operations if isinstance(one, Lost)}
    assert set(found) <= lost, "invented"
    assert len(set(history.values())) == len(history), "written twice"


def check_swaps(history: Mapping[int, bytes], hammers: Sequence[Hammer]) -> None:
    """A write that was to follow a state has followed it."""
    before = dict(zip([*history][1:], history, strict=False))
    swaps = {new: old for hammer in hammers for new, old in hammer.swaps.items()}
    assert swaps, "no conditional write has happened"
    assert sum(hammer.kept_out for hammer in hammers), "nobody ever came between"
    assert {new: before[new] for new in swaps} == swaps
