"""Hot paths do not get dearer unnoticed: what they do is counted, not timed."""

import pytest

from budget.counting import Calls
from budget.ledger import RENEW, budget, differences, measured


@pytest.fixture(scope="module")
def now() -> dict[str, float]:
    return measured()


def test_hot_paths_cost_what_they_may(now: dict[str, float]) -> None:
    found = [*differences(now, budget())]
    assert not found, "\n".join(["what hot paths cost has changed:", *found, RENEW])


@pytest.mark.parametrize(
    ("few", "many"),
    [
        ("verdict by 10 entries", "verdict by 1000 entries"),
        ("change routed to 1 of 10 nodes", "change routed to 1 of 1000 nodes"),
        ("update in the kernel beside 10 boxes", "update in the kernel beside 1000 boxes"),
    ],
)
def test_what_is_not_concerned_costs_nothing(now: dict[str, float], few: str, many: str) -> None:
    beside_few = {name: count for name, count in now.items() if name.startswith(f"{few}: ")}
    beside_many = {name: now[name.replace(few, many)] for name in beside_few}
    assert beside_few, few
    assert not [*differences(beside_many, beside_few)]


@pytest.mark.parametrize(
    ("cost", "was", "is_now", "said"),
    [
        ("a: calls", 100, 107, None),
        ("a: calls", 100, 109, "a: calls: 100 -> 109, dearer by 9%"),
        ("a: calls for each", 100, 200, "a: calls for each: 100 -> 200, dearer by 100%"),
        (
            "a: calls",
            100,
            69,
            "a: calls: 100 -> 69, cheaper: renew the budget, so that it stays so",
        ),
        ("a: tasks", 1, 2, "a: tasks: 1 -> 2, dearer by 100%"),
        ("a: tasks", 0, 1, "a: tasks: 0 -> 1, was free"),
        ("64 calls: tasks", 64, 65, "64 calls: tasks: 64 -> 65, dearer by 2%"),
    ],
)
def test_a_cost_out_of_bounds_is_named(
    cost: str, was: float, is_now: float, said: str | None
) -> None:
    assert [*differences({cost: is_now}, {cost: was})] == ([] if said is None else [said])


def test_a_cost_without_a_budget_and_a_budget_without_a_cost_are_named() -> None:
    assert [*differences({"new: calls": 7}, {"old: calls": 5})] == [
        "new: calls: 7, and no budget",
        "old: calls: a budget of 5, and nothing measures it",
    ]


def test_what_is_called_is_counted_and_the_standard_library_is_not() -> None:
    from boxwall.policy import Network

    with Calls("parse") as calls:
        Network.parse("198.51.100.0/24")
    assert calls.named == {"parse": 1}
    assert calls.total > 1
    with Calls() as nothing:
        sorted([3, 1, 2])
    assert nothing.total == 0
