"""Whatever goes wrong, a box ends with its old rules, its new ones, or none."""

from collections.abc import Callable, Sequence

import pytest

from boxwall.policy import Address, AllowAll, Custom, DenyAll, Network, Policy
from boxwall.policy.names import DomainPattern
from boxwall.wire.entries import Entry, NotYours, PolicySet, Removed, Result, Unreadable
from boxwall_agent.enforcer import Enforcer, results_of
from boxwall_agent.errors import CannotAttach, KernelError, KernelRejected, KernelUnsure
from boxwall_agent.grants import GrantPool
from boxwall_agent.hosted import NAMES_NOT_ENFORCED, Hosted, Standing
from boxwall_agent.in_force import InForce
from boxwall_agent.marks import LAST_GRANT
from boxwall_agent.nft.batch import TableFlags
from boxwall_agent.nft.expressions import host32
from boxwall_agent.nft.objects import Element
from boxwall_agent.restored import Restored
from boxwall_agent.ruleset import Interface
from boxwall_agent.table import Shared, Table
from boxwall_agent.wanted import after_entries, all_closed, without_interface
from fakes.kernel import FakeKernel, FakeSwitch, Seen


def interface(number: int) -> Interface:
    return Interface(
        name=f"box{number}", index=number, addresses=(Address.parse(f"10.77.{number}.2"),)
    )


def policy_set(box_id: str, policy: Policy, revision: int = 1, uid: str = "u1") -> PolicySet:
    return PolicySet(box_id=box_id, uid=uid, revision=revision, policy=policy)


def networks(*texts: str) -> tuple[Network, ...]:
    return tuple(map(Network.parse, texts))


class Bench:
    """An enforcer on a fake kernel, with boxes b1 on box1, b2 on box2 ..."""

    def __init__(self, boxes: int = 2, grants: GrantPool | None = None) -> None:
        self.kernel = FakeKernel()
        self.switch = FakeSwitch()
        table = Table(Shared())
        in_force = InForce(self.kernel, table, TableFlags.NONE)
        self.enforcer = Enforcer(in_force, grants or GrantPool(), self.switch)
        self.enforcer.start([], None, leases={})
        for number in range(1, boxes + 1):
            self.enforcer.attach(f"b{number}", [interface(number)])

    def apply(self, entries: Sequence[Entry], *, is_whole: bool = False) -> Sequence[Hosted]:
        """What the control plane says, put in force."""
        hosted = self.enforcer.hosted
        return self.enforcer.put(after_entries(hosted, entries, is_whole=is_whole))

    def close(self, standing: Standing, message: str) -> None:
        """Every box."""
        self.enforcer.put(all_closed(self.enforcer.hosted.values(), standing, message))

    def interface_gone(self, index: int) -> None:
        """An interface was removed."""
        self.enforcer.put(without_interface(self.enforcer.hosted.values(), index))

    def grants(self, number: int) -> set[int]:
        """The grants in force on an interface."""
        index = host32(number)
        return {
            int.from_bytes(element.key[4:], "little")
            for element in self.kernel.held
            if element.set == "live" and element.key.startswith(index)
        }

    def standing(self, box_id: str) -> Standing:
        return self.enforcer.hosted[box_id].standing


def test_an_attached_box_without_a_policy_has_no_grant() -> None:
    bench = Bench()
    assert bench.grants(1) == set()
    assert Element("boxes", b"box1".ljust(16, b"\0")) in bench.kernel.held


def test_policies_of_several_boxes_are_one_transaction() -> None:
    bench = Bench()
    before = bench.kernel.commits
    bench.apply([policy_set("b1", AllowAll()), policy_set("b2", AllowAll())])
    assert bench.kernel.commits == before + 1
    assert bench.grants(1)
    assert bench.grants(2)
    assert not bench.grants(1) & bench.grants(2)


def test_an_entry_for_a_box_that_is_not_here_is_passed_over() -> None:
    bench = Bench()
    assert list(bench.apply([policy_set("elsewhere", AllowAll())])) == []


