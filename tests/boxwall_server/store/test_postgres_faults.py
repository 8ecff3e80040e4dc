"""A database whose disk is slow, that stops in the middle of a commit, or whose clock is set."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from signal import SIGCONT, SIGSTOP

import pytest

from boxwall_server.changes.change import Timestamp
from boxwall_server.changes.revision import Revision
from boxwall_server.enforcement import NodeKey, Standing
from boxwall_server.store import postgres_connect, postgres_writer
from boxwall_server.store.batch_rows import Key
from boxwall_server.store.errors import BoxNotFound, OutcomeUnknown, StoreUnavailable
from boxwall_server.store.mutations import AttachBoxes, BoxWritten, RequestKey
from boxwall_server.store.postgres import PostgresStore, open_postgres
from boxwall_server.store.postgres_upkeep import FORGET_REPLICA_AFTER
from boxwall_server.store.postgres_url import PostgresUrl
from boxwall_server.store.records import AnswerRecord, SessionId
from fakes.cutting_proxy import CuttingProxy, cutting_proxy
from fakes.postgres_server import PostgresServer, run
from fakes.service import until
from fakes.store_cases import SECOND, Heard, create, set_policy, written

NODE, SESSION = NodeKey("t1", "n1"), SessionId(b"s" * 16)


@asynccontextmanager
async def through_a_proxy(
    server: PostgresServer, url: PostgresUrl
) -> AsyncIterator[tuple[PostgresStore, CuttingProxy]]:
    """A store whose connections can be held up."""
    async with cutting_proxy(server.port) as proxy:
        through = url.text.replace(f":{server.port}/", f":{proxy.port}/")
        store = await open_postgres(PostgresUrl.parse(through))
        try:
            yield store, proxy
        finally:
            proxy.disk.set()
            await store.close()


async def attach(store: PostgresStore) -> None:
    """Let a node host b1, and say that it has revision 1 in force."""
    await store.open_session(NODE, SESSION, Timestamp(1_000 * SECOND))
    await store.apply(AttachBoxes(tenant="t1", node_id="n1", box_ids=("b1",), session=SESSION))
    said = Standing(applied=Revision(1), answered=Revision(1))
    answer = AnswerRecord(session=SESSION, node=NODE, box_id="b1", standing=said)
    await store.save_answers([answer], {SESSION: Revision(1)})


async def standing(store: PostgresStore) -> Standing | None:
    """What counts of what the node has said."""
    key = Key("t1", "b1")
    (host,) = (await store.hosts([key]))[key]
    return host.standing


async def test_what_waits_for_a_slow_disk_shares_a_commit_and_holds_up_nothing_else(
    postgres: PostgresServer,
) -> None:
    url = await postgres.database()
    async with through_a_proxy(postgres, url) as (store, proxy):
        heard = Heard()
        store.listen(heard)
        await store.apply(create("b1"))
        before = proxy.commits
        proxy.disk.clear()
        async with asyncio.TaskGroup() as tasks:
            writes = [tasks.create_task(store.apply(create("first")))]
            await until(lambda: proxy.commits == before + 1)
            writes += [tasks.create_task(store.apply(create(f"c{n}"))) for n in range(100)]
            await attach_while_writes_wait(store)
            with pytest.raises(BoxNotFound):
                await store.box("t1", "first")
            assert heard.revisions == [1]
            assert not any(write.done() for write in writes)
            proxy.disk.set()
        assert heard.revisions == list(range(1, 103))
        assert proxy.commits <= before + 3, "each write waited for a commit of its own"


async def attach_while_writes_wait(store: PostgresStore) -> None:
    """Signs of life, sessions and answers of nodes do not wait for writes."""
    assert await store.beat()
    await store.open_session(NODE, SESSION, Timestamp(1_000 * SECOND))
    said = Standing(applied=Revision(1), answered=Revision(1))
    answer = AnswerRecord(session=SESSION, node=NODE, box_id="b1", standing=said)
    await store.save_answers([answer], {SESSION: Revision(1)})
    assert await store.sessions_to_end() == {}


@pytest.mark.slow
async def test_a_database_that_stops_in_a_commit_leaves_an_unknown_that_the_request_id_resolves(
    mortal: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await mortal.database()
    monkeypatch.setattr(postgres_connect, "COMMAND_TIMEOUT", 1.0)
    monkeypatch.setattr(postgres_connect, "CONNECT_TIMEOUT", 0.5)
    monkeypatch.setattr(postgres_writer, "_RESOLVE_PATIENCE", 0.5)
    request = RequestKey(request_id="r1", fingerprint=b"f")
    async with through_a_proxy(mortal, url) as (store, proxy):
        heard = Heard()
        store.listen(heard)
        await store.apply(create("b1"))
        before = proxy.commits
        proxy.disk.clear()
        async with asyncio.TaskGroup() as tasks:
            write = tasks.create_task(refused(store, request))
            await until(lambda: proxy.commits == before + 1)
            mortal.signal_all(SIGSTOP)
            try:
                proxy.disk.set()  # the commit is on its way to a database that does not run
                await write
            finally:
                mortal.signal_all(SIGCONT)
        again = await repeated(store, request)
        assert (again.revision, again.replayed) == (2, True), "it had happened after all"
        await until(lambda: heard.revisions == [1, 2])
        assert (await written(store, create("b2"))).revision == 3


async def refused(store: PostgresStore, request: RequestKey) -> None:
    with pytest.raises(OutcomeUnknown):
        await store.apply(set_policy("b1", request=request))


async def repeated(store: PostgresStore, request: RequestKey) -> BoxWritten:
    """Send it until the database answers again."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await written(store, set_policy("b1", request=request))
            except StoreUnavailable:
                await asyncio.sleep(0.1)


CLOCKS = {"put back by an hour": "1 hour", "put forward by an hour": "-1 hour"}


@pytest.mark.parametrize("ahead", CLOCKS.values(), ids=CLOCKS)
async def test_when_the_clock_of_the_database_is_set_no_dead_server_counts_as_alive(
    postgres: PostgresServer, ahead: str
) -> None:
    """As seen from the clock as it is now, the signs of life of before are off by an hour."""
    url = await postgres.database()
    dead, alive = await open_postgres(url), await open_postgres(url)
    await dead.apply(create("b1"))
    await attach(dead)
    assert await dead.beat()
    assert await standing(alive) == Standing(applied=Revision(1), answered=Revision(1))
    await run(url, f"UPDATE boxwall.replicas SET beat_time = beat_time + interval '{ahead}'")
    assert await standing(alive) is None, "nobody knows what its nodes enforce"
    assert await dead.beat()
    assert await standing(alive) is not None, "it was not dead after all"
    await run(url, f"UPDATE boxwall.replicas SET beat_time = beat_time + interval '{ahead}'")
    assert await alive.beat()
    await alive.compact(now=Timestamp(1_000 * SECOND), retain=1_000)
    assert not await dead.beat(), "it was forgotten, and has to begin anew"
    assert FORGET_REPLICA_AFTER < 3600
    await dead.close()
    await alive.close()
