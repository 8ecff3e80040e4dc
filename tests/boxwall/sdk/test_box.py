"""Boxes through a real channel to a fake control plane."""

import uuid
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fake_service import EPOCH, FakeBoxService, State  # type: ignore[import-not-found]  # mypy has no path to it

from boxwall import (
    AlreadyExists,
    Box,
    BoxNotFound,
    Client,
    Conflict,
    EnforcementState,
    EphemeralBox,
    InvalidDestination,
    InvalidPolicy,
    Mode,
    NetworkPolicy,
    NotEnforced,
    Reason,
    Snapshot,
    SnapshotNotFound,
    WarningCode,
    close_default_client,
)
from boxwall.policy import errors as policy_errors
from boxwall.v1 import policy_pb2


async def test_the_example_of_the_documentation_runs_as_printed(
    fake: FakeBoxService, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOXWALL_SERVER", server)
    box = await Box.create(
        runtime="node",
        network_policy={
            "mode": "custom",
            "allowed_domains": ["api.github.com", "*.githubusercontent.com"],
            "allowed_cidrs": ["104.16.0.0/12"],
        },
    )
    assert box.network_policy.allowed_domains == ("api.github.com", "*.githubusercontent.com")
    assert (await box.check("api.github.com:443")).allowed
    await box.update_network_policy({"mode": "deny-all"})
    assert not (await box.check("api.github.com:443")).allowed
    snapshot = await box.snapshot()
    await Box.from_snapshot(snapshot.id, network_policy={"mode": "allow-all"})
    await EphemeralBox.create(ttl=3600, network_policy={"mode": "deny-all"})
    assert (await Box.get(box.id)).uid == box.uid
    assert await Box.list(label=("team", "search")) == []
    await box.delete()
    fake.watches.append([])
    async with aclosing(Box.watch()):
        pass
    await close_default_client()


async def test_create_sends_what_it_is_given(fake: FakeBoxService, client: Client) -> None:
    box = await Box.create(
        runtime="node",
        name="web",
        labels={"team": "search"},
        box_id="b1",
        node_id="n1",
        network_policy=NetworkPolicy.custom(denied_cidrs=["8.8.8.0/24"]),
        client=client,
    )

    sent = fake.called("CreateBox")[0]
    assert (sent.box_id, sent.box.node_id, dict(sent.box.labels)) == (
        "b1",
        "n1",
        {"team": "search"},
    )
    assert str(uuid.UUID(sent.request_id)) == sent.request_id
    assert (box.id, box.name, box.runtime, box.node_id) == ("b1", "web", "node", "n1")
    assert box.labels == {"team": "search"}
    assert box.create_time == datetime.fromtimestamp(EPOCH.seconds, UTC)
    assert box.enforcement.state is EnforcementState.NOT_ATTACHED
    assert [w.code for w in box.warnings] == [WarningCode.DENY_LIST_ALLOWS_THE_REST]


@pytest.mark.parametrize(
    ("document", "unlisted"),
    [
        pytest.param({"denied_cidrs": ["8.8.8.0/24"]}, policy_pb2.UNLISTED_ALLOW, id="deny list"),
        pytest.param(
            {"allowed_domains": [], "denied_cidrs": ["8.8.8.0/24"]},
            policy_pb2.UNLISTED_DENY,
            id="an empty list is given",
        ),
        pytest.param({"allowedDomains": ["a.test"]}, policy_pb2.UNLISTED_DENY, id="camelCase"),
        pytest.param({}, policy_pb2.UNLISTED_DENY, id="nothing"),
    ],
)
async def test_unlisted_is_always_sent(
    document: dict[str, Any], unlisted: int, fake: FakeBoxService, client: Client
) -> None:
    await Box.create(network_policy={"mode": "custom", **document}, client=client)

    assert fake.called("CreateBox")[0].box.network_policy.custom.unlisted == unlisted


async def test_without_a_policy_none_is_sent(fake: FakeBoxService, client: Client) -> None:
    box = await Box.create(client=client)

    assert not fake.called("CreateBox")[0].box.HasField("network_policy")
    assert box.network_policy == NetworkPolicy.allow_all()


async def test_a_bad_policy_is_refused_with_every_violation_before_anything_is_sent(
    fake: FakeBoxService, client: Client
) -> None:
    bad = {"mode": "custom", "allowed_domains": ["*"], "allowed_cidrs": ["10.0.0.7/24"], "x": 1}

    with pytest.raises(InvalidPolicy) as caught:
        await Box.create(network_policy=bad, client=client)

    fields = {violation.field for violation in caught.value.violations}
    assert fields == {"allowed_domains[0]", "allowed_cidrs[0]", "x"}
    assert "use 10.0.0.0/24" in str(caught.value)
    assert isinstance(caught.value, policy_errors.InvalidPolicy)
    assert fake.calls == []


async def test_a_policy_that_only_the_server_refuses_raises_the_same_error(
    fake: FakeBoxService, client: Client
) -> None:
    many = [f"h{i}.test" for i in range(1_001)]

    with pytest.raises(InvalidPolicy) as caught:
        await Box.create(network_policy=NetworkPolicy.custom(allowed_domains=many), client=client)

    assert caught.value.violations[0].field == "box.network_policy.custom.allowed_domains"


async def test_what_is_no_policy_at_all_is_a_type_error(client: Client) -> None:
    with pytest.raises(TypeError, match="a mapping or a NetworkPolicy, not str"):
        await Box.create(network_policy="deny-all", client=client)  # type: ignore[arg-type]  # the point


async def test_a_taken_id_raises_already_exists(client: Client) -> None:
    await Box.create(box_id="b1", client=client)

    with pytest.raises(AlreadyExists, match="b1"):
        await Box.create(box_id="b1", client=client)


async def test_a_missing_box_raises_box_not_found_with_its_id(client: Client) -> None:
    with pytest.raises(BoxNotFound) as caught:
        await Box.get("nope", client=client)

    assert caught.value.resource == ("box", "nope")
    assert isinstance(caught.value, LookupError)
    assert caught.value.reason == "BOX_NOT_FOUND"


async def test_validate_only_makes_nothing(fake: FakeBoxService, client: Client) -> None:
    box = await Box.create(box_id="b1", validate_only=True, client=client)

    assert (box.id, fake.boxes) == ("b1", {})


# Lists.


async def test_a_list_can_be_awaited_or_walked_through_page_by_page(
    fake: FakeBoxService, client: Client
) -> None:
    fake.page_size = 2
    for i in range(5):
        await Box.create(box_id=f"b{i}", client=client)
    fake.calls.clear()

    boxes = Box.list(client=client)
    first = await anext(aiter(boxes))
    assert (first.id, len(fake.called("ListBoxes"))) == ("b0", 1)

    assert [box.id for box in await boxes] == ["b0", "b1", "b2", "b3", "b4"]
    assert [box.id async for box in boxes] == ["b0", "b1", "b2", "b3", "b4"]
    assert len(fake.called("ListBoxes")) == 1 + 3 + 3


async def test_a_list_is_filtered_by_everything_given(fake: FakeBoxService, client: Client) -> None:
    await Box.list(
        label=("team", "search"), node="n1", name_prefix="web", mode="deny-all", client=client
    )

    where = fake.called("ListBoxes")[0].filter
    assert (dict(where.labels), where.node_id, where.name_prefix, where.mode) == (
        {"team": "search"},
        "n1",
        "web",
        policy_pb2.MODE_DENY_ALL,
    )


# Updates.


async def test_an_update_without_nodes_returns_at_once(
    fake: FakeBoxService, client: Client
) -> None:
    box = await Box.create(client=client)

    assert await box.update_network_policy({"mode": "deny-all"}) is box

    assert box.network_policy.mode == "deny-all"
    assert fake.called("UpdateNetworkPolicy")[0].wait_timeout.seconds in (29, 30)


async def test_an_update_returns_when_it_is_enforced(fake: FakeBoxService, client: Client) -> None:
    box = await Box.create(box_id="b1", client=client)
    fake.host("b1", "n1", State.STATE_ENFORCED)

    await box.update_network_policy(NetworkPolicy.deny_all(), wait_timeout=timedelta(seconds=5))

    assert box.enforcement.state is EnforcementState.ENFORCED
    assert box.enforcement.nodes[0].node_id == "n1"


@pytest.mark.parametrize(
    ("state", "text"),
    [
        pytest.param(State.STATE_PENDING, "node n2 has not acknowledged it yet", id="pending"),
        pytest.param(State.STATE_STALE, "node n2 is out of contact", id="stale"),
        pytest.param(
            State.STATE_FAILED,
            r"could not apply it and denies everything \(no memory\)",
            id="failed",
        ),
    ],
)
async def test_an_update_that_is_not_enforced_says_which_nodes_lag_and_why(
    state: int, text: str, fake: FakeBoxService, client: Client
) -> None:
    box = await Box.create(box_id="b1", client=client)
    fake.host("b1", "n1", State.STATE_ENFORCED)
    fake.host("b1", "n2", state, "no memory" if state == State.STATE_FAILED else "")

    with pytest.raises(NotEnforced, match=text) as caught:
        await box.update_network_policy({"mode": "deny-all"})

    assert [node.node_id for node in caught.value.lagging] == ["n2"]
    assert caught.value.box.network_policy == NetworkPolicy.deny_all()
    assert box.network_policy == NetworkPolicy.deny_all(), "the write is durable"


async def test_an_update_that_does_not_wait_does_not_complain(
    fake: FakeBoxService, client: Client
) -> None:
    box = await Box.create(box_id="b1", client=client)
    fake.host("b1", "n1", State.STATE_PENDING)

    await box.update_network_policy({"mode": "deny-all"}, wait_timeout=None)

    assert not fake.called("UpdateNetworkPolicy")[0].HasField("wait_timeout")


async def test_a_wait_can_be_continued_later(fake: FakeBoxService, client: Client) -> None:
    box = await Box.create(box_id="b1", client=client)
    fake.host("b1", "n1", State.STATE_PENDING)
    with pytest.raises(NotEnforced):
        await box.wait_enforced(timeout=1)

    fake.hosting["b1"][0].state = State.STATE_ENFORCED
    await box.wait_enforced(timeout=1)

    assert fake.called("WaitEnforced")[0].policy_revision == box.policy_revision


async def test_a_stale_etag_raises_conflict(client: Client) -> None:
    box = await Box.create(client=client)
    etag = box.etag
    await box.update_network_policy({"mode": "deny-all"}, etag=etag)

    with pytest.raises(Conflict):
        await box.update_network_policy({"mode": "allow-all"}, etag=etag)


async def test_a_policy_can_be_validated_without_a_change(client: Client) -> None:
    box = await Box.create(client=client)

    warnings = await box.validate_network_policy({"mode": "custom"})

    assert [warning.code for warning in warnings] == [WarningCode.EMPTY_CUSTOM_DENIES_ALL]
    assert (await Box.get(box.id, client=client)).network_policy == NetworkPolicy.allow_all()


@pytest.mark.parametrize(
    ("given", "mask"),
    [
        pytest.param({"name": "x"}, ["name"], id="name"),
        pytest.param({"name": ""}, ["name"], id="an empty name clears it"),
        pytest.param({"labels": {}}, ["labels"], id="no labels clears them"),
        pytest.param({"ttl": 60}, ["ttl"], id="time to live"),
        pytest.param({"never_expires": True}, ["expire_time"], id="never expires"),
        pytest.param(
            {"runtime": "r", "node_id": "n", "expire_time": datetime(2030, 1, 1, tzinfo=UTC)},
            ["runtime", "node_id", "expire_time"],
            id="several",
        ),
    ],
)
async def test_update_writes_exactly_what_is_given(
    given: dict[str, Any], mask: list[str], fake: FakeBoxService, client: Client
) -> None:
    box = await Box.create(name="old", labels={"a": "b"}, client=client)

    await box.update(**given)

    assert list(fake.called("UpdateBox")[0].update_mask.paths) == mask
    assert box.name == given.get("name", "old")


async def test_two_ways_to_say_when_a_box_ends_are_refused(client: Client) -> None:
    box = await Box.create(client=client)

    with pytest.raises(TypeError, match="exclude each other"):
        await box.update(ttl=60, never_expires=True)


async def test_an_ephemeral_box_has_a_time_to_live_and_ends_with_its_block(
    fake: FakeBoxService, client: Client
) -> None:
    async with await EphemeralBox.create(ttl=timedelta(hours=1), client=client) as box:
        assert box.expire_time == datetime.fromtimestamp(EPOCH.seconds + 3600, UTC)
        await box.extend(60)
        assert box.expire_time == datetime.fromtimestamp(EPOCH.seconds + 60, UTC)

    assert fake.boxes == {}


async def test_an_ephemeral_box_may_end_before_its_block(
    fake: FakeBoxService, client: Client
) -> None:
    async with await EphemeralBox.create(ttl=60, client=client) as box:
        del fake.boxes[box.id]


async def test_refresh_does_not_follow_an_id_to_another_box(client: Client) -> None:
    box = await Box.create(box_id="b1", client=client)
    await box.delete()
    await Box.create(box_id="b1", client=client)

    with pytest.raises(BoxNotFound, match="another box has its id"):
        await box.refresh()


async def test_delete_waits_for_the_nodes_if_asked(fake: FakeBoxService, client: Client) -> None:
    box = await Box.create(box_id="b1", client=client)
    fake.host("b1", "n1", State.STATE_PENDING)

    with pytest.raises(NotEnforced):
        await box.delete(wait_timeout=1)

    assert fake.boxes == {}, "deleted all the same"


# Asking.


async def test_verdicts_come_in_order_with_reason_and_rule(client: Client) -> None:
    box = await Box.create(
        network_policy={"mode": "custom", "allowed_domains": ["*.a.test"]}, client=client
    )

    allowed, denied, reserved = await box.check_all(["x.a.test:443", "b.test", "10.0.0.1"])

    assert (allowed.allowed, allowed.reason, str(allowed.rule)) == (
        True,
        Reason.ALLOWED_DOMAIN,
        "allowed_domains *.a.test",
    )
    assert "if its address is not blocked" in allowed.explanation
    assert (denied.allowed, denied.reason) == (False, Reason.NO_RULE)
    assert (reserved.allowed, reserved.reason) == (False, Reason.RESERVED_ADDRESS)
    assert denied.policy_revision == box.policy_revision


async def test_a_bad_destination_is_refused_before_anything_is_sent(
    fake: FakeBoxService, client: Client
) -> None:
    box = await Box.create(client=client)

    with pytest.raises(InvalidDestination):
        await box.check("https://a.test/")

    assert fake.called("CheckEgress") == []


async def test_the_history_is_newest_first(fake: FakeBoxService, client: Client) -> None:
    fake.page_size = 1
    box = await Box.create(client=client)
    await box.update_network_policy({"mode": "deny-all"})

    history = await box.policy_history()

    assert [(r.revision, r.network_policy.mode) for r in history] == [
        (2, Mode.DENY_ALL),
        (1, Mode.ALLOW_ALL),
    ]
    assert history[0].author == "anonymous"


async def test_a_box_from_a_snapshot_has_its_policy_unless_another_is_given(
    client: Client,
) -> None:
    box = await Box.create(network_policy={"mode": "deny-all"}, client=client)
    snapshot = await box.snapshot(snapshot_id="s1")

    same = await Box.from_snapshot(snapshot, client=client)
    other = await EphemeralBox.from_snapshot(
        "s1", ttl=60, network_policy={"mode": "custom"}, client=client
    )

    assert same.network_policy == box.network_policy
    assert same.source_snapshot == "s1"
    assert (other.network_policy.mode, other.expire_time is None) == ("custom", False)


async def test_snapshots_are_listed_read_and_deleted(client: Client) -> None:
    box = await Box.create(client=client)
    await box.snapshot(snapshot_id="s1")

    [listed] = await Snapshot.list(box_id=box.id, client=client)
    read = await Snapshot.get("s1", client=client)
    assert listed.state == read.state
    assert repr(read) == f"<Snapshot s1 of {box.id}>"
    await read.delete()

    with pytest.raises(SnapshotNotFound):
        await Snapshot.get("s1", client=client)
