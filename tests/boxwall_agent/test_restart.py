"""Killed at any instant, and whatever is lost, an agent that starts again opens nothing."""

import asyncio
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from boxwall.policy import Address, AllowAll, Custom, DenyAll, Name, Network, Policy
from boxwall.policy.names import DomainPattern
from boxwall.wire.entries import Changes, Entry, Fenced, PolicySet, Removed, Reset, Result
from boxwall_agent import state as state_module
from boxwall_agent.agent import Agent
from boxwall_agent.enforcer import Enforcer
from boxwall_agent.errors import StateUnusable
from boxwall_agent.hosted import Hosted, Standing
from boxwall_agent.in_force import InForce
from boxwall_agent.leases import Lease, LeaseBounds
from boxwall_agent.link_news import Link
from boxwall_agent.nft.batch import TableFlags
from boxwall_agent.nft.expressions import host32
from boxwall_agent.nft.naming import Naming
from boxwall_agent.restored import Restored
from boxwall_agent.ruleset import Interface
from boxwall_agent.state import State
from boxwall_agent.table import Shared, Table
from boxwall_agent.takeover import Found, resume
from fakes.kernel import FakeKernel, FakeSwitch, Seen

LINK = Interface(name="box1", index=7, addresses=(Address.parse("10.77.1.2"),))
OTHER = Interface(name="box2", index=8, addresses=(Address.parse("10.77.2.2"),))
NAMING = Naming(dns_port=53, relay_port=80, http_ports=(80,), queue=b"")
NAME, LEASED = Name.parse("api.example.com"), Address.parse("8.8.4.4")


class Killed(BaseException):
    """The agent is no more. Nothing catches it."""


class Tripwire:
    """Kills the agent at its n-th effect: odd numbers before it is done, even ones after."""

    def __init__(self) -> None:
        self.left = 0

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


class WatchedState(State):
    """The real file, which can also be full."""

    tripwire: Tripwire
    is_full = False

    def save(
        self,
        boxes: Iterable[Hosted],
        *,
        cursor: str | None = None,
        withdrawn: Iterable[tuple[str, Lease]] = (),
    ) -> None:
        save = super().save
        self._around(lambda: save(boxes, cursor=cursor, withdrawn=withdrawn))

    def save_leases(self, box_id: str, leases: Iterable[Lease]) -> None:
        save = super().save_leases
        self._around(lambda: save(box_id, leases))

    def forget(self, box_id: str) -> None:
        forget = super().forget
        self._around(lambda: forget(box_id))

    def _around(self, write: Callable[[], None]) -> None:
        self.tripwire.step()
        if self.is_full:
            raise StateUnusable("no space left on device")
        write()
        self.tripwire.step()


