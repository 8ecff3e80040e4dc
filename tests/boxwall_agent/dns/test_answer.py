"""Of what an upstream says, only what belongs to the question is kept."""

import dns.message
import dns.name
import dns.rcode
import pytest

from boxwall_agent.dns.answer import FAILED, MOST_ALIASES, MOST_RECORDS, Answer, answer_of
from boxwall_agent.dns.question import AAAA, ANY, CNAME, TXT, A

NAME = dns.name.from_text("api.example.com.")


def heard(
    *answers: str, kind: int = A, code: str = "NOERROR", authority: str = "", additional: str = ""
) -> Answer:
    """What is kept of a message in text."""
    message = dns.message.from_text(
        "\n".join(
            [
                "id 1",
                "opcode QUERY",
                f"rcode {code}",
                "flags QR RD RA",
                ";QUESTION",
                f"api.example.com. IN TYPE{kind}",
                ";ANSWER",
                *answers,
                ";AUTHORITY",
                authority,
                ";ADDITIONAL",
                additional,
            ]
        )
    )
    return answer_of(dns.message.from_wire(message.to_wire(max_size=65535)), NAME, kind)


def addresses(answer: Answer) -> list[str]:
    return list(map(str, answer.addresses))


@pytest.mark.parametrize(
    ("answers", "kept"),
    [
        pytest.param(["api.example.com. 60 IN A 1.1.1.1"], ["1.1.1.1"], id="its own"),
        pytest.param(["aPI.example.COM. 60 IN A 1.1.1.1"], ["1.1.1.1"], id="in another case"),
        pytest.param(["evil.test. 60 IN A 1.1.1.1"], [], id="a foreign owner"),
        pytest.param(
            ["api.example.com. 60 IN A 1.1.1.1", "evil.test. 60 IN A 2.2.2.2"],
            ["1.1.1.1"],
            id="a foreign owner beside its own",
        ),
        pytest.param(
            ["api.example.com. 60 IN CNAME a.net.", "a.net. 60 IN A 1.1.1.1"],
            ["1.1.1.1"],
            id="by an alias",
        ),
        pytest.param(
            ["a.net. 60 IN A 1.1.1.1", "api.example.com. 60 IN CNAME a.net."],
            ["1.1.1.1"],
            id="by an alias that comes last",
        ),
        pytest.param(
            [
                "api.example.com. 60 IN CNAME a.net.",
                "a.net. 60 IN CNAME b.net.",
                "b.net. 60 IN A 1.1.1.1",
                "c.net. 60 IN A 2.2.2.2",
            ],
            ["1.1.1.1"],
            id="by two aliases, and a stranger",
        ),
        pytest.param(
            ["x.example.com. 60 IN CNAME a.net.", "a.net. 60 IN A 1.1.1.1"],
            [],
            id="by the alias of another",
        ),
        pytest.param(["api.example.com. 60 IN AAAA 2600::1"], [], id="of another type"),
    ],
)
def test_only_what_the_name_leads_to_is_kept(answers: list[str], kept: list[str]) -> None:
    assert addresses(heard(*answers)) == kept


def test_authority_and_additional_are_not_kept() -> None:
    answer = heard(
        "api.example.com. 60 IN A 1.1.1.1",
        authority="example.com. 60 IN NS api.example.com.",
        additional="api.example.com. 60 IN AAAA 2600::1\nevil.test. 60 IN A 2.2.2.2",
    )
    assert addresses(answer) == ["1.1.1.1"]
    assert [one.type for one in answer.records] == [A]


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(["api.example.com. 60 IN CNAME api.example.com."], id="to itself"),
        pytest.param(
            ["api.example.com. 60 IN CNAME a.net.", "a.net. 60 IN CNAME api.example.com."],
            id="there and back",
        ),
        pytest.param(
            [
                "api.example.com. 60 IN CNAME n0.net.",
                *(f"n{n}.net. 60 IN CNAME n{n + 1}.net." for n in range(MOST_ALIASES)),
                f"n{MOST_ALIASES}.net. 60 IN A 1.1.1.1",
            ],
            id="too many",
        ),
    ],
)
def test_aliases_that_lead_nowhere_are_no_answer(answers: list[str]) -> None:
    assert heard(*answers) is FAILED


