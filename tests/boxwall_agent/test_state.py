"""What an agent remembers."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from boxwall.policy import Address, AllowAll, Custom, Network
from boxwall_agent.errors import StateUnusable
from boxwall_agent.hosted import Hosted, Standing
from boxwall_agent.ruleset import Interface
from boxwall_agent.state import State

FIRST = Interface(
    name="box1",
    index=7,
    addresses=(Address.parse("10.77.1.2"), Address.parse("fd77::2")),
    masquerade=True,
)
SECOND = Interface(name="aaa", index=8, addresses=(Address.parse("10.88.1.2"),))
ENFORCED = Hosted(
    box_id="b1",
    interfaces=(FIRST, SECOND),
    standing=Standing.ENFORCED,
    uid="u1",
    revision=9,
    policy=Custom(allowed_cidrs=(Network.parse("1.0.0.0/8"),)),
    message="",
)
CLOSED = Hosted(box_id="b2", interfaces=(), standing=Standing.UNKNOWN, message="no such box")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "agent.db"


def test_what_was_saved_is_there_after_a_restart(path: Path) -> None:
    with closing(State(path)) as state:
        state.save([ENFORCED, CLOSED], cursor="here")
    with closing(State(path)) as state:
        assert {one.box_id: one for one in state.hosted()} == {"b1": ENFORCED, "b2": CLOSED}
        assert state.cursor() == "here"


def test_a_new_state_begins_at_the_beginning(path: Path) -> None:
    with closing(State(path)) as state:
        assert state.hosted() == []
        assert state.cursor() == ""


def test_a_later_save_replaces_and_no_cursor_means_the_same(path: Path) -> None:
    with closing(State(path)) as state:
        state.save([ENFORCED], cursor="first")
        closed = ENFORCED.closed(Standing.SHUT_OUT, "fenced")
        state.save([closed])
        assert state.hosted() == [closed]
        assert state.cursor() == "first"


def test_a_forgotten_box_is_gone_with_its_interfaces(path: Path) -> None:
    with closing(State(path)) as state:
        state.save([ENFORCED])
        state.forget("b1")
        assert state.hosted() == []
        state.save([Hosted(box_id="b3", interfaces=(FIRST,))])


def test_nobody_else_reads_it(path: Path) -> None:
    with closing(State(path)) as state:
        state.save([])
        assert path.stat().st_mode & 0o077 == 0
        assert path.parent.stat().st_mode & 0o077 == 0


def test_a_second_agent_is_refused(path: Path) -> None:
    with closing(State(path)) as state:
        state.save([ENFORCED])
        with pytest.raises(StateUnusable, match="another agent"):
            State(path)


def test_a_file_of_a_newer_agent_is_refused(path: Path) -> None:
    State(path).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 9")
    with pytest.raises(StateUnusable, match="newer agent"):
        State(path)


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"these are my notes " * 100)
    with pytest.raises(StateUnusable, match="cannot be used"):
        State(path)


def everything_of(state: State) -> None:
    """Read it all."""
    state.hosted()
    state.ports()
    state.leases()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE box SET standing = 'NEW', policy = NULL",
        "UPDATE box SET policy = NULL WHERE box_id = 'b1'",
        "UPDATE interface SET addresses = 'x'",
        "INSERT INTO note VALUES ('dns_port', 'x')",
        "INSERT INTO lease VALUES ('b1', 'x y', '1.1.1.1', 1, 1.0)",
        "INSERT INTO lease VALUES ('b1', 'a.example', '1.1.1', 1, 1.0)",
    ],
    ids=["standing", "enforced without policy", "address", "port", "name", "address of a name"],
)
def test_what_cannot_be_is_damage_and_has_a_way_out(path: Path, damage: str) -> None:
    with closing(State(path)) as state:
        state.save([ENFORCED, CLOSED])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(damage)
    with closing(State(path)) as state, pytest.raises(StateUnusable, match="move it away"):
        everything_of(state)


def test_a_time_of_contact_that_is_none_is_damage(path: Path) -> None:
    with closing(State(path)) as state:
        state.save_contact(1.0)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE note SET value = value || 'x' WHERE key = 'contact'")
    with closing(State(path)) as state, pytest.raises(StateUnusable, match="damaged"):
        state.last_contact()


def test_a_file_that_was_cut_has_a_way_out(path: Path) -> None:
    with closing(State(path)) as state:
        state.save([ENFORCED])
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(StateUnusable, match="move it away"), closing(State(path)) as state:
        state.hosted()


def test_a_number_that_is_too_large_is_not_saved_and_nothing_is_changed(path: Path) -> None:
    """A control plane that talks nonsense must not end the agent."""
    too_late = replace(ENFORCED, revision=1 << 63)
    with closing(State(path)) as state:
        state.save([ENFORCED])
        with pytest.raises(StateUnusable, match="cannot hold"):
            state.save([CLOSED, too_late])
        assert state.hosted() == [ENFORCED]


def test_a_policy_that_cannot_be_read_closes_its_box(path: Path) -> None:
    with closing(State(path)) as state:
        state.save([ENFORCED])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE box SET policy = x'ff'")
    with closing(State(path)) as state:
        (found,) = state.hosted()
    assert found.standing is Standing.FAILED
    assert found.policy is None


def test_a_save_that_fails_changes_nothing(path: Path) -> None:
    with closing(State(path)) as state:
        state.save([ENFORCED])
        with pytest.raises(StateUnusable):
            state.save([CLOSED, Hosted(box_id="b9", interfaces=(FIRST,))], cursor="x")
        assert state.hosted() == [ENFORCED]
        assert state.cursor() == ""


def test_allow_all_is_remembered(path: Path) -> None:
    hosted = Hosted(
        box_id="b1", interfaces=(), standing=Standing.ENFORCED, policy=AllowAll(), message=""
    )
    with closing(State(path)) as state:
        state.save([hosted])
        assert state.hosted() == [hosted]
