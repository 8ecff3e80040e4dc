"""Page tokens: good for the query they were made for, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwall.wire.errors import ApiError, ErrorReason
from boxwall_server.service.pages import page_token, position_of
from boxwall_server.store.records import BoxFilter

QUERY = ("boxes", "t1", BoxFilter(name_prefix="a"))
TOKEN = page_token(QUERY, "b7")


@given(st.text())
def test_a_position_survives_its_token(position: str) -> None:
    assert position_of(page_token(QUERY, position), QUERY) == position


def test_no_token_is_the_first_page() -> None:
    assert position_of("", QUERY) == ""


@pytest.mark.parametrize(
    "query",
    [
        ("boxes", "t2", BoxFilter(name_prefix="a")),
        ("boxes", "t1", BoxFilter(name_prefix="b")),
        ("boxes", "t1", BoxFilter()),
        ("snapshots", "t1", ""),
    ],
    ids=["another tenant", "another filter", "no filter", "another list"],
)
def test_a_token_of_another_query_is_refused(query: tuple[object, ...]) -> None:
    with pytest.raises(ApiError, match="not of this query") as caught:
        position_of(TOKEN, query)
    assert caught.value.reason is ErrorReason.INVALID_PAGE_TOKEN


FORGED = {
    "text": "next",
    "cut": TOKEN[:-3],
    "longer": TOKEN + "AAAA",
    "white space": f" {TOKEN}",
    "not ASCII": "é",
    "NUL": "\0",
    "a number for a position": page_token(QUERY, "b7")[:16] + "NDI",
}


@pytest.mark.parametrize("token", FORGED.values(), ids=FORGED)
def test_a_token_that_was_made_up_is_refused(token: str) -> None:
    with pytest.raises(ApiError) as caught:
        position_of(token, QUERY)
    assert caught.value.reason is ErrorReason.INVALID_PAGE_TOKEN


@given(st.text(min_size=1))
def test_any_text_is_refused_clearly(text: str) -> None:
    with pytest.raises(ApiError):
        position_of(text, QUERY)
