"""What is PostgreSQL's own: several replicas on one database, and databases that are not as they
were.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from boxwall_server.changes.change import Timestamp
from boxwall_server.changes.revision import Revision
from boxwall_server.enforcement import NodeKey, Standing
from boxwall_server.store.batch_rows import Key
from boxwall_server.store.errors import BoxExists, SessionEnded, StoreUnavailable
from boxwall_server.store.mutations import AttachBoxes, DeleteBox, DetachBoxes
from boxwall_server.store.postgres import PostgresStore, open_postgres
from boxwall_server.store.postgres_connect import Connection
from boxwall_server.store.postgres_url import PostgresUrl
from boxwall_server.store.records import (
    AnswerRecord,
    BoxFilter,
    Commit,
    NewHistory,
    SessionId,
)
from fakes.cutting_proxy import Cut, cutting_proxy
from fakes.postgres_server import PostgresServer, roll_back, run
from fakes.service import until
from fakes.store_cases import SECOND, Heard, create, set_policy, written


@pytest.fixture
async def url(postgres: PostgresServer) -> PostgresUrl:
    """An empty database."""
    return await postgres.database()


@pytest.fixture
async def pair(url: PostgresUrl) -> AsyncIterator[tuple[PostgresStore, PostgresStore]]:
    """Two replicas on one database."""
    first, second = await asyncio.gather(open_postgres(url), open_postgres(url))
    yield first, second
    await first.close()
    await second.close()


# Replicas.


async def test_every_replica_is_told_of_every_write_in_order(
    pair: tuple[PostgresStore, PostgresStore],
) -> None:
    heard = [Heard(), Heard()]
    for store, listener in zip(pair, heard, strict=True):
        store.listen(listener)
    await asyncio.gather(*(pair[n % 2].apply(create(f"b{n:03d}")) for n in range(300)))
    await until(lambda: all(len(listener.revisions) == 300 for listener in heard))
    first, second = ([c for k in listener.commits for c in k.changes] for listener in heard)
    assert first == second
    assert pair[0].head == pair[1].head


async def test_two_replicas_never_both_make_one_box(
    pair: tuple[PostgresStore, PostgresStore],
) -> None:
    for number in range(20):
        made = await asyncio.gather(
            *(store.apply(create(f"b{number}")) for store in pair), return_exceptions=True
        )
        assert sorted(isinstance(outcome, BoxExists) for outcome in made) == [False, True]


async def test_a_write_is_read_at_another_replica_at_once(
    pair: tuple[PostgresStore, PostgresStore],
) -> None:
    for number in range(20):
        made = await written(pair[0], create(f"b{number}"))
        read = await pair[1].box("t1", f"b{number}", at_least=made.revision)
        assert read.box == made.box


async def test_a_change_is_told_as_it_was_however_late_it_is_read(url: PostgresUrl) -> None:
    writer, late = await open_postgres(url), await open_postgres(url)
    await writer.apply(create("b1"))
    await writer.apply(set_policy("b1", b"second"))
    await writer.apply(DeleteBox(tenant="t1", id="b1", now=Timestamp(2_000 * SECOND)))
    await writer.apply(create("b1", policy=b"third"))
    heard = Heard()
    late.listen(heard)
    await until(lambda: len(heard.revisions) == 4)
    policies = [c.box.policy for commit in heard.commits for c in commit.changes]
    assert policies == [b"policy-0", b"second", b"second", b"third"]
    await writer.close()
    await late.close()


async def test_a_stream_that_was_replaced_elsewhere_neither_attaches_nor_detaches(
    pair: tuple[PostgresStore, PostgresStore],
) -> None:
    node, key = NodeKey("t1", "n1"), Key("t1", "b1")
    old, new = SessionId(b"o" * 16), SessionId(b"n" * 16)

    def attach(session: SessionId) -> AttachBoxes:
        return AttachBoxes(tenant="t1", node_id="n1", box_ids=("b1",), session=session)

    await pair[0].open_session(node, old, Timestamp(SECOND))
    await pair[0].apply(attach(old))
    await pair[1].open_session(node, new, Timestamp(2 * SECOND))
    await pair[1].apply(attach(new))
    for late in (
        DetachBoxes(tenant="t1", node_id="n1", box_ids=("b1",), session=old),
        attach(old),
    ):
        with pytest.raises(SessionEnded):
            await pair[0].apply(late)
        (host,) = (await pair[0].hosts([key]))[key]
        assert host.standing is not None, "it counts: it is of the newest session"
    await pair[1].apply(DetachBoxes(tenant="t1", node_id="n1", box_ids=("b1",), session=new))
    assert (await pair[0].hosts([key]))[key] == []


@asynccontextmanager
async def somebody_else_writes(url: PostgresUrl) -> AsyncIterator[None]:
    """Hold the lock of the head for as long as the context lasts."""
    other = await asyncpg.connect(url.text)
    try:
        async with other.transaction():
            await other.execute("SELECT 1 FROM boxwall.head FOR UPDATE")
            yield
    finally:
        await other.close()


async def waits_for_its_turn(url: PostgresUrl) -> None:
    """Return when somebody waits for the lock of the head."""
    other = await asyncpg.connect(url.text)
    try:
        async with asyncio.timeout(20):
            while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110  # no event
                await asyncio.sleep(0.01)
    finally:
        await other.close()


async def test_what_comes_while_a_replica_waits_for_its_turn_is_in_its_batch(
    url: PostgresUrl, pair: tuple[PostgresStore, PostgresStore]
) -> None:
    heard = Heard()
    pair[0].listen(heard)
    async with asyncio.TaskGroup() as tasks, somebody_else_writes(url):
        tasks.create_task(pair[0].apply(create("b0")))
        await waits_for_its_turn(url)
        for number in range(1, 6):
            tasks.create_task(pair[0].apply(create(f"b{number}")))
        await asyncio.sleep(0)
    assert [len(commit.changes) for commit in heard.commits] == [6]


async def test_a_turn_that_nobody_waits_for_any_more_is_given_back(
    url: PostgresUrl, pair: tuple[PostgresStore, PostgresStore]
) -> None:
    async with somebody_else_writes(url):
        abandoned = asyncio.ensure_future(pair[0].apply(create("b0")))
        await waits_for_its_turn(url)
        abandoned.cancel()
        await asyncio.wait([abandoned])
    assert (await written(pair[1], create("b1"))).revision == 1
    assert (await written(pair[0], create("b2"))).revision == 2


async def test_a_batch_is_told_in_order_though_the_connection_is_lost_after_its_commit(
    pair: tuple[PostgresStore, PostgresStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard()
    pair[0].listen(heard)
    catch_up, lost = pair[0]._tail.catch_up, list[Revision]()

    async def loses(connection: Connection, before: Revision | None = None) -> None:
        if before is not None:
            lost.append(before)
            raise ConnectionResetError
        await catch_up(connection)

    monkeypatch.setattr(pair[0]._tail, "catch_up", loses)
    for number in range(0, 10, 2):
        await pair[1].apply(create(f"b{number}"))
        await pair[0].apply(create(f"b{number + 1}"))
        assert heard.revisions == list(range(1, number + 3)), "told before it was answered"
    assert lost == [2, 4, 6, 8, 10]


async def test_one_replica_at_a_time_sweeps(pair: tuple[PostgresStore, PostgresStore]) -> None:
    assert await pair[0].takes_turn()
    assert await pair[0].takes_turn()
    assert not await pair[1].takes_turn()
    await pair[0].close()
    async with asyncio.timeout(5):
        while not await pair[1].takes_turn():  # noqa: ASYNC110  # the database has no event
            await asyncio.sleep(0.01)


async def test_of_several_hosts_the_one_that_answers_is_used(
    postgres: PostgresServer, url: PostgresUrl
) -> None:
    port = postgres.port
    text = url.text.replace(f"127.0.0.1:{port}", f"127.0.0.1:1,127.0.0.1:{port}")
    store = await open_postgres(PostgresUrl.parse(text))
    assert (await written(store, create())).revision == 1
    await store.close()


async def test_without_notices_a_replica_hears_of_everything_a_little_later(
    pair: tuple[PostgresStore, PostgresStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf, heard = pair[1], Heard()
    monkeypatch.setattr(deaf._woken, "set", lambda: None)
    deaf.listen(heard)
    for number in range(5):
        await pair[0].apply(create(f"b{number}"))
    await until(lambda: heard.revisions == [1, 2, 3, 4, 5])


async def test_replicas_that_start_at_once_make_one_schema(url: PostgresUrl) -> None:
    stores = await asyncio.gather(*(open_postgres(url) for _ in range(4)))
    assert len({store.head.epoch for store in stores}) == 1
    for store in stores:
        await store.close()


# Connections that are lost.


async def cut(url: PostgresUrl) -> None:
    """End every connection to a database but this one."""
    await run(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid != pg_backend_pid()",
    )


async def test_connections_that_are_cut_are_made_anew_and_nothing_is_lost(
    url: PostgresUrl, pair: tuple[PostgresStore, PostgresStore]
) -> None:
    heard = Heard()
    pair[1].listen(heard)
    for number in range(5):
        await pair[0].apply(create(f"b{number}"))
        await cut(url)
        assert (await pair[0].box("t1", f"b{number}")).box.id == f"b{number}"
    await until(lambda: heard.revisions == [1, 2, 3, 4, 5])


@pytest.mark.parametrize("cut_when", [Cut.BEFORE, Cut.AFTER], ids=lambda cut: cut.value)
async def test_a_commit_whose_answer_is_lost_is_answered_as_what_it_was(
    postgres: PostgresServer, url: PostgresUrl, cut_when: Cut
) -> None:
    async with cutting_proxy(postgres.port) as proxy:
        through = url.text.replace(f":{postgres.port}/", f":{proxy.port}/")
        store, heard = await open_postgres(PostgresUrl.parse(through)), Heard()
        store.listen(heard)
        await store.apply(create("b1"))
        attached = AttachBoxes(tenant="t1", node_id="n1", box_ids=("b1",))
        for mutation in (set_policy("b1"), attached):
            proxy.cut = cut_when
            if cut_when is Cut.AFTER:
                await store.apply(mutation)
            else:
                with pytest.raises(StoreUnavailable, match="lost"):
                    await store.apply(mutation)
        assert proxy.cuts == 2
        happened = cut_when is Cut.AFTER
        box = await store.box("t1", "b1")
        assert (box.box.policy == b"policy-1", bool(box.nodes)) == (happened, happened)
        await store.apply(create("b2"))
        assert heard.revisions == ([1, 2, 3] if happened else [1, 2])
        await store.close()


# A history that has lost its end.


class Told:
    """A listener that notes when history began anew, and goes on from there."""

    def __init__(self) -> None:
        self.anew: list[NewHistory] = []
        self.revisions: list[int] = []

    def __call__(self, news: Commit | NewHistory) -> None:
        if isinstance(news, NewHistory):
            self.anew.append(news)
            self.revisions = list(range(1, news.head.revision + 1))
        else:
            self.revisions += [change.revision for change in news.changes]
        assert self.revisions == list(range(1, len(self.revisions) + 1))


async def test_a_lost_tail_begins_history_anew_at_every_replica(
    url: PostgresUrl, pair: tuple[PostgresStore, PostgresStore]
) -> None:
    told = [Told(), Told()]
    for store, listener in zip(pair, told, strict=True):
        store.listen(listener)
    for number in range(5):
        await pair[0].apply(create(f"b{number}"))
    await until(lambda: pair[1].head == pair[0].head)
    lost = pair[0].head
    await roll_back(url, 3)
    await until(lambda: all(len(listener.anew) == 1 for listener in told))
    assert pair[0].head == pair[1].head == told[0].anew[0].head
    assert (pair[0].head.revision, pair[0].head.epoch == lost.epoch) == (3, False)
    assert not await pair[0].verify(lost)
    assert (await written(pair[1], create("b9"))).revision == 4
    await until(lambda: all(listener.revisions == [1, 2, 3, 4] for listener in told))
    found = await pair[0].boxes("t1", BoxFilter(), after="", limit=99)
    assert [hosted.box.id for hosted in found] == ["b0", "b1", "b2", "b9"]


async def test_a_tail_that_was_written_anew_before_anyone_looked_is_noticed(
    url: PostgresUrl,
) -> None:
    store, told = await open_postgres(url), Told()
    for number in range(3):
        await store.apply(create(f"b{number}"))
    lost = store.head
    await roll_back(url, 2)
    other = await open_postgres(url)
    other.listen(lambda news: None)
    await other.apply(create("another"))
    assert other.head.revision == lost.revision
    store.listen(told)
    await until(lambda: told.anew)
    await until(lambda: store.head == other.head)
    assert len(told.anew) == 1
    assert not await store.verify(lost)
    await other.close()
    await store.close()


async def test_a_write_after_a_lost_tail_is_not_answered_as_if_nothing_had_happened(
    url: PostgresUrl,
) -> None:
    store = await open_postgres(url)
    for number in range(3):
        await store.apply(create(f"b{number}"))
    await roll_back(url, 2)
    with pytest.raises(StoreUnavailable, match="lost"):
        await store.apply(create("b9"))
    told = Told()
    store.listen(told)
    await until(lambda: told.anew)
    assert (await written(store, create("b9"))).revision == 3
    await store.close()


async def test_before_a_lost_tail_is_noticed_nothing_is_read_from_what_is_left(
    url: PostgresUrl,
) -> None:
    store = await open_postgres(url)
    for number in range(3):
        await store.apply(create(f"b{number}"))
    await roll_back(url, 2)
    await cut(url)
    with pytest.raises(StoreUnavailable, match="lost"):
        await store.box("t1", "b0")
    store.listen(Told())
    await until(lambda: store.head.revision == 2)
    assert (await store.box("t1", "b0")).box.id == "b0"
    await store.close()


async def test_what_nodes_have_said_is_forgotten_with_the_tail_that_was_lost(
    url: PostgresUrl, pair: tuple[PostgresStore, PostgresStore]
) -> None:
    asked, noticing = pair
    told, key = Told(), Key("t1", "b1")
    node, session = NodeKey("t1", "n1"), SessionId(b"s" * 16)
    await asked.open_session(node, session, Timestamp(1_000 * SECOND))
    attach = AttachBoxes(tenant="t1", node_id="n1", box_ids=("b1",), session=session)
    await asked.apply(attach)
    for policy in (create("b1"), set_policy("b1")):
        await asked.apply(policy)
    said = Standing(applied=Revision(2), answered=Revision(2))
    answer = AnswerRecord(session=session, node=node, box_id="b1", standing=said)
    await asked.save_answers([answer], {session: Revision(2)})
    (host,) = (await noticing.hosts([key]))[key]
    assert host.standing == said
    noticing.listen(told)
    await until(lambda: noticing.head == asked.head)
    await roll_back(url, 1)
    await until(lambda: told.anew)
    await asked.save_answers([answer], {session: Revision(2)})
    (host,) = (await noticing.hosts([key]))[key]
    assert host.standing is None, "revision 2 is going to be another policy"


async def test_a_replica_that_was_away_longer_than_the_log_is_kept_begins_anew(
    url: PostgresUrl,
) -> None:
    writer, late = await open_postgres(url), await open_postgres(url)
    for number in range(10):
        await writer.apply(create(f"b{number}"))
    assert await writer.compact(now=Timestamp(2_000 * SECOND), retain=3) == Revision(8)
    told = Told()
    late.listen(told)
    await until(lambda: told.anew)
    assert late.head == writer.head, "and the epoch is what it was: the others missed nothing"
    await writer.close()
    await late.close()