class Node:
    """An agent that can be killed and started; its kernel and its file live on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.kernel = FakeKernel()
        self.tripwire = Tripwire()
        self.kernel.refuse = self._before
        self.kernel.loses_answer = self._after
        self.ever_live: set[int] = set()
        self.ever_sealed: list[bytes | None] = []
        self.live_before_loss: set[int] = set()
        self.blocked: tuple[Network, ...] = ()
        self.bounds = LeaseBounds()
        self.existing = {one.index: Link(index=one.index, name=one.name) for one in (LINK, OTHER)}
        self.start()

    def _before(self, seen: Seen) -> None:
        self.tripwire.step()

    def _after(self, seen: Seen) -> bool:
        self.ever_live |= self.live
        self.ever_sealed.append(self.seal)
        self.tripwire.step()
        return False

    def start(self) -> None:
        """With every grant that was ever live still carried by some connection."""
        self.tripwire.left = 0
        self.state = WatchedState(self._path)
        self.state.tripwire = self.tripwire
        found = Found(
            restored=Restored.of(self.kernel.held) if self.kernel.found else None,
            existing=self.existing,
            carried=frozenset(self.ever_live),
        )
        table = Table(Shared(blocked=self.blocked, naming=NAMING))
        in_force = InForce(self.kernel, table, TableFlags.NONE)
        self.switch = FakeSwitch()
        self.enforcer: Enforcer = resume(self.state, in_force, self.switch, found, self.bounds)
        self.agent = Agent(self.enforcer, self.state, lambda seconds: None)

    def restart(self) -> None:
        """As after kill -9."""
        self.state.close()
        self.start()

    def kill_during(self, act: Callable[["Node"], object], effect: int) -> bool:
        """Whether it got so far."""
        self.tripwire.left = effect
        try:
            act(self)
        except Killed:
            return True
        self.tripwire.left = 0
        return False

    def attach(self, box_id: str = "b1", *links: Interface) -> None:
        """Until the policy comes."""

        async def briefly() -> None:
            attached = asyncio.ensure_future(self.agent.attach(box_id, links or (LINK,)))
            await asyncio.sleep(0)
            if attached.done():
                attached.result()
            attached.cancel()

        asyncio.run(briefly())

    def says(self, *entries: Entry) -> list[Result]:
        """The control plane does."""
        answer = self.agent.receive(Changes(entries=entries, cursor="later"))
        assert answer is not None
        return answer[1]

    def forget_everything(self) -> None:
        """The state's folder is lost while no agent runs."""
        self.live_before_loss = self.live
        self.state.close()
        for one in self._path.parent.glob(f"{self._path.name}*"):
            one.unlink()

    def copy_of_state(self) -> bytes:
        """As it is now."""
        self.state.close()
        copied = self._path.read_bytes()
        self.start()
        return copied

    def put_back(self, copied: bytes) -> None:
        """In place of the state."""
        self.state.close()
        self._path.write_bytes(copied)

    @property
    def seal(self) -> bytes | None:
        """What the kernel has of b1's first interface."""
        return next((e.value for e in self.kernel.held if e[:2] == ("seals", host32(7))), None)

    @property
    def live(self) -> set[int]:
        """Grants in force, of all interfaces."""
        held = (element.key for element in self.kernel.held if element.set == "live")
        return {int.from_bytes(key[4:], "little") for key in held}

    @property
    def policed(self) -> set[str]:
        """Names of interfaces."""
        names = (element.key for element in self.kernel.held if element.set == "boxes")
        return {name.rstrip(b"\0").decode() for name in names}

    @property
    def policed_indexes(self) -> set[int]:
        """Indexes of interfaces."""
        keys = (element.key for element in self.kernel.held if element.set == "hosted")
        return {int.from_bytes(key, sys.byteorder) for key in keys}

    def allows(self, text: str) -> bool:
        """Whether the kernel has this network, or address, in a list of what is allowed."""
        key = Network.parse(text).first.to_bytes(4, "big")
        return any(
            element.key[4:8] == key and element.set.startswith(("allow", "lease"))
            for element in self.kernel.held
        )


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """With nothing attached."""
    made = Node(tmp_path / "agent.db")
    yield made
    made.state.close()


def policy(policy: Policy, revision: int, uid: str = "u1") -> PolicySet:
    return PolicySet(box_id="b1", uid=uid, revision=revision, policy=policy)


def allow(*texts: str) -> Custom:
    return Custom(allowed_cidrs=tuple(map(Network.parse, texts)))


ONE, TWO, BOTH = allow("1.0.0.0/8"), allow("2.0.0.0/8"), allow("1.0.0.0/8", "2.0.0.0/8")
BY_NAME = Custom(allowed_domains=(DomainPattern.parse("api.example.com"),))
ALL_BUT_ONE = Custom(denied_cidrs=(Network.parse("1.0.0.0/8"),))

ACTS: Mapping[str, Callable[[Node], object]] = {
    "another policy": lambda node: node.says(policy(TWO, 2)),
    "a wider policy": lambda node: node.says(policy(BOTH, 2)),
    "deny all": lambda node: node.says(policy(DenyAll(), 2)),
    "allow all": lambda node: node.says(policy(AllowAll(), 2)),
    "a new denied network": lambda node: node.says(policy(ALL_BUT_ONE, 2)),
    "a new box under the id": lambda node: node.says(policy(ONE, 2, uid="u2")),
    "two updates": lambda node: (node.says(policy(TWO, 2)), node.says(policy(BOTH, 3))),
    "removed": lambda node: node.says(Removed(box_id="b1", revision=2)),
    "fenced": lambda node: node.agent.receive(Fenced(cursor="later")),
    "its interface is removed": lambda node: node.agent.interface_gone(7),
    "detached": lambda node: node.agent.detach("b1"),
    "another box is attached": lambda node: node.attach("b2", OTHER),
    "attached with one more interface": lambda node: node.attach("b1", LINK, OTHER),
    "a name is leased": lambda node: (
        node.says(policy(BY_NAME, 2)),
        node.agent.lease("b1", NAME, [LEASED], 60),
        node.says(policy(ONE, 3)),
    ),
}
CLOSING = ("removed", "fenced", "its interface is removed", "detached")
BEFORE: Mapping[str, Policy] = {"one": ONE, "allow all": AllowAll(), "deny all": DenyAll()}


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("act", ACTS)
def test_killed_between_any_two_effects_it_never_goes_back(
    act: str, before: str, tmp_path: Path
) -> None:
    """A policy that was in force is not followed by an older one, no grant comes to life again, and
    no interface that was policed is free.
    """
    for effect in range(1, 100):
        node = Node(tmp_path / f"{effect}.db")
        node.attach()
        node.says(policy(BEFORE[before], 1))
        was_killed = node.kill_during(ACTS[act], effect)
        live, policed, seal = node.live, node.policed, node.seal
        given, older = set(node.ever_live), list(node.ever_sealed)

        node.restart()

        assert policed <= node.policed
        if seal is None:
            assert node.seal is None
        elif node.seal == seal:
            assert node.live & given <= live
        else:
            assert node.seal not in older or (node.seal is None and act in CLOSING)
            assert not node.live & given
        held = set(node.kernel.held)
        node.restart()
        assert node.kernel.held == held
        node.state.close()
        if not was_killed:
            assert effect > 4
            return
    raise AssertionError("it has no end")


