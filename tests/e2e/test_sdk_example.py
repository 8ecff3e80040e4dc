"""The example of the README, as printed, against a real server."""

import pytest

from boxwall import Box, BoxChanged, BoxGone, EphemeralBox, NetworkPolicy, NotEnforced
from fakes.node import hosting
from fakes.server_process import ServerProcess


@pytest.fixture
def target(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> str:
    """The server, as the SDK finds it."""
    monkeypatch.setenv("BOXWALL_SERVER", server.target)
    return server.target


async def test_the_example_runs_as_printed(target: str) -> None:
    box = await Box.create(
        runtime="node",
        network_policy={
            "mode": "custom",
            "allowed_domains": ["api.github.com", "*.githubusercontent.com"],
            "allowed_cidrs": ["104.16.0.0/12"],
        },
    )
    assert box.network_policy == NetworkPolicy.custom(
        allowed_domains=["api.github.com", "*.githubusercontent.com"],
        allowed_cidrs=["104.16.0.0/12"],
    )
    verdict = await box.check("api.github.com:443")
    assert verdict.allowed
    await box.update_network_policy({"mode": "deny-all"})
    assert not (await box.check("api.github.com:443")).allowed
    snapshot = await box.snapshot()
    same = await Box.from_snapshot(snapshot.id)
    assert same.network_policy == NetworkPolicy.deny_all()
    other = await Box.from_snapshot(snapshot.id, network_policy={"mode": "allow-all"})
    assert other.network_policy == NetworkPolicy.allow_all()
    brief = await EphemeralBox.create(ttl=3600, network_policy={"mode": "deny-all"})
    assert brief.expire_time is not None
    assert (await Box.get(box.id)).uid == box.uid
    assert await Box.list(label=("team", "search")) == []
    assert len(await Box.list()) == 4
    await box.delete()
    assert len(await Box.list()) == 3


async def test_an_update_returns_once_the_node_enforces_it(target: str) -> None:
    box = await Box.create()
    async with hosting(target, "n1", [box.id]) as node:
        await box.update_network_policy({"mode": "deny-all"})
        assert node.entries[box.id].WhichOneof("state") == "network_policy"
        assert node.entries[box.id].network_policy.HasField("deny_all")
        assert box.enforcement.state.name == "ENFORCED"


async def test_an_update_that_no_node_acknowledges_raises_and_stands(target: str) -> None:
    box = await Box.create()
    async with hosting(target, "n1", [box.id], answer=lambda message: None):
        with pytest.raises(NotEnforced) as raised:
            await box.update_network_policy({"mode": "deny-all"}, wait_timeout=0.2)
    assert "n1" in str(raised.value)
    assert (await Box.get(box.id)).network_policy == NetworkPolicy.deny_all()


async def test_a_watch_sees_boxes_come_change_and_go(target: str) -> None:
    kept = await Box.create(box_id="kept")
    seen = []
    async for change in Box.watch():
        seen.append(change)
        match change:
            case BoxChanged(box=box) if box.network_policy == NetworkPolicy.allow_all():
                await kept.update_network_policy({"mode": "deny-all"})
            case BoxChanged():
                await kept.delete()
            case BoxGone():
                break
    assert [type(change).__name__ for change in seen][-3:] == [
        "BoxChanged",
        "BoxChanged",
        "BoxGone",
    ]
