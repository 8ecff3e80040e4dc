"""What is shown: safe text, tables, problems, JSON."""

import json
from datetime import UTC, datetime

import pytest

from boxwall.cli.duration import parse_duration
from boxwall.cli.render.documents import box_document, json_text, refusal_document
from boxwall.cli.render.problems import Problem, problem_document, problem_of
from boxwall.cli.render.tables import (
    box_changed_line,
    box_table,
    boxes_table,
    policy_summary,
    policy_yaml,
    refusal_destination,
    refusal_line,
)
from boxwall.cli.render.text import lines_of, safe, table, time_text
from boxwall.policy import InvalidPolicy as BadPolicy
from boxwall.policy import Reason, Violation, load_document
from boxwall.sdk import errors
from boxwall.sdk.network_policy import NetworkPolicy
from boxwall.sdk.values import (
    BoxState,
    Enforcement,
    EnforcementState,
    NodeEnforcement,
    Refusal,
)

POLICY = NetworkPolicy.custom(allowed_domains=["*.a.test", "b.test"], denied_cidrs=["8.8.8.0/24"])
FAILED = NodeEnforcement(node_id="n2", state=EnforcementState.FAILED, message="no \x1b[1mmemory")
ENFORCEMENT = Enforcement(state=EnforcementState.FAILED, nodes=(FAILED,))
BOX = BoxState(
    id="b1",
    name="\x1b[31mred",
    labels={"team": "search"},
    network_policy=POLICY,
    policy_revision=7,
    enforcement=ENFORCEMENT,
    create_time=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("plain", "plain", id="plain"),
        pytest.param("größe 東京", "größe 東京", id="printable Unicode"),
        pytest.param("\x1b[31m", "\\x1b[31m", id="colour"),
        pytest.param("\x1b]0;t\x07", "\\x1b]0;t\\x07", id="window title"),
        pytest.param("a\r\nb\tc", "a\\r\\nb\\tc", id="line ends"),
        pytest.param("\u202eabc", "\\u202eabc", id="bidirectional override"),
        pytest.param("\u200b\x9b2J", "\\u200b\\x9b2J", id="zero width and C1"),
        pytest.param("\udcff", "\\udcff", id="lone surrogate"),
    ],
)
def test_nothing_can_act_on_a_terminal(text: str, shown: str) -> None:
    assert safe(text) == shown


def test_a_table_without_a_terminal_is_aligned_text() -> None:
    shown = table(("ID", "NAME"), [("box-1", "x"), ("b", "\x1b[2J")], if_empty="none")

    assert lines_of(shown) == ["ID     NAME", "box-1  x", "b      \\x1b[2J"]


def test_an_empty_table_says_what_to_do() -> None:
    assert lines_of(boxes_table([])) == ["no boxes; make one with: boxwall box create"]


def test_a_box_is_shown_with_the_nodes_that_fail_and_why() -> None:
    text = "\n".join(lines_of(box_table(BOX)))

    assert "\\x1b[31mred" in text
    assert "node n2 could not apply it and denies everything (no \\x1b[1mmemory)" in text
    assert "\x1b" not in text + "\n".join(lines_of(boxes_table([BOX]))) + box_changed_line(BOX)


def test_a_policy_as_yaml_is_read_back_as_the_same_policy() -> None:
    text = "\n".join(policy_yaml(POLICY))

    assert NetworkPolicy.from_document(load_document(text)) == POLICY
    assert '- "*.a.test"' in text


def test_a_policy_in_one_line() -> None:
    assert policy_summary(POLICY) == (
        "custom: 2 domains and 0 networks allowed, 1 network denied; unlisted deny"
    )
    assert policy_summary(NetworkPolicy.deny_all()) == "deny-all"


def test_the_json_of_a_box_has_all_keys_and_is_ascii() -> None:
    text = json_text(box_document(BOX), on_one_line=True)

    assert text.isascii()
    assert "\n" not in text
    document = json.loads(text)
    assert document["network_policy"]["allowed_domains"] == ["*.a.test", "b.test"]
    assert document["create_time"] == "2026-01-02T03:04:05Z"
    assert document["expire_time"] is None
    assert document["enforcement"]["nodes"][0]["state"] == "FAILED"
    assert list(document)[:3] == ["id", "uid", "name"]


