"""Queries in, commands out: by script."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dns.rcode
import pytest

from boxwall.policy import (
    Address,
    DenyAll,
    Name,
    Network,
    NetworkTable,
    Policy,
    Reason,
    Surroundings,
)
from boxwall_agent.dns.answer import FAILED, Record
from boxwall_agent.dns.question import REFUSED
from boxwall_agent.dns.replies import BLOCKED, FILTERED
from boxwall_agent.dns.session import Ask, Asker, Command, Limits, Refused, Reply, Session
from fakes.dns_messages import (
    ALLOW_ALL,
    address_record,
    addresses_in,
    alias_record,
    allow_list,
    answer_with,
    deny_list,
    extended_errors,
    query_for,
    read,
)

ALLOWED = allow_list("api.example.com", "*.cdn.example.com", denied=("9.0.0.0/8",))
NODE = Surroundings(blocked=NetworkTable([(Network.parse("5.5.5.5/32"), "the node")]))


class Script:
    """One session, one box, and what was leased for it."""

    def __init__(self, policy: Policy | None = ALLOWED, limits: Limits = Limits()) -> None:
        self.asker = Asker(box_id="box", policy=policy, revision=7, surroundings=NODE)
        self.leased: list[tuple[str, list[str], float]] = []
        self.can_lease = True
        self.session = Session(self._lease, limits)
        self.now = 0.0

    def _lease(self, box_id: str, name: Name, addresses: Sequence[Address], seconds: float) -> bool:
        self.leased.append((str(name), list(map(str, addresses)), seconds))
        return self.can_lease

    def query(self, name: str, kind: str = "A", **more: Any) -> list[Command]:
        return self.raw(query_for(name, kind, **more))

    def raw(self, data: bytes, to: object = "to") -> list[Command]:
        return self.session.query(self.asker, data, to, self.now)

    def ask(self, name: str, kind: str = "A") -> Ask:
        (ask,) = self.query(name, kind)
        assert isinstance(ask, Ask)
        return ask

    def answered(self, ask: Ask, *records: Record, **more: Any) -> list[Command]:
        answer = answer_with(*records, **more)
        return self.session.answered(ask.key, answer, self.asker, self.now)

    def resolved(self, name: str, *records: Record) -> bytes:
        """The reply to a question that goes upstream, when nothing is refused."""
        (reply,) = self.answered(self.ask(name), *records)
        assert isinstance(reply, Reply)
        return reply.data

    def set_policy(self, policy: Policy | None) -> None:
        self.asker = replace(self.asker, policy=policy, revision=8)


def said(commands: list[Command]) -> bytes:
    (reply,) = [one for one in commands if isinstance(one, Reply)]
    return reply.data


def code(commands: list[Command]) -> str:
    return dns.rcode.to_text(read(said(commands)).rcode())


def refused(commands: list[Command]) -> list[tuple[str | None, Reason, str | None]]:
    return [
        (
            None if one.name is None else str(one.name),
            one.reason,
            None if one.rule is None else str(one.rule),
        )
        for one in commands
        if isinstance(one, Refused)
    ]


@pytest.mark.parametrize(
    ("policy", "reason", "rule", "text"),
    [
        pytest.param(
            None, Reason.NO_POLICY, None, "no policy is in force for this box", id="no policy"
        ),
        pytest.param(
            DenyAll(), Reason.DENY_ALL, "mode deny-all", "the policy is deny-all", id="deny-all"
        ),
        pytest.param(
            ALLOWED,
            Reason.NAME_NOT_ALLOWED,
            "unlisted deny",
            "evil.test is in no entry of allowed_domains",
            id="not in the list",
        ),
    ],
)
def test_a_refused_name_goes_nowhere_and_says_why(
    policy: Policy | None, reason: Reason, rule: str | None, text: str
) -> None:
    commands = Script(policy).query("evil.test")
    assert code(commands) == "NXDOMAIN"
    assert refused(commands) == [("evil.test", reason, rule)]
    assert read(said(commands)).authority == []
    assert extended_errors(said(commands)) == [(BLOCKED, f"policy revision 7: {text}")]


def test_refusals_can_be_refused() -> None:
    assert code(Script(limits=Limits(refuse_with=REFUSED)).query("evil.test")) == "REFUSED"


@pytest.mark.parametrize(
    ("name", "goes"),
    [
        ("api.example.com", True),
        ("API.Example.COM", True),
        ("api.example.com.", True),
        ("a.cdn.example.com", True),
        ("b.a.cdn.example.com", True),
        ("cdn.example.com", False),
        ("x.api.example.com", False),
        ("api.example.com.evil.test", False),
        ("apiXexample.com", False),
        ("localhost", False),
        (".", False),
        ("1.2.3.4", False),
    ],
)
def test_only_names_of_an_entry_go_upstream(name: str, goes: bool) -> None:
    assert isinstance(Script().query(name)[0], Ask) is goes


@pytest.mark.parametrize(
    "name", [rb"api\.example.com", rb"api\000.example.com", rb"evil.test\000.cdn.example.com"]
)
def test_a_name_with_a_dot_or_a_nul_in_a_label_is_never_allowed(name: bytes) -> None:
    assert code(Script().query(name.decode())) == "NXDOMAIN"


@pytest.mark.parametrize("policy", [ALLOW_ALL, deny_list("9.0.0.0/8")], ids=["all", "deny list"])
@pytest.mark.parametrize("name", ["evil.test", "localhost", ".", rb"a\.b.test"])
def test_where_names_are_free_every_name_goes_upstream(policy: Policy, name: object) -> None:
    text = name.decode() if isinstance(name, bytes) else str(name)
    assert isinstance(Script(policy).query(text)[0], Ask)


@pytest.mark.parametrize("kind", ["ANY", "AXFR", "IXFR"])
def test_questions_for_everything_are_refused_where_names_are_restricted(kind: str) -> None:
    commands = Script().query("api.example.com", kind)
    assert code(commands) == "NXDOMAIN"
    assert refused(commands) == [("api.example.com", Reason.NAME_NOT_ALLOWED, None)]


def test_other_classes_are_refused() -> None:
    assert code(Script().query("api.example.com", of_class="CH")) == "REFUSED"


@pytest.mark.parametrize("kind", ["HTTPS", "SVCB"])
def test_hints_are_kept_from_a_box_whose_names_are_restricted(kind: str) -> None:
    script = Script()
    commands = script.query("api.example.com", kind)
    assert code(commands) == "NOERROR"
    assert read(said(commands)).answer == []
    script.set_policy(ALLOW_ALL)
    assert isinstance(script.query("api.example.com", kind)[0], Ask)


def test_hints_are_kept_back_when_names_were_restricted_meanwhile() -> None:
    script = Script(ALLOW_ALL)
    ask = script.ask("api.example.com", "HTTPS")
    script.set_policy(ALLOWED)
    hint = Record(ask.question.raw[:-4], 65, 60, b"\0\1\0")
    assert read(said(script.answered(ask, hint))).answer == []


def test_addresses_are_leased_before_they_are_told() -> None:
    script = Script()
    record = address_record("api.example.com", "1.1.1.1", ttl=60)
    reply = script.resolved("api.example.com", record)
    assert addresses_in(reply) == ["1.1.1.1"]
    assert script.leased == [("api.example.com", ["1.1.1.1"], 360.0)]


def test_what_cannot_be_leased_is_not_told() -> None:
    script = Script()
    script.can_lease = False
    commands = script.answered(
        script.ask("api.example.com"), address_record("api.example.com", "1.1.1.1")
    )
    assert code(commands) == "SERVFAIL"
    assert addresses_in(said(commands)) == []


@pytest.mark.parametrize(
    ("ttl", "leased", "told"),
    [(0, 305.0, 0), (1, 305.0, 1), (60, 360.0, 60), (86_400, 3900.0, 3600)],
)
def test_a_lease_is_bounded_and_outlives_what_is_told(ttl: int, leased: float, told: int) -> None:
    script = Script()
    reply = script.resolved("api.example.com", address_record("api.example.com", "1.1.1.1", ttl))
    assert script.leased[0][2] == leased
    assert read(reply).answer[0].ttl == told


def test_nothing_is_told_to_hold_longer_than_the_shortest_of_it() -> None:
    script = Script()
    reply = script.resolved(
        "api.example.com",
        alias_record("api.example.com", "a.net", ttl=10),
        address_record("a.net", "1.1.1.1", ttl=3000),
    )
    assert script.leased[0][2] == 310.0
    assert max(one.ttl for one in read(reply).answer) == 10


def test_a_lease_is_by_the_name_that_was_asked_for() -> None:
    script = Script()
    script.resolved(
        "api.example.com",
        alias_record("api.example.com", "elsewhere.net"),
        address_record("elsewhere.net", "1.1.1.1"),
    )
    assert script.leased[0][:2] == ("api.example.com", ["1.1.1.1"])


def test_where_names_are_free_nothing_is_leased() -> None:
    script = Script(ALLOW_ALL)
    assert addresses_in(script.resolved("a.test", address_record("a.test", "1.1.1.1"))) == [
        "1.1.1.1"
    ]
    assert script.leased == []


@pytest.mark.parametrize(
    ("address", "rule"),
    [
        pytest.param("10.0.0.1", "always_blocked 10.0.0.0/8", id="private"),
        pytest.param("169.254.169.254", "always_blocked 169.254.0.0/16", id="metadata"),
        pytest.param("::ffff:1.1.1.1", "always_blocked ::ffff:0.0.0.0/96", id="mapped"),
        pytest.param("64:ff9b::101:101", "always_blocked 64:ff9b::/96", id="NAT64"),
        pytest.param("5.5.5.5", "always_blocked 5.5.5.5/32 (the node)", id="the node"),
        pytest.param("9.1.1.1", "denied_cidrs 9.0.0.0/8", id="denied"),
    ],
)
@pytest.mark.parametrize("policy", [ALLOWED, deny_list("9.0.0.0/8"), ALLOW_ALL])
def test_blocked_and_denied_addresses_are_never_told(
    policy: Policy, address: str, rule: str
) -> None:
    if policy is ALLOW_ALL and address == "9.1.1.1":
        return
    script = Script(policy)
    bad = address_record("api.example.com", address)
    commands = script.answered(script.ask("api.example.com"), bad)
    assert code(commands) == "NOERROR"
    assert addresses_in(said(commands)) == []
    ((name, reason, by),) = refused(commands)
    assert (name, reason) == ("api.example.com", Reason.ANSWER_FILTERED)
    assert by is not None
    assert by.startswith(rule.partition("/")[0][:14])
    ((number, text),) = extended_errors(said(commands))
    assert (number, text) == (FILTERED, f"policy revision 7: every address is refused by {by}")
    assert script.leased == []


def test_the_rest_of_a_filtered_answer_is_leased_and_told() -> None:
    script = Script()
    commands = script.answered(
        script.ask("api.example.com"),
        address_record("api.example.com", "10.0.0.1"),
        address_record("api.example.com", "1.1.1.1"),
        address_record("api.example.com", "9.9.9.9"),
    )
    assert addresses_in(said(commands)) == ["1.1.1.1"]
    assert refused(commands) == []
    assert script.leased[0][1] == ["1.1.1.1"]


def test_a_cached_answer_asks_nobody_and_is_leased_again() -> None:
    script = Script()
    script.resolved("api.example.com", address_record("api.example.com", "1.1.1.1", ttl=60))
    script.now = 20.0
    commands = script.query("API.example.com")
    assert read(said(commands)).answer[0].ttl == 40
    assert [seconds for _, _, seconds in script.leased] == [360.0, 340.0]
    script.now = 60.0
    assert isinstance(script.query("api.example.com")[0], Ask)


def test_a_cached_answer_is_judged_by_the_policy_of_now() -> None:
    script = Script()
    script.resolved("api.example.com", address_record("api.example.com", "1.1.1.1"))
    script.set_policy(allow_list("api.example.com", denied=("1.0.0.0/8",)))
    assert refused(script.query("api.example.com"))[0][1] is Reason.ANSWER_FILTERED
    script.set_policy(allow_list("other.test"))
    assert code(script.query("api.example.com")) == "NXDOMAIN"


def test_a_box_hears_nothing_of_what_another_asked_for() -> None:
    script = Script()
    script.resolved("api.example.com", address_record("api.example.com", "1.1.1.1"))
    script.asker = replace(script.asker, box_id="other")
    assert isinstance(script.query("api.example.com")[0], Ask)


def test_a_name_no_longer_allowed_is_refused_when_its_answer_comes() -> None:
    script = Script()
    ask = script.ask("api.example.com")
    script.set_policy(allow_list("other.test"))
    commands = script.answered(ask, address_record("api.example.com", "1.1.1.1"))
    assert code(commands) == "NXDOMAIN"
    assert refused(commands)[0][1] is Reason.NAME_NOT_ALLOWED
    assert script.leased == []


def test_an_answer_for_a_box_that_is_gone_is_for_nobody() -> None:
    script = Script()
    ask = script.ask("api.example.com")
    answer = answer_with(address_record("api.example.com", "1.1.1.1"))
    assert script.session.answered(ask.key, answer, None, 0.0) == []
    assert script.leased == []
    assert isinstance(script.query("api.example.com")[0], Ask)


def test_no_answer_is_a_failure_and_not_remembered() -> None:
    script = Script()
    ask = script.ask("api.example.com")
    commands = script.session.answered(ask.key, FAILED, script.asker, 0.0)
    assert code(commands) == "SERVFAIL"
    assert isinstance(script.query("api.example.com")[0], Ask)


def test_the_lack_of_a_name_is_passed_on_and_remembered() -> None:
    script = Script()
    assert code(script.answered(script.ask("api.example.com"), code=3, ttl=30)) == "NXDOMAIN"
    commands = script.query("api.example.com")
    assert code(commands) == "NXDOMAIN"
    assert extended_errors(said(commands)) == [], "its zone says so, not the policy"


def test_the_same_question_is_asked_once_and_answered_to_all() -> None:
    script = Script()
    ask = script.ask("api.example.com")
    assert script.raw(query_for("API.EXAMPLE.COM"), "another") == []
    replies = script.answered(ask, address_record("api.example.com", "1.1.1.1"))
    assert [one.to for one in replies if isinstance(one, Reply)] == ["to", "another"]
    assert script.answered(ask, address_record("api.example.com", "1.1.1.1")) == []


def test_a_box_may_ask_so_much_a_second() -> None:
    script = Script(limits=Limits(queries=10.0))
    assert [code(script.query("evil.test")) for _ in range(11)] == ["NXDOMAIN"] * 10 + ["REFUSED"]
    assert refused(script.query("a.test")) == [("a.test", Reason.RATE_LIMITED, None)]
    assert script.raw(query_for("a.test") + b"x") == []
    other = replace(script.asker, box_id="other")
    assert code(script.session.query(other, query_for("evil.test"), "to", 0.0)) == "NXDOMAIN"
    script.now = 0.1
    assert code(script.query("evil.test")) == "NXDOMAIN"
    assert code(script.query("evil.test")) == "REFUSED"


def test_a_box_has_so_many_questions_on_their_way() -> None:
    script = Script(limits=Limits(in_flight=3))
    first = script.ask("a.cdn.example.com")
    script.ask("b.cdn.example.com")
    assert script.query("a.cdn.example.com") == []
    commands = script.query("c.cdn.example.com")
    assert refused(commands) == [("c.cdn.example.com", Reason.RATE_LIMITED, None)]
    assert code(script.query("a.cdn.example.com")) == "REFUSED", "who waits too counts too"
    script.answered(first)
    assert isinstance(script.query("c.cdn.example.com")[0], Ask)


def test_an_answer_nobody_asked_for_gives_no_room() -> None:
    script = Script(limits=Limits(in_flight=1))
    ask = script.ask("a.cdn.example.com")
    for _ in range(3):
        script.answered(replace(ask, key=("box", b"\0", 1)))
    assert code(script.query("b.cdn.example.com")) == "REFUSED"


def test_a_box_that_is_gone_leaves_no_answers() -> None:
    script = Script()
    script.resolved("api.example.com", address_record("api.example.com", "1.1.1.1"))
    script.session.forget("box")
    assert isinstance(script.query("api.example.com")[0], Ask)
