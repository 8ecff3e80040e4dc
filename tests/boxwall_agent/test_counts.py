"""What was refused is added up, whatever becomes of the kernel's counters."""

import pytest

from boxwall_agent.counts import Totals

A, B = b"a", b"b"


@pytest.mark.parametrize(
    ("readings", "totals"),
    [
        ([{A: 5}, {A: 5}, {A: 9}], [5, 5, 9]),
        ([{A: 5, B: 10}, {A: 6}], [15, 16]),
        ([{A: 5, B: 10}, {A: 6}, {A: 6, B: 2}], [15, 16, 18]),
        ([{A: 5}, {A: 2}, {A: 3}], [5, 7, 8]),
        ([{A: 5}, {}, {A: 1}], [5, 5, 6]),
        ([{}, {A: 1}], [0, 1]),
    ],
    ids=["it grows", "a box is detached", "attached anew", "the table anew", "empty", "the first"],
)
def test_a_total_never_goes_back(readings: list[dict[bytes, int]], totals: list[int]) -> None:
    added = Totals()
    assert [added.after("refused", one) for one in readings] == totals


def test_each_counter_has_its_own_total() -> None:
    added = Totals()
    assert added.after("refused", {A: 5}) == 5
    assert added.after("spoofed", {A: 2}) == 2