@pytest.mark.parametrize(
    ("entry", "standing"),
    [
        (Removed(box_id="b1", revision=2), Standing.UNKNOWN),
        (NotYours(box_id="b1", message="n2 has it"), Standing.REFUSED),
        (Unreadable(box_id="b1", uid="u1", revision=2, message="?"), Standing.FAILED),
        (policy_set("b1", DenyAll(), 2), Standing.ENFORCED),
    ],
    ids=["removed", "refused", "unreadable", "deny-all"],
)
def test_what_allows_nothing_takes_every_grant_away(entry: PolicySet, standing: Standing) -> None:
    bench = Bench()
    bench.apply([policy_set("b1", AllowAll()), policy_set("b2", AllowAll())])
    bench.apply([entry])
    assert bench.grants(1) == set()
    assert bench.standing("b1") is standing
    assert bench.grants(2)


def test_a_box_that_the_whole_state_does_not_name_is_closed() -> None:
    bench = Bench()
    bench.apply([policy_set("b1", AllowAll()), policy_set("b2", AllowAll())])
    bench.apply([policy_set("b2", AllowAll())], is_whole=True)
    assert bench.grants(1) == set()
    assert bench.standing("b1") is Standing.UNKNOWN
    assert bench.grants(2)


def test_a_new_uid_inherits_no_grant() -> None:
    bench = Bench()
    bench.apply([policy_set("b1", AllowAll())])
    before = bench.grants(1)
    bench.apply([policy_set("b1", AllowAll(), 2, uid="u2")])
    assert not before & bench.grants(1)


def test_entries_that_stay_keep_their_grants() -> None:
    bench = Bench()
    bench.apply([policy_set("b1", Custom(allowed_cidrs=networks("1.0.0.0/8")))])
    before = bench.grants(1)
    both = Custom(allowed_cidrs=networks("2.0.0.0/8", "1.0.0.0/8"))
    bench.apply([policy_set("b1", both, 2)])
    assert before < bench.grants(1)


def test_one_policy_that_the_kernel_refuses_does_not_hold_back_the_others() -> None:
    bench = Bench()
    bench.apply([policy_set("b1", AllowAll()), policy_set("b2", AllowAll())])
    bench.kernel.refuse = lambda seen: (
        KernelRejected(12, "elements of live", "no memory") if seen.touches(1) else None
    )
    wide = Custom(allowed_cidrs=networks("1.0.0.0/8"))
    touched = bench.apply([policy_set("b1", wide, 2), policy_set("b2", wide, 3)])
    assert bench.grants(1) == set()
    assert bench.standing("b1") is Standing.FAILED
    assert bench.standing("b2") is Standing.ENFORCED
    (result,) = results_of(touched)
    assert result.box_id == "b1"
    assert result.revision == 2
    assert "no memory" in result.failure
    assert bench.switch.cuts == []


def test_closing_only_takes_away() -> None:
    bench = Bench()
    bench.apply([policy_set("b1", AllowAll())])
    seen: list[Seen] = []

    def watch(batch: Seen) -> KernelError | None:
        seen.append(batch)
        return None

    bench.kernel.refuse = watch
    bench.close(Standing.SHUT_OUT, "fenced")
    assert bench.grants(1) == set()
    assert [batch.added for batch in seen] == [[]]


def test_when_the_kernel_refuses_everything_the_interface_is_taken_down() -> None:
    bench = Bench()
    bench.apply([policy_set("b1", AllowAll())])
    bench.kernel.refuse = lambda seen: KernelRejected(12, "transaction", "no memory")
    bench.apply([policy_set("b1", DenyAll(), 2)])
    assert bench.switch.cuts == ["box1"]
    assert bench.standing("b1") is Standing.FAILED
    assert "taken down" in bench.enforcer.hosted["b1"].message


def test_an_answer_that_was_lost_ends_in_the_new_policy_being_installed_anew() -> None:
    bench = Bench()
    bench.apply([policy_set("b1", AllowAll()), policy_set("b2", AllowAll())])
    answers = iter([KernelUnsure("ENOBUFS")])
    bench.kernel.refuse = lambda seen: next(answers, None)
    bench.apply([policy_set("b1", DenyAll(), 2)])
    assert bench.grants(1) == set()
    assert bench.grants(2)
    assert bench.enforcer.is_in_force()


def once(what: KernelError | None) -> Callable[[Seen], KernelError | None]:
    """Refuse the first batch so, and none after it."""
    answers = iter([what])
    return lambda seen: next(answers, None)