@pytest.mark.parametrize(
    ("refusal", "shown"),
    [
        pytest.param(Refusal(box_id="b", domain="a.test", port=443), "a.test:443", id="name"),
        pytest.param(
            Refusal(box_id="b", domain="a.test", address="8.8.8.8", port=1, protocol="udp"),
            "a.test (8.8.8.8):1/udp",
            id="both",
        ),
        pytest.param(
            Refusal(box_id="b", address="2001:db8::1", port=1), "[2001:db8::1]:1", id="v6"
        ),
        pytest.param(Refusal(box_id="b", address="8.8.8.8"), "8.8.8.8", id="address"),
    ],
)
def test_a_refused_destination_reads_as_it_is_written(refusal: Refusal, shown: str) -> None:
    assert refusal_destination(refusal) == shown


def test_a_refused_name_from_inside_a_box_cannot_act_on_a_terminal() -> None:
    refusal = Refusal(
        box_id="b", domain="\x1b[2J\n", reason=Reason.NO_RULE, count=3, dropped_before=2
    )

    assert refusal_line(refusal) == "-  b  \\x1b[2J\\n  NO_RULE  x3 (2 dropped before)"
    assert "\\u001b" in json_text(refusal_document(refusal))


def test_no_time_is_a_dash() -> None:
    assert time_text(None) == "-"


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        pytest.param(
            errors.InvalidPolicy("no", violations=(Violation("a[0]", "bad; use b", "b"),)),
            1,
            "  a[0]: bad; use b",
            id="policy refused by the server or the SDK",
        ),
        pytest.param(
            BadPolicy([Violation("mode", "is missing")]), 1, "  mode: is missing", id="file"
        ),
        pytest.param(errors.BoxNotFound("there is no box b"), 1, "boxwall box list", id="no box"),
        pytest.param(errors.Conflict("was written"), 1, "read it again", id="conflict"),
        pytest.param(errors.Unavailable("nobody"), 3, "boxwall up", id="unreachable"),
        pytest.param(errors.TimedOut("late"), 3, "--timeout", id="late"),
        pytest.param(errors.Overloaded("full", retry_after=5), 1, "try again in 5 s", id="full"),
        pytest.param(
            errors.NotEnforced(BOX, ENFORCEMENT), 4, "no \\x1b[1mmemory", id="not in time"
        ),
        pytest.param(errors.Unauthenticated("who?"), 1, "BOXWALL_TOKEN", id="no token"),
        pytest.param(errors.PermissionDenied("no"), 1, "ask for a token", id="not allowed"),
        pytest.param(errors.InternalError("internal error e1"), 1, "server's log", id="bug"),
        pytest.param(errors.BadConfig("bad"), 2, "correct the setting", id="setting"),
        pytest.param(errors.AlreadyExists("taken"), 1, "another id", id="taken"),
        pytest.param(errors.UnexpectedAnswer("newer"), 1, "update the older", id="newer"),
        pytest.param(
            errors.InvalidRequest("no", violations=(Violation("f", "bad"),), more_violations=3),
            1,
            "  and 3 more",
            id="more than are shown",
        ),
    ],
)
def test_every_error_has_a_status_and_says_what_to_do(
    error: errors.BoxwallError | BadPolicy, status: int, said: str
) -> None:
    problem = problem_of(error)

    assert isinstance(problem, Problem)
    assert problem.status == status
    assert said in "\n".join(problem.lines)
    assert problem.lines[-1].startswith("next: ")
    assert "\x1b" not in "".join(problem.lines)
    assert problem_document(error)["status"] == status


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5m", 90), ("1h30m", 5400), ("500ms", 0.5), ("2d", 172_800)],
)
def test_a_length_of_time_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "1x", "-1s", "1h 2m", "1e9", "١s", "1" * 99, "1h30"])
def test_what_is_no_length_of_time_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ValueError, match="1h30m"):
        parse_duration(text)
