"""What a node says of connections, as lines and as a document."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from boxwall.cli.render.explanations import explanation_document, explanation_lines
from boxwall.policy import Destination, Reason, Rule, RuleList, Verdict
from boxwall.sdk.explanation import (
    Carrier,
    EntryKind,
    Explanation,
    KernelEntry,
    LeasedName,
    Outcome,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = LeasedName(
    name="api.example.com",
    address="5.5.5.5",
    grant=17,
    expire_time=NOW + timedelta(seconds=47),
    end_time=NOW + timedelta(seconds=347),
    live=True,
    connections=1,
)
ENTRY = KernelEntry(
    interface="box1",
    address="5.5.5.5",
    kind=EntryKind.LEASED,
    set="lease4",
    element='"box1" . 5.5.5.5 : 0x08000011',
    grant=17,
    live=True,
    agrees=True,
    problem="",
    connections=1,
)
NAMED = Explanation(
    destination=Destination.parse("api.example.com:443"),
    outcome=Outcome.PASSES_IF_NAMED,
    verdict=Verdict(
        allowed=True,
        reason=Reason.ALLOWED_DOMAIN,
        rule=Rule(RuleList.ALLOWED_DOMAINS, "api.example.com"),
        policy_revision=3,
        address_known=False,
    ),
    names=("api.example.com",),
    carriers=(Carrier.TLS_SNI,),
    leases=(LEASE,),
    kernel=(ENTRY,),
    agrees=True,
    summary="it passes if it names api.example.com",
)


def lines(explained: Explanation) -> list[str]:
    return list(explanation_lines("api.example.com:443", explained, NOW))


def test_a_name_is_told_with_its_lease_and_what_the_kernel_holds() -> None:
    assert lines(NAMED) == [
        "api.example.com:443: passes if named",
        "          it passes if it names api.example.com",
        "  policy  allow ALLOWED_DOMAIN by allowed_domains api.example.com, revision 3",
        "  name    api.example.com, as the server name (SNI) of TLS",
        "  lease   5.5.5.5 for api.example.com: 47 s, and 300 s of grace left; grant 17; "
        "1 open connection",
        '  kernel  box1 to 5.5.5.5: lease4 { "box1" . 5.5.5.5 : 0x08000011 }, in force; '
        "as it should be; 1 open connection",
    ]


@pytest.mark.parametrize(
    ("explained", "line"),
    [
        (
            replace(NAMED, leases=(replace(LEASE, expire_time=NOW - timedelta(seconds=9)),)),
            "  lease   5.5.5.5 for api.example.com: 347 s of grace left; grant 17; "
            "1 open connection",
        ),
        (
            replace(NAMED, leases=(replace(LEASE, live=False, connections=None),), agrees=False),
            "  lease   5.5.5.5 for api.example.com: 47 s, and 300 s of grace left; grant 17, "
            "NOT IN FORCE; open connections not known",
        ),
        (
            replace(
                NAMED,
                agrees=False,
                kernel=(
                    replace(ENTRY, kind=EntryKind.NOTHING, grant=0, agrees=False, problem="?"),
                ),
            ),
            "  kernel  box1 to 5.5.5.5: no entry; BUT ?; 1 open connection",
        ),
        (replace(NAMED, agrees=False), "  THE KERNEL DOES NOT HOLD WHAT THE POLICY ASKS FOR"),
        (
            replace(NAMED, outcome=Outcome.UNKNOWN),
            "api.example.com:443: unknown (the agent is newer than this program)",
        ),
        (replace(NAMED, summary="\x1b[31m"), "          \\x1b[31m"),
    ],
    ids=["in grace", "not live", "no entry", "disagreement", "newer agent", "escapes"],
)
def test_what_is_not_as_usual_is_told(explained: Explanation, line: str) -> None:
    assert line in lines(explained)


def test_the_document_extends_that_of_a_verdict() -> None:
    document = explanation_document("api.example.com:443", NAMED)

    assert document["destination"] == "api.example.com:443"
    assert document["allowed"] is True
    assert document["outcome"] == "passes-if-named"
    assert document["carriers"] == ["tls-sni"]
    assert document["leases"] == [
        {
            "name": "api.example.com",
            "address": "5.5.5.5",
            "grant": 17,
            "expire_time": "2026-01-01T00:00:47Z",
            "end_time": "2026-01-01T00:05:47Z",
            "live": True,
            "connections": 1,
        }
    ]
    assert isinstance(document["kernel"], list)
    assert document["kernel"][0]["kind"] == "leased"


def test_a_word_of_a_newer_agent_is_unknown() -> None:
    assert Outcome.of("passes") is Outcome.PASSES
    assert Outcome.of("teleports") is Outcome.UNKNOWN