def first_only() -> Callable[[Seen], bool]:
    """Lose the answer to the first batch."""
    answers = iter([True])
    return lambda seen: next(answers, False)


def whole(seen: Seen) -> KernelError | None:
    """Refuse what replaces the table."""
    return KernelRejected(12, "transaction", "no memory") if seen.makes_table else None


def test_a_box_whose_opening_was_done_unheard_and_cannot_be_redone_is_cut() -> None:
    """Differences from what was meant before are nothing, while the kernel lets everything pass."""
    bench = Bench()
    bench.apply([policy_set("b1", DenyAll()), policy_set("b2", AllowAll())])
    bench.kernel.loses_answer = first_only()
    bench.kernel.refuse = whole
    touched = bench.apply([policy_set("b1", AllowAll(), 2)])
    assert bench.grants(1)
    assert bench.switch.cuts == ["box1"]
    assert bench.standing("b1") is Standing.FAILED
    assert [one.failure for one in results_of(touched)]
    assert not bench.enforcer.is_in_force()

    bench.kernel.refuse = lambda seen: None
    bench.enforcer.reinstall()

    assert bench.grants(1) == set()
    assert bench.grants(2)
    assert bench.enforcer.is_in_force()


def test_in_doubt_the_next_change_of_any_box_puts_everything_in_force() -> None:
    bench = Bench()
    bench.apply([policy_set("b1", DenyAll())])
    bench.kernel.loses_answer = first_only()
    bench.kernel.refuse = whole
    bench.apply([policy_set("b1", AllowAll(), 2)])
    bench.kernel.refuse = lambda seen: None
    bench.apply([policy_set("b2", AllowAll(), 3)])
    assert bench.grants(1) == set()
    assert bench.grants(2)
    assert bench.standing("b2") is Standing.ENFORCED
    assert bench.enforcer.is_in_force()


def test_one_lost_answer_over_many_boxes_is_one_table() -> None:
    bench = Bench(boxes=20)
    before = bench.kernel.commits
    bench.kernel.loses_answer = first_only()
    bench.apply([policy_set(f"b{number}", AllowAll()) for number in range(1, 21)])
    assert bench.kernel.commits == before + 2
    assert all(bench.grants(number) for number in range(1, 21))


@pytest.mark.parametrize("boxes", [1, 20])
def test_a_kernel_that_does_nothing_any_more_is_not_asked_for_each_box(boxes: int) -> None:
    bench = Bench(boxes=boxes)
    every = [f"b{number}" for number in range(1, boxes + 1)]
    asked: list[Seen] = []

    def nothing(seen: Seen) -> KernelError:
        asked.append(seen)
        return KernelUnsure("ENOBUFS")

    bench.kernel.refuse = nothing
    bench.apply([policy_set(box_id, AllowAll()) for box_id in every])
    assert len(asked) == 3
    assert len(bench.switch.cuts) == boxes
    assert {bench.standing(box_id) for box_id in every} == {Standing.FAILED}


def test_a_box_that_was_cut_is_closed_when_the_kernel_does_it_at_last() -> None:
    """Or the link, set up by hand, would carry what the old policy allows."""
    bench = Bench()
    bench.apply([policy_set("b1", AllowAll())])
    bench.kernel.refuse = lambda seen: KernelRejected(12, "transaction", "no memory")
    bench.apply([policy_set("b1", DenyAll(), 2)])
    assert bench.grants(1)
    assert not bench.enforcer.is_in_force()
    bench.kernel.refuse = lambda seen: None
    bench.enforcer.reinstall()
    assert bench.grants(1) == set()


def test_a_detach_done_unheard_is_done_again_as_a_whole() -> None:
    bench = Bench()
    bench.apply([policy_set("b2", AllowAll())])
    bench.kernel.loses_answer = first_only()
    bench.enforcer.detach("b1")
    assert "b1" not in bench.enforcer.hosted
    assert bench.enforcer.is_in_force()
    assert bench.grants(2)