def test_a_state_that_is_lost_leaves_every_interface_closed_and_named(node: Node) -> None:
    node.attach()
    node.says(policy(AllowAll(), 1))
    node.forget_everything()
    node.restart()
    assert node.policed == {"box1"}
    assert node.live == set()
    (forgotten,) = node.agent.hosted
    assert forgotten.box_id == "interface:box1"
    assert node.agent.held() == []
    node.says(policy(AllowAll(), 2))
    node.agent.receive(Fenced(cursor="later"))
    node.agent.receive(Reset(entries=(), cursor="x", last=True))
    assert node.agent.hosted == [forgotten]
    node.restart()
    assert node.agent.hosted == [forgotten]


def test_a_forgotten_interface_can_be_attached_again_and_inherits_nothing(node: Node) -> None:
    node.attach()
    node.says(policy(AllowAll(), 1))
    node.forget_everything()
    node.restart()
    node.attach()
    node.says(policy(AllowAll(), 1))
    assert [one.box_id for one in node.agent.hosted] == ["b1"]
    assert node.live
    assert not node.live & node.live_before_loss


def test_a_forgotten_interface_can_be_detached(node: Node) -> None:
    node.attach()
    node.forget_everything()
    node.restart()
    assert node.agent.detach("interface:box1")
    assert node.policed == set()
    node.restart()
    assert node.policed == set()


def test_a_forgotten_interface_that_is_removed_leaves_its_name_closed(node: Node) -> None:
    node.attach()
    node.forget_everything()
    node.restart()
    node.agent.interface_gone(LINK.index)
    del node.existing[LINK.index]
    node.restart()
    assert node.policed == {"box1"}
    (forgotten,) = node.agent.hosted
    assert forgotten.standing is Standing.GONE


def test_a_box_whose_tightening_found_the_disk_full_stays_closed(node: Node) -> None:
    """The file still has the older, wider policy."""
    node.attach()
    node.says(policy(AllowAll(), 1))
    node.state.is_full = True
    (result,) = node.says(policy(ONE, 2))
    assert "no space left" in result.failure
    assert node.live == set()
    node.restart()
    assert node.live == set()
    (hosted,) = node.agent.hosted
    assert hosted.standing is Standing.WAITING
    assert [held.revision for held in node.agent.held()] == [0]
    node.says(policy(ONE, 2))
    assert node.allows("1.0.0.0/8")


def test_names_only_and_a_full_disk_leave_the_box_closed_too(node: Node) -> None:
    """Such a policy has no element of its own but the seal."""
    node.attach()
    node.says(policy(BY_NAME, 1))
    assert node.agent.lease("b1", NAME, [LEASED], 60)
    node.state.is_full = True
    node.says(policy(ONE, 2))
    node.restart()
    assert not node.agent.lease("b1", NAME, [LEASED], 60) or node.live == set()
    assert node.live == set()


def test_a_fence_that_cannot_be_remembered_holds_over_a_restart(node: Node) -> None:
    node.attach()
    node.says(policy(AllowAll(), 1))
    node.state.is_full = True
    node.agent.receive(Fenced(cursor="later"))
    node.restart()
    assert node.live == set()


def test_an_attach_that_cannot_be_remembered_leaves_the_interface_closed(node: Node) -> None:
    node.state.is_full = True
    with pytest.raises(StateUnusable):
        node.attach()
    assert node.policed == {"box1"}
    node.restart()
    assert node.policed == {"box1"}
    node.attach()
    assert [one.box_id for one in node.agent.hosted] == ["b1"]


