"""Any sequence of writes does the same on every engine, and leaves a history without gaps."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from boxwall_server.changes.change import PolicyBytes, Timestamp
from boxwall_server.store.base import Store
from boxwall_server.store.errors import Rejected
from boxwall_server.store.memory import MemoryStore
from boxwall_server.store.mutations import (
    AttachBoxes,
    BoxWritten,
    CreateBox,
    CreateSnapshot,
    DeleteBox,
    DeleteSnapshot,
    DetachBoxes,
    FenceNode,
    ForgetNode,
    Mutation,
    RequestKey,
    SetPolicy,
    UnfenceNode,
    UpdateBox,
)
from boxwall_server.store.postgres import open_postgres
from boxwall_server.store.records import BoxFilter
from boxwall_server.store.sqlite import open_sqlite
from fakes.postgres_server import PostgresServer
from fakes.store_cases import Heard, create, set_policy

ids = st.sampled_from(["b1", "b2"])
tenants = st.sampled_from(["t1", "t1", "t1", "t2"])
nodes = st.sampled_from(["n1", "n2"])
policies = st.sampled_from([PolicyBytes(b"p1"), PolicyBytes(b"p2")])
labels = st.sampled_from([(), (("a", "1"),), (("a", "2"), ("b", "1"))])
requests = st.none() | st.builds(
    RequestKey,
    request_id=st.just("r1"),
    fingerprint=st.sampled_from([b"f1", b"f2"]),
)
now = st.just(Timestamp(1_000_000))


def mutations() -> st.SearchStrategy[Mutation]:
    created = st.builds(
        create,
        ids,
        tenant=tenants,
        node_id=st.sampled_from(["", "n1"]),
        labels=labels,
        source_snapshot=st.sampled_from(["", "s1"]),
        request=requests,
        validate_only=st.booleans(),
        only_placed=st.booleans(),
        max_boxes=st.sampled_from([None, 1]),
    )
    two = st.tuples(ids, ids)
    return st.one_of(
        created,
        st.builds(set_policy, ids, policies, tenant=tenants, request=requests),
        st.builds(UpdateBox, tenant=tenants, id=ids, now=now, labels=labels),
        st.builds(UpdateBox, tenant=tenants, id=ids, now=now, node_id=nodes),
        st.builds(DeleteBox, tenant=tenants, id=ids, now=now),
        st.builds(
            CreateSnapshot,
            tenant=tenants,
            id=st.just("s1"),
            box_id=ids,
            now=now,
            request=requests,
        ),
        st.builds(DeleteSnapshot, tenant=tenants, id=st.just("s1")),
        st.builds(
            AttachBoxes, tenant=tenants, node_id=nodes, box_ids=two, only_placed=st.booleans()
        ),
        st.builds(DetachBoxes, tenant=tenants, node_id=nodes, box_ids=two),
        st.builds(FenceNode, tenant=tenants, node_id=nodes, reason=st.just("")),
        st.builds(UnfenceNode, tenant=tenants, node_id=nodes),
        st.builds(ForgetNode, tenant=tenants, node_id=nodes),
    )


async def answers(store: Store, batches: list[list[Mutation]]) -> tuple[list[str], list[object]]:
    """Return what every write answered, and everything that can be read in the end."""
    heard = Heard()
    store.listen(heard)
    said = []
    for batch in batches:
        outcomes = await asyncio.gather(*map(store.apply, batch), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, Rejected):
                raise outcome
            said.append(repr(outcome))
    state: list[object] = [[c.kind for commit in heard.commits for c in commit.changes]]
    for tenant in ("t1", "t2"):
        state.append(list(await store.boxes(tenant, BoxFilter(), after="", limit=99)))
        state.append(list(await store.snapshots(tenant, box_id="", after="", limit=99)))
        state.append(list(await store.nodes(tenant, after="", limit=99)))
        for label in (("a", "1"), ("a", "2"), ("b", "1")):
            where = BoxFilter(labels=(label,))
            state.append(list(await store.boxes(tenant, where, after="", limit=99)))
        state.append(list((await store.entries(tenant, ["b1", "b2"])).entries))
    return said, state


async def on_sqlite(batches: list[list[Mutation]]) -> tuple[list[str], list[object]]:
    with tempfile.TemporaryDirectory() as folder:
        store = await open_sqlite(Path(folder) / "boxwall.db")
        try:
            return await answers(store, batches)
        finally:
            await store.close()


@given(st.lists(st.lists(mutations(), min_size=1, max_size=6), max_size=6))
@settings(max_examples=150)
def test_sqlite_answers_alike_and_ends_alike(batches: list[list[Mutation]]) -> None:
    in_memory = asyncio.run(answers(MemoryStore(), batches))
    assert asyncio.run(on_sqlite(batches)) == in_memory


async def on_postgres(
    server: PostgresServer, batches: list[list[Mutation]]
) -> tuple[list[str], list[object]]:
    store = await open_postgres(await server.database())
    try:
        return await answers(store, batches)
    finally:
        await store.close()


@given(batches=st.lists(st.lists(mutations(), min_size=1, max_size=6), max_size=6))
@settings(max_examples=50)
def test_postgresql_answers_alike_and_ends_alike(
    postgres: PostgresServer, batches: list[list[Mutation]]
) -> None:
    in_memory = asyncio.run(answers(MemoryStore(), batches))
    assert asyncio.run(on_postgres(postgres, batches)) == in_memory


@given(st.lists(mutations(), min_size=1, max_size=30))
@settings(max_examples=100)
def test_a_batch_does_what_its_writes_do_one_by_one(writes: list[Mutation]) -> None:
    one_by_one = asyncio.run(on_sqlite([[write] for write in writes]))
    assert asyncio.run(on_sqlite([writes])) == one_by_one


def test_the_strategies_reach_what_they_are_for() -> None:
    """A law over rejections alone would say nothing."""
    reached = set()

    @given(st.lists(mutations(), min_size=20, max_size=40))
    @settings(max_examples=500)
    def look(writes: list[Mutation]) -> None:
        async def run() -> None:
            store = MemoryStore()
            for write in writes:
                try:
                    outcome = await store.apply(write)
                except Rejected as rejection:
                    reached.add(type(rejection).__name__)
                else:
                    reached.add(type(write).__name__)
                    if isinstance(outcome, BoxWritten) and outcome.replayed:
                        reached.add("replayed")

        asyncio.run(run())

    look()
    assert {"replayed", "BoxAttached", "NodeFenced", "RequestIdReused", "SnapshotExists"} <= reached
    assert {CreateBox.__name__, SetPolicy.__name__, ForgetNode.__name__} <= reached