def test_a_detach_of_which_nobody_knows_leaves_the_box_closed_and_cut() -> None:
    bench = Bench()
    bench.apply([policy_set("b1", AllowAll())])
    bench.kernel.loses_answer = first_only()
    bench.kernel.refuse = whole
    with pytest.raises(KernelError):
        bench.enforcer.detach("b1")
    assert bench.switch.cuts == ["box1"]
    assert bench.standing("b1") is Standing.FAILED
    bench.kernel.refuse = lambda seen: None
    bench.enforcer.reinstall()
    assert Element("boxes", b"box1".ljust(16, b"\0")) in bench.kernel.held
    assert bench.grants(1) == set()
    bench.enforcer.detach("b1")
    assert Element("boxes", b"box1".ljust(16, b"\0")) not in bench.kernel.held


def test_a_detach_that_was_refused_leaves_the_box_as_it_was() -> None:
    bench = Bench()
    bench.apply([policy_set("b1", AllowAll())])
    bench.kernel.refuse = once(KernelRejected(12, "elements of live", "no memory"))
    with pytest.raises(KernelRejected):
        bench.enforcer.detach("b1")
    assert bench.switch.cuts == []
    assert bench.standing("b1") is Standing.ENFORCED
    assert bench.grants(1)


def test_a_box_that_fails_to_get_one_more_interface_is_not_called_enforced() -> None:
    bench = Bench()
    bench.apply([policy_set("b1", AllowAll())])
    bench.kernel.refuse = lambda seen: KernelRejected(12, "transaction", "no memory")
    with pytest.raises(CannotAttach):
        bench.enforcer.attach("b1", [interface(1), interface(7)])
    assert set(bench.switch.cuts) == {"box1", "box7"}
    assert bench.standing("b1") is Standing.FAILED
    bench.kernel.refuse = lambda seen: None
    bench.enforcer.reinstall()
    assert bench.grants(1) == set()


def test_node_addresses_set_unheard_are_set_again() -> None:
    bench = Bench()
    bench.kernel.loses_answer = first_only()
    bench.enforcer.node_has(frozenset({Address.parse("45.0.0.1")}))
    assert Element("node4", bytes((45, 0, 0, 1))) in bench.kernel.held
    assert bench.enforcer.is_in_force()


def test_when_no_number_is_left_the_box_is_closed() -> None:
    bench = Bench(grants=GrantPool(range(LAST_GRANT + 1), lambda: range(LAST_GRANT + 1)))
    bench.apply([policy_set("b1", AllowAll()), policy_set("b2", DenyAll())])
    assert bench.standing("b1") is Standing.FAILED
    assert bench.standing("b2") is Standing.ENFORCED
    assert bench.grants(1) == set()


def test_drift_is_seen_and_put_right() -> None:
    bench = Bench()
    bench.apply([policy_set("b1", AllowAll())])
    assert bench.enforcer.is_in_force()
    stolen = next(element for element in bench.kernel.held if element.set == "live")
    bench.kernel.held.remove(stolen)
    assert not bench.enforcer.is_in_force()
    bench.enforcer.reinstall()
    assert bench.enforcer.is_in_force()
    bench.kernel.rules -= 1
    assert not bench.enforcer.is_in_force()


def test_a_restart_keeps_the_grants_of_open_connections() -> None:
    bench = Bench()
    policy = Custom(allowed_cidrs=networks("1.0.0.0/8", "2600::/13"))
    bench.apply([policy_set("b1", policy)])
    before = bench.grants(1)
    restored = Restored.of(bench.kernel.held)
    in_force = InForce(bench.kernel, Table(Shared()), TableFlags.NONE)
    again = Enforcer(in_force, GrantPool(restored.grants), bench.switch)
    again.start(list(bench.enforcer.hosted.values()), restored, leases={})
    assert bench.grants(1) == before


def test_names_are_not_enforced_and_that_is_said() -> None:
    bench = Bench()
    named = Custom(allowed_domains=(DomainPattern.parse("a.test"),))
    touched = bench.apply([policy_set("b1", named, 7)])
    assert results_of(touched) == [Result(box_id="b1", revision=7, note=NAMES_NOT_ENFORCED)]
    assert bench.grants(1) == set()


def test_a_removed_interface_leaves_its_name_closed() -> None:
    bench = Bench()
    bench.apply([policy_set("b1", AllowAll())])
    bench.interface_gone(1)
    left = [element.set for element in bench.kernel.held if b"box1" in element.key]
    assert left == ["boxes"]
    assert not [e for e in bench.kernel.held if e.key.startswith(host32(1)) and e.set != "boxes"]
    # What comes later does not open it.
    (touched,) = bench.apply([policy_set("b1", AllowAll(), 2)])
    assert touched.standing is Standing.GONE
    assert bench.grants(1) == set()