def test_as_many_aliases_as_may_be() -> None:
    aliases = [f"n{n}.net. 60 IN CNAME n{n + 1}.net." for n in range(MOST_ALIASES - 1)]
    end = f"n{MOST_ALIASES - 1}.net. 60 IN A 1.1.1.1"
    assert addresses(heard("api.example.com. 60 IN CNAME n0.net.", *aliases, end)) == ["1.1.1.1"]


@pytest.mark.parametrize(
    ("ttl", "kept"), [(0, 0), (60, 60), (2**31 - 1, 86_400), (31_536_000, 86_400)]
)
def test_ttls_are_bounded(ttl: int, kept: int) -> None:
    assert heard(f"api.example.com. {ttl} IN A 1.1.1.1").ttl == kept


def test_a_ttl_of_2_to_the_31_counts_as_none() -> None:
    message = dns.message.from_text("id 1\nflags QR\n;ANSWER\napi.example.com. 1 IN A 1.1.1.1\n")
    data = bytearray(message.to_wire())
    data[-10:-6] = (2**31).to_bytes(4, "big")
    assert answer_of(dns.message.from_wire(bytes(data)), NAME, A).ttl == 0


def test_an_answer_holds_as_long_as_the_shortest_of_it() -> None:
    answer = heard("api.example.com. 7 IN CNAME a.net.", "a.net. 60 IN A 1.1.1.1")
    assert answer.ttl == 7


def test_thousands_of_addresses_are_cut() -> None:
    many = [f"api.example.com. 60 IN A 8.1.{n >> 8}.{n & 255}" for n in range(3000)]
    assert len(heard(*many).addresses) == MOST_RECORDS


@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED", "FORMERR", "NOTIMP"])
def test_an_upstream_that_cannot_is_no_answer(code: str) -> None:
    assert heard("api.example.com. 60 IN A 1.1.1.1", code=code) is FAILED


@pytest.mark.parametrize(
    ("authority", "ttl"),
    [
        pytest.param("", 0, id="no SOA: not remembered"),
        pytest.param("example.com. 9 IN SOA a. b. 1 2 3 4 20", 9, id="the SOA's own TTL"),
        pytest.param("example.com. 900 IN SOA a. b. 1 2 3 4 20", 20, id="its minimum"),
        pytest.param("example.com. 900 IN SOA a. b. 1 2 3 4 900", 30, id="our bound"),
    ],
)
def test_the_lack_of_a_name_holds_as_long_as_its_zone_says(authority: str, ttl: int) -> None:
    answer = heard(code="NXDOMAIN", authority=authority)
    assert (answer.code, answer.ttl) == (dns.rcode.NXDOMAIN, ttl)


def test_an_alias_to_nothing_holds_no_longer_than_itself() -> None:
    soa = "net. 900 IN SOA a. b. 1 2 3 4 900"
    answer = heard("api.example.com. 5 IN CNAME a.net.", code="NXDOMAIN", authority=soa)
    assert (answer.code, answer.ttl, len(answer.records)) == (dns.rcode.NXDOMAIN, 5, 1)


def test_an_alias_that_is_asked_for_is_not_followed() -> None:
    answer = heard("api.example.com. 60 IN CNAME a.net.", "a.net. 60 IN A 1.1.1.1", kind=CNAME)
    assert [one.type for one in answer.records] == [CNAME]


def test_other_types_are_kept_without_addresses() -> None:
    answer = heard('api.example.com. 60 IN TXT "x"', kind=TXT)
    assert [one.type for one in answer.records] == [TXT]
    assert answer.addresses == ()


def test_of_any_everything_the_name_owns_is_kept_with_its_addresses() -> None:
    answer = heard(
        "api.example.com. 60 IN A 1.1.1.1",
        "api.example.com. 60 IN AAAA 2600::1",
        'api.example.com. 60 IN TXT "x"',
        "evil.test. 60 IN A 2.2.2.2",
        kind=ANY,
    )
    assert sorted(one.type for one in answer.records) == [A, TXT, AAAA]
    assert addresses(answer) == ["1.1.1.1", "2600::1"]
