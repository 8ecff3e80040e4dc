"""Cursors: only what was handed out comes back in."""

import base64
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwall_server.changes.revision import (
    BadCursor,
    CommitId,
    Cursor,
    Epoch,
    Revision,
    cursor_from_token,
    cursor_to_token,
)
from fakes.changes import OTHER_EPOCH, cursor

CURSORS = st.builds(
    Cursor,
    epoch=st.binary(min_size=16, max_size=16).map(Epoch),
    revision=st.integers(0, 2**63 - 1).map(Revision),
    commit_id=st.binary(min_size=8, max_size=8).map(CommitId),
    frame=st.integers(0, 2**32 - 1),
)
TOKEN = cursor_to_token(cursor(7, frame=3), "t1")


@given(CURSORS, st.text())
def test_a_cursor_survives_its_token(made: Cursor, tenant: str) -> None:
    assert cursor_from_token(cursor_to_token(made, tenant), tenant) == made


def test_a_token_can_stand_in_a_url_and_is_short() -> None:
    assert set(TOKEN) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert len(TOKEN) < 60


def with_version(token: str) -> str:
    packed = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    packed[0] += 1
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


BAD: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "text": lambda: "latest",
    "a number": lambda: "42",
    "cut": lambda: TOKEN[:-4],
    "cut by one character": lambda: TOKEN[:-1],
    "longer": lambda: TOKEN + "AAAA",
    "of a newer version": lambda: with_version(TOKEN),
    "of another tenant": lambda: cursor_to_token(cursor(7), "t2"),
    "white space": lambda: f" {TOKEN}",
    "a line break": lambda: f"{TOKEN}\n",
    "not ASCII": lambda: "é" * len(TOKEN),
    "NUL": lambda: "\0" * len(TOKEN),
    "the other alphabet": lambda: "+/" + TOKEN[2:],
    "a megabyte": lambda: "A" * 1_000_000,
}


@pytest.mark.parametrize("token", BAD.values(), ids=BAD)
def test_what_is_no_cursor_of_the_tenant_is_refused_with_the_way_out(
    token: Callable[[], str],
) -> None:
    with pytest.raises(BadCursor, match="leave it empty to begin with the whole state"):
        cursor_from_token(token(), "t1")


@given(st.text())
def test_any_text_is_a_cursor_or_a_clear_refusal(text: str) -> None:
    try:
        cursor_from_token(text, "t1")
    except BadCursor:
        return


def test_a_cursor_at_a_frame_is_the_same_place() -> None:
    assert cursor(7).at_frame(2) == cursor(7, frame=2)
    assert cursor(7).same_place(cursor(7, frame=2))


@pytest.mark.parametrize(
    "other",
    {
        "another revision": cursor(8),
        "another epoch": cursor(7, epoch=OTHER_EPOCH),
        "another commit": Cursor(
            epoch=cursor(7).epoch, revision=Revision(7), commit_id=CommitId(b"rewound!")
        ),
    }.values(),
    ids=["another revision", "another epoch", "another commit"],
)
def test_two_places_are_the_same_only_if_all_three_are(other: Cursor) -> None:
    assert not cursor(7).same_place(other)