def test_a_detach_that_cannot_be_remembered_changes_nothing(node: Node) -> None:
    node.attach()
    node.says(policy(AllowAll(), 1))
    node.state.is_full = True
    with pytest.raises(StateUnusable):
        node.agent.detach("b1")
    assert node.policed == {"box1"}
    assert node.live


def test_a_state_of_an_earlier_time_revives_no_grant(node: Node) -> None:
    """As from a copy of the file: its policy counts, and every connection is judged anew."""
    node.attach()
    node.says(policy(BY_NAME, 1))
    assert node.agent.lease("b1", NAME, [LEASED], 60)
    old = node.copy_of_state()
    node.says(policy(TWO, 2))
    given = set(node.ever_live)
    node.put_back(old)
    node.restart()
    assert not node.live & given
    node.says(policy(allow("2.0.0.0/8", "9.9.9.9/32"), 3))
    assert not node.live & given


def test_a_new_box_under_an_old_id_inherits_no_lease_from_the_file(node: Node) -> None:
    """Killed when it is remembered, and before the kernel knows of it."""
    node.attach()
    node.says(policy(BY_NAME, 1))
    assert node.agent.lease("b1", NAME, [LEASED], 60)
    assert node.kill_during(lambda node: node.says(policy(BY_NAME, 2, uid="u2")), 2)
    assert node.live
    node.restart()
    assert [one.uid for one in node.agent.hosted] == ["u2"]
    assert node.live == set()


def test_on_a_full_disk_boxes_of_which_nothing_new_is_said_stay_open(node: Node) -> None:
    """As when the stream begins anew, and the control plane says everything."""
    node.attach()
    node.says(policy(ONE, 1))
    node.state.is_full = True
    node.agent.receive(Reset(entries=(policy(ONE, 1),), cursor="x", last=True))
    assert node.allows("1.0.0.0/8")


def test_a_lease_that_was_not_taken_over_is_not_taken_over_later(node: Node) -> None:
    node.attach()
    node.says(policy(BY_NAME, 1))
    assert node.agent.lease("b1", NAME, [LEASED], 60)
    node.blocked = (Network.parse("8.8.4.0/24"),)
    node.restart()
    assert node.live == set()
    node.blocked = ()
    node.restart()
    assert node.live == set()


@pytest.mark.parametrize(
    ("blocked", "are_judged_again"),
    [((), False), (("1.2.0.0/16",), True), (("99.0.0.0/8",), True)],
    ids=["nothing new", "within what is allowed", "elsewhere"],
)
def test_connections_are_judged_again_when_other_ranges_are_blocked(
    node: Node, blocked: tuple[str, ...], are_judged_again: bool
) -> None:
    node.attach()
    node.says(policy(BOTH, 1))
    live = node.live
    node.blocked = tuple(map(Network.parse, blocked))
    node.restart()
    assert (not node.live & live) == are_judged_again
    assert len(node.live) == 2


def test_over_a_restart_leases_stay_with_their_grants(node: Node) -> None:
    node.attach()
    node.says(policy(BY_NAME, 1))
    assert node.agent.lease("b1", NAME, [LEASED], 60)
    live = node.live
    node.restart()
    assert node.live == live != set()
    assert node.allows("8.8.4.4/32")


