"""The same query a moment later: what is said again, and what is not."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwall.policy import Address, DenyAll, Name, Network, NetworkTable, Policy, Surroundings
from boxwall_agent.dns.repeats import OF_A_BOX, Repeat, Repeats
from boxwall_agent.dns.session import Ask, Asker, Command, Limits, Reply, Session
from fakes.dns_messages import (
    ALLOW_ALL,
    address_record,
    addresses_in,
    allow_list,
    answer_with,
    query_for,
    read,
)

ALLOWED = allow_list("api.example.com")
ADDRESS = "8.8.4.4"
NOWHERE = Surroundings()


class Moment:
    """A session whose box has just heard an address that holds for a minute."""

    def __init__(self, ttl: int = 60, limits: Limits = Limits()) -> None:
        self.asker = Asker(box_id="box", policy=ALLOWED, revision=7, surroundings=NOWHERE)
        self.can_lease = True
        self.leased: list[tuple[str, list[str], float]] = []
        self.session = Session(self._lease, limits)
        self.now = 100.25
        (ask,) = self.query("api.example.com")
        assert isinstance(ask, Ask)
        answer = answer_with(address_record("api.example.com", ADDRESS, ttl=ttl))
        self.session.answered(ask.key, answer, self.asker, self.now)

    def _lease(self, box_id: str, name: Name, addresses: Sequence[Address], seconds: float) -> bool:
        self.leased.append((str(name), list(map(str, addresses)), seconds))
        return self.can_lease

    def query(self, name: str, number: int = 1, *, over_tcp: bool = False) -> list[Command]:
        data = number.to_bytes(2, "big") + query_for(name)[2:]
        return self.session.query(self.asker, data, "to", self.now, over_tcp=over_tcp)

    def heard(self, name: str = "api.example.com", number: int = 1) -> tuple[int, str, list[str]]:
        """Id, code and addresses of a reply, and no question upstream."""
        message = read(self.said(name, number))
        return message.id, message.rcode().to_text(message.rcode()), addresses_in(message.to_wire())

    def said(self, name: str = "api.example.com", number: int = 1) -> bytes:
        (reply,) = (one for one in self.query(name, number) if isinstance(one, Reply))
        return reply.data


def test_it_is_answered_with_its_own_id_and_leased_again() -> None:
    moment = Moment()
    lease = ("api.example.com", [ADDRESS], 360.0)
    assert moment.heard(number=5) == (5, "NOERROR", [ADDRESS])
    assert moment.heard(number=6) == (6, "NOERROR", [ADDRESS])
    assert moment.leased == [lease] * 3


def test_a_second_later_it_holds_a_second_less() -> None:
    moment = Moment()
    ttls = []
    for _ in range(3):
        ttls.append(read(moment.said()).answer[0].ttl)
        moment.now += 0.6
    assert ttls == [60, 60, 59]


@pytest.mark.parametrize(
    ("ttl", "later"),
    [pytest.param(1, 1.0, id="it has run out"), pytest.param(0, 0.0, id="not to be remembered")],
)
def test_what_holds_no_longer_is_asked_for_again(ttl: int, later: float) -> None:
    moment = Moment(ttl)
    moment.now += later
    (ask,) = moment.query("api.example.com")
    assert isinstance(ask, Ask)


def _with_policy(policy: Policy | None) -> Callable[[Asker], Asker]:
    return lambda asker: replace(asker, policy=policy)


def _near(asker: Asker) -> Asker:
    blocked = NetworkTable([(Network.parse(f"{ADDRESS}/32"), "the node")])
    return replace(asker, surroundings=Surroundings(blocked=blocked))


@pytest.mark.parametrize(
    ("changed", "code", "addresses"),
    [
        pytest.param(_with_policy(DenyAll()), "NXDOMAIN", [], id="deny-all"),
        pytest.param(_with_policy(None), "NXDOMAIN", [], id="no policy"),
        pytest.param(_with_policy(allow_list("other.test")), "NXDOMAIN", [], id="another list"),
        pytest.param(
            _with_policy(allow_list("api.example.com", denied=(f"{ADDRESS}/32",))),
            "NOERROR",
            [],
            id="its address is denied",
        ),
        pytest.param(_near, "NOERROR", [], id="its address is the node's now"),
        pytest.param(_with_policy(ALLOW_ALL), "NOERROR", [ADDRESS], id="allow-all"),
    ],
)
def test_it_is_judged_by_the_policy_of_now(
    changed: Callable[[Asker], Asker], code: str, addresses: list[str]
) -> None:
    moment = Moment()
    assert moment.heard() == (1, "NOERROR", [ADDRESS])
    moment.asker = changed(moment.asker)
    assert moment.heard() == (1, code, addresses)


def test_what_cannot_be_leased_any_more_is_not_told() -> None:
    moment = Moment()
    moment.heard()
    moment.can_lease = False
    assert moment.heard() == (1, "SERVFAIL", [])


def test_it_counts_as_a_query() -> None:
    moment = Moment(limits=Limits(queries=3))
    assert [moment.heard()[1] for _ in range(3)] == ["NOERROR", "NOERROR", "REFUSED"]


def test_a_box_that_is_gone_leaves_nothing() -> None:
    moment = Moment()
    moment.session.forget("box")
    (ask,) = moment.query("api.example.com")
    assert isinstance(ask, Ask)


def test_another_box_hears_nothing_of_it() -> None:
    moment = Moment()
    moment.asker = replace(moment.asker, box_id="another")
    (ask,) = moment.query("api.example.com")
    assert isinstance(ask, Ask)


@given(st.lists(st.floats(0, 0.9), max_size=12))
def test_it_says_what_is_said_when_nothing_is_remembered(steps: list[float]) -> None:
    moment = Moment(ttl=4)
    for step in steps:
        moment.now += step
        repeated = moment.query("api.example.com")
        # Octets that were never sent before are read, judged and answered anew.
        anew = moment.query("api.example.com", over_tcp=True)
        assert repeated == anew or isinstance(repeated[0], Ask)


def test_a_box_has_so_many_and_none_that_is_long() -> None:
    repeats = Repeats()

    def keep(query: bytes, answer: bytes) -> None:
        repeat = Repeat(
            policy=ALLOWED,
            surroundings=NOWHERE,
            until=1.0,
            name=None,
            addresses=(),
            lease=None,
            answer=answer,
        )
        repeats.keep("box", query, repeat)

    def is_kept(query: bytes) -> bool:
        return repeats.find("box", query, ALLOWED, NOWHERE, 0.0) is not None

    queries = [b"id" + number.to_bytes(2, "big") for number in range(OF_A_BOX + 1)]
    for query in queries:
        keep(query, b"")
    assert [is_kept(query) for query in (queries[0], queries[1], queries[-1])] == [
        False,
        True,
        True,
    ]
    keep(bytes(513), b"")
    keep(b"idlong", bytes(513))
    assert not is_kept(bytes(513))
    assert not is_kept(b"idlong")
