"""Replies are read by another library, and are never larger than the box can take."""

import dns.flags
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwall_agent.dns.answer import Record
from boxwall_agent.dns.question import Question, read_query
from boxwall_agent.dns.replies import BLOCKED, FILTERED, ExtendedError, reply
from fakes.dns_messages import (
    address_record,
    addresses_in,
    alias_record,
    extended_errors,
    is_truncated,
    query_for,
    read,
)

WHY = ExtendedError(BLOCKED, "policy revision 3: evil.test is in no entry of allowed_domains")


def asked(name: str = "api.example.com", **more: object) -> Question:
    question = read_query(query_for(name, **more))  # type: ignore[arg-type]  # as `query_for`
    assert isinstance(question, Question)
    return question


def test_the_question_comes_back_in_the_case_it_was_asked_in() -> None:
    question = asked("aPi.EXAMPLE.com")
    made = reply(question, 0, [address_record("api.example.com", "1.2.3.4")])
    assert made[12:].startswith(question.raw)
    assert addresses_in(made) == ["1.2.3.4"]
    assert read(made).answer[0].name.to_text() == "aPi.EXAMPLE.com."


def test_a_refusal_says_why_and_has_no_soa() -> None:
    made = reply(asked("evil.test"), 3, error=WHY)
    assert read(made).rcode() == 3
    assert read(made).authority == []
    assert extended_errors(made) == [(BLOCKED, WHY.text)]


def test_without_edns_nothing_is_added() -> None:
    made = reply(asked(edns=False), 3, error=WHY)
    assert read(made).edns == -1


def test_the_dnssec_flag_comes_back() -> None:
    query = read_query(_with_dnssec())
    assert isinstance(query, Question)
    assert read(reply(query, 0)).ednsflags & dns.flags.DO


def _with_dnssec() -> bytes:
    query = bytearray(query_for("api.example.com"))
    query[-4] |= 0x80
    return bytes(query)


def test_records_grow_old() -> None:
    records = [address_record("api.example.com", "1.2.3.4", ttl=60)]
    ages = {5: 55, 60: 0, 90: 0}
    for age, left in ages.items():
        assert read(reply(asked(), 0, records, age=age)).answer[0].ttl == left
    assert read(reply(asked(), 0, records, longest_ttl=30)).answer[0].ttl == 30


def test_aliases_are_named_once() -> None:
    middle, end = "a-rather-long-name.of-a-network.example.net", "edge.of-a-network.example.net"
    records = [
        alias_record("api.example.com", middle),
        alias_record(middle, end),
        *(address_record(end, f"1.2.3.{n}") for n in range(20)),
    ]
    made = reply(asked(edns=False), 0, records)
    assert not is_truncated(made), "20 addresses take 320 octets"
    assert [one.name.to_text(omit_final_dot=True) for one in read(made).answer] == [
        "api.example.com",
        middle,
        end,
    ]
    assert len(addresses_in(made)) == 20


@pytest.mark.parametrize(
    ("payload", "number", "truncated"),
    [
        pytest.param(None, 29, False, id="what fits into 512"),
        pytest.param(None, 30, True, id="more than 512 without EDNS"),
        pytest.param(1232, 73, False, id="what fits into 1232"),
        pytest.param(1232, 80, True, id="more than 1232"),
        pytest.param(4096, 80, True, id="never more than 1232, whatever the box takes"),
    ],
)
def test_what_does_not_fit_comes_by_tcp(payload: int | None, number: int, truncated: bool) -> None:
    question = asked(edns=payload is not None, payload=payload or 0)
    records = [address_record("api.example.com", f"1.2.3.{n}") for n in range(number)]
    made = reply(question, 0, records)
    assert is_truncated(made) is truncated
    assert len(made) <= min(payload or 512, 1232)
    assert len(addresses_in(made)) == (0 if truncated else number)
    over_tcp = reply(question, 0, records, over_tcp=True)
    assert not is_truncated(over_tcp)
    assert len(addresses_in(over_tcp)) == number


def test_the_text_of_an_error_gives_way_and_nobody_comes_again_for_it() -> None:
    name = ".".join(["x" * 60] * 4)
    made = reply(asked(name, payload=512), 0, error=ExtendedError(FILTERED, "é" * 1000))
    assert not is_truncated(made)
    assert len(made) <= 512
    ((code, text),) = extended_errors(made)
    assert code == FILTERED
    assert set(text) == {"é"}


@given(
    st.lists(st.sampled_from(["a.test", "b.test", "api.example.com", "c.b.test"]), max_size=12),
    st.lists(st.integers(0, 9000), max_size=4),
)
def test_pointers_lead_to_the_right_names(owners: list[str], sizes: list[int]) -> None:
    records = []
    for at, owner in enumerate(owners):
        if at < len(sizes):
            records.append(Record(b"\1t\0", 65280, 1, bytes(sizes[at])))
        records.append(alias_record(owner, owners[at - 1]))
    made = read(reply(asked(), 0, records, over_tcp=True))
    found = {one.name.to_text(omit_final_dot=True) for one in made.answer if one.rdtype == 5}
    targets = {
        it.target.to_text(omit_final_dot=True)
        for one in made.answer
        if one.rdtype == 5
        for it in one
    }
    assert found == set(owners)
    assert targets <= set(owners)