@pytest.mark.parametrize("how", ["another boot", "another index", "no such interface"])
def test_interfaces_that_are_others_now_are_not_trusted(
    node: Node, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name and an index can come again: after a reboot, or in another network namespace."""
    node.attach()
    node.says(policy(AllowAll(), 1))
    match how:
        case "another boot":
            monkeypatch.setattr(state_module, "_place", lambda: "another")
            node.kernel.held.clear()
            node.kernel.found = None
        case "another index":
            del node.existing[LINK.index]
            node.existing[99] = Link(index=99, name="box1")
        case _:
            del node.existing[LINK.index]
    node.restart()
    assert node.agent.hosted[0].standing is Standing.GONE
    assert node.live == set()
    assert node.policed == {"box1"}


@pytest.mark.parametrize("is_remembered", [True, False])
@pytest.mark.parametrize(
    "link", [Link(index=7, name="renamed"), Link(index=7, name="box1", master=9)]
)
def test_an_interface_that_was_renamed_or_made_a_port_while_no_agent_ran_is_closed(
    node: Node, link: Link, is_remembered: bool
) -> None:
    """Its index is known: from the state, or from the table."""
    node.attach()
    node.says(policy(AllowAll(), 1))
    node.existing[LINK.index] = link
    if not is_remembered:
        node.forget_everything()
    node.restart()
    assert node.live == set()
    assert LINK.index in node.policed_indexes
    assert not any(one.standing is Standing.ENFORCED for one in node.agent.hosted)
    node.restart()
    assert LINK.index in node.policed_indexes


def test_what_must_be_attached_again_is_not_opened_by_what_comes_after_it(node: Node) -> None:
    node.attach()
    node.says(policy(AllowAll(), 1))
    node.agent.link_is(Link(index=LINK.index, name="renamed"))
    assert node.live == set()
    node.agent.close_all("fenced")
    node.says(policy(AllowAll(), 2))
    assert node.live == set()
    assert node.agent.hosted[0].standing is Standing.CHANGED


def test_the_leases_of_a_removed_interface_are_taken_out_of_the_kernel(node: Node) -> None:
    """They are at its index, which may come again."""
    node.attach()
    node.says(policy(BY_NAME, 1))
    assert node.agent.lease("b1", NAME, [LEASED], 60)
    node.agent.interface_gone(LINK.index)
    assert [one for one in node.kernel.held if one.set in ("live", "lease4")] == []
    assert node.policed == {"box1"}


def test_over_a_restart_what_is_left_of_two_interfaces_stays_policed(node: Node) -> None:
    more = replace(LINK, name="more1", index=70, addresses=())
    node.existing[70] = Link(index=70, name="more1")
    node.attach("b1", LINK, more)
    node.says(policy(AllowAll(), 1))
    del node.existing[LINK.index]
    for _ in range(2):
        node.restart()
        assert node.policed == {"box1", "more1"}
        assert node.policed_indexes == {70}
        assert node.live == set()
    node.existing[70] = Link(index=70, name="renamed", master=9)
    node.agent.link_is(node.existing[70])
    assert node.switch.cuts == ["renamed"]
    assert node.policed_indexes == {70}


def test_what_lies_upon_a_boxs_interface_is_taken_down_and_closes_the_box(node: Node) -> None:
    node.attach()
    node.says(policy(AllowAll(), 1))
    node.agent.link_is(Link(index=90, name="box1.7", lower=LINK.index))
    assert node.switch.cuts == ["box1.7"]
    assert node.live == set()
    (hosted,) = node.agent.hosted
    assert hosted.standing is Standing.CHANGED
    assert "box1.7 lies upon its interface box1" in hosted.message
    node.agent.link_is(Link(index=91, name="elsewhere", lower=LINK.index + 1))
    assert node.switch.cuts == ["box1.7"]


def test_without_a_table_what_is_remembered_is_put_in_force(node: Node) -> None:
    """Somebody has deleted it while no agent ran; the boot and the interfaces are the same."""
    node.attach()
    node.says(policy(ONE, 1))
    live = node.live
    node.kernel.held.clear()
    node.kernel.found = None
    node.restart()
    assert node.allows("1.0.0.0/8")
    assert not node.live & live


def test_a_box_has_no_more_leases_than_an_operator_lets_it(node: Node) -> None:
    node.bounds = LeaseBounds(of_a_box=2, of_a_name=2)
    node.restart()
    node.attach()
    node.says(policy(BY_NAME, 1))
    addresses = [Address.parse(f"8.8.4.{number}") for number in range(1, 4)]
    assert node.agent.lease("b1", NAME, addresses[:2], 60)
    assert not node.agent.lease("b1", NAME, addresses[2:], 60)
    node.agent.forget_leases(frozenset(), 0)
    assert node.agent.lease("b1", NAME, addresses[2:], 60)


def test_a_name_that_is_short_of_leases_asks_for_room_before_it_has_none(node: Node) -> None:
    node.attach()
    node.says(policy(BY_NAME, 1))
    asked: list[str] = []
    node.agent.on_room_needed = lambda: asked.append("for room")
    addresses = [Address(4, (8 << 24) + number) for number in range(LeaseBounds().of_a_name)]

    assert node.agent.lease("b1", NAME, addresses[:200], 60)
    assert asked == []
    assert node.agent.lease("b1", NAME, addresses[:250], 60)
    assert asked == ["for room"]
    assert node.agent.lease("b1", NAME, addresses[:250], 60)
    assert asked == ["for room"], "nothing was leased anew"

    node.agent.forget_leases(frozenset(), 0)
    assert node.agent.lease("b1", NAME, addresses[250:], 60)