def test_when_one_of_two_interfaces_is_removed_the_other_stays_policed_and_closed() -> None:
    bench = Bench(boxes=0)
    bench.enforcer.attach("b1", [interface(1), interface(2)])
    bench.apply([policy_set("b1", AllowAll())])
    bench.interface_gone(1)
    assert bench.standing("b1") is Standing.GONE
    assert bench.grants(1) | bench.grants(2) == set()
    hosted = {element.key for element in bench.kernel.held if element.set == "hosted"}
    assert hosted == {host32(2)}
    assert bench.enforcer.hosted_on(1) is None
    assert bench.enforcer.hosted_on(2) is bench.enforcer.hosted["b1"]
    assert bench.enforcer.hosted_on(0) is None
    with pytest.raises(CannotAttach, match="attached at box2; detach it first"):
        bench.enforcer.attach("b1", [interface(3)])
    bench.interface_gone(2)
    assert not any(element.set == "hosted" for element in bench.kernel.held)
    bench.enforcer.attach("b1", [interface(3)])
    assert {e.key.rstrip(b"\0") for e in bench.kernel.held if e.set == "boxes"} == {b"box3"}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (interface(1), "box1 belongs to box b1"),
        (
            Interface(name="new", index=9, addresses=(Address.parse("10.77.1.2"),)),
            "10.77.1.2 belongs to box b1",
        ),
    ],
    ids=["interface", "address"],
)
def test_what_is_another_boxs_cannot_be_attached(other: Interface, said: str) -> None:
    bench = Bench()
    held = set(bench.kernel.held)
    with pytest.raises(CannotAttach, match=said):
        bench.enforcer.attach("b9", [other])
    assert bench.kernel.held == held
    assert "b9" not in bench.enforcer.hosted


def test_attaching_again_what_is_in_force_changes_nothing() -> None:
    bench = Bench()
    bench.apply([policy_set("b1", AllowAll())])
    held = set(bench.kernel.held)
    assert bench.enforcer.attach("b1", [interface(1)]).standing is Standing.ENFORCED
    assert bench.kernel.held == held


def test_a_box_cannot_be_moved_while_its_interface_is_there() -> None:
    """The old interface would be unpoliced, with the box perhaps still on it."""
    bench = Bench()
    bench.apply([policy_set("b1", AllowAll())])
    with pytest.raises(CannotAttach, match="attached at box1; detach it first"):
        bench.enforcer.attach("b1", [interface(7)])
    assert bench.grants(1)


def test_a_box_whose_interface_is_gone_can_be_attached_elsewhere() -> None:
    bench = Bench()
    bench.apply([policy_set("b1", AllowAll())])
    bench.interface_gone(1)
    moved = bench.enforcer.attach("b1", [interface(7)])
    assert moved.standing is Standing.WAITING
    assert bench.grants(1) == bench.grants(7) == set()
    assert not [element for element in bench.kernel.held if b"box1" in element.key]


def test_a_box_that_gets_one_more_interface_keeps_the_others_policed() -> None:
    bench = Bench()
    bench.apply([policy_set("b1", AllowAll())])
    more = bench.enforcer.attach("b1", [interface(1), interface(7)])
    assert more.standing is Standing.WAITING
    assert bench.grants(1) == bench.grants(7) == set()
    bench.apply([policy_set("b1", AllowAll(), 2)])
    assert bench.grants(1)
    assert bench.grants(7)


def test_an_attach_that_the_kernel_refuses_takes_the_interface_down() -> None:
    bench = Bench()
    bench.kernel.refuse = lambda seen: KernelRejected(12, "elements of boxes", "no memory")
    with pytest.raises(CannotAttach, match="taken down"):
        bench.enforcer.attach("b9", [interface(9)])
    assert bench.switch.cuts == ["box9"]


def test_a_detached_box_leaves_nothing() -> None:
    bench = Bench(boxes=1)
    before = {element for element in bench.kernel.held if element.set in ("blocked4", "blocked6")}
    bench.apply([policy_set("b1", AllowAll())])
    bench.enforcer.detach("b1")
    assert bench.kernel.held == before
