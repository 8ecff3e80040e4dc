"""Policies on the wire: what comes back is what went in, and nothing unknown is let through."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from boxwall.policy import (
    AllowAll,
    Custom,
    DenyAll,
    InvalidDestination,
    InvalidPolicy,
    Limits,
    Mode,
    Policy,
    Protocol,
    Reason,
    RuleList,
    Unlisted,
    WarningCode,
    decide,
    destination,
    mode_of,
)
from boxwall.v1 import policy_pb2
from boxwall.wire import policies as wire
from fakes.policy_strategies import POLICIES

UNKNOWN = b"\xd2\x09\x02hi"
"""Field 154, which no message has."""


@given(POLICIES)
def test_a_policy_survives_the_wire(policy: Policy) -> None:
    assert wire.policy_from_proto(wire.policy_to_proto(policy)).policy == policy
    assert wire.policy_from_bytes(wire.policy_to_bytes(policy)) == policy


@given(POLICIES)
def test_the_same_policy_always_gives_the_same_bytes(policy: Policy) -> None:
    data = wire.policy_to_bytes(policy)
    assert wire.policy_to_bytes(wire.policy_from_bytes(data)) == data


@given(POLICIES)
def test_the_outline_of_a_policy_has_its_mode_and_what_it_does_with_the_unlisted(
    policy: Policy,
) -> None:
    outline = wire.outline_from_bytes(wire.policy_to_bytes(policy))
    assert mode_of(outline) is mode_of(policy)
    if isinstance(policy, Custom):
        assert isinstance(outline, Custom)
        assert outline.unlisted is policy.unlisted


@given(st.binary())
def test_stored_bytes_that_are_broken_never_allow_more_than_they_say(data: bytes) -> None:
    try:
        policy = wire.policy_from_bytes(data)
    except (InvalidPolicy, DecodeError):
        return
    assert wire.policy_from_bytes(wire.policy_to_bytes(policy)) == policy


def custom(**lists: object) -> policy_pb2.NetworkPolicy:
    return policy_pb2.NetworkPolicy(custom=policy_pb2.CustomPolicy(**lists))  # type: ignore[arg-type]


def with_unknown(mode: str, *, inside: bool) -> policy_pb2.NetworkPolicy:
    policy = policy_pb2.NetworkPolicy()
    getattr(policy, mode).SetInParent()
    (getattr(policy, mode) if inside else policy).MergeFromString(UNKNOWN)
    return policy


MODES = ["allow_all", "deny_all", "custom"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("inside", [False, True], ids=["beside the mode", "inside the mode"])
def test_a_field_that_this_version_does_not_know_is_refused(mode: str, inside: bool) -> None:
    with pytest.raises(InvalidPolicy) as caught:
        wire.policy_from_proto(with_unknown(mode, inside=inside), prefix="network_policy")
    (violation,) = caught.value.violations
    path = f"network_policy.{mode}.#154" if inside else "network_policy.#154"
    assert violation.field == path
    assert "too old for the client" in violation.message


def test_a_mode_that_this_version_does_not_know_is_refused() -> None:
    with pytest.raises(InvalidPolicy) as caught:
        wire.policy_from_proto(policy_pb2.NetworkPolicy.FromString(UNKNOWN))
    assert caught.value.violations[0].field == "#154"


@pytest.mark.parametrize(
    ("prefix", "path"), [("", "mode"), ("box.network_policy", "box.network_policy.mode")]
)
def test_a_policy_without_a_mode_is_refused_with_what_to_set(prefix: str, path: str) -> None:
    with pytest.raises(InvalidPolicy) as caught:
        wire.policy_from_proto(policy_pb2.NetworkPolicy(), prefix=prefix)
    (violation,) = caught.value.violations
    assert violation.field == path
    assert "set one of allow_all, deny_all, custom" in violation.message


def test_what_to_do_with_the_unlisted_is_refused_if_this_version_does_not_know_it() -> None:
    with pytest.raises(InvalidPolicy) as caught:
        wire.policy_from_proto(custom(unlisted=99), prefix="p")
    assert caught.value.violations[0].field == "p.custom.unlisted"


def test_every_bad_entry_is_reported_with_its_path_and_its_fix() -> None:
    message = custom(
        allowed_domains=["ok.test", "http://x.test/", "a.*.b"],
        allowed_cidrs=["10.0.0.7/24"],
        denied_cidrs=["::ffff:1.2.3.4", "nonsense\0"],
    )
    with pytest.raises(InvalidPolicy) as caught:
        wire.policy_from_proto(message, prefix="network_policy")
    assert [violation.field for violation in caught.value.violations] == [
        "network_policy.custom.allowed_domains[1]",
        "network_policy.custom.allowed_domains[2]",
        "network_policy.custom.allowed_cidrs[0]",
        "network_policy.custom.denied_cidrs[0]",
        "network_policy.custom.denied_cidrs[1]",
    ]
    assert "use 10.0.0.0/24" in caught.value.violations[2].message


def test_ten_thousand_entries_are_past_the_limit_which_is_named() -> None:
    message = custom(allowed_domains=[f"d{n}.test" for n in range(10_000)])
    with pytest.raises(InvalidPolicy, match=r"1,?000"):
        wire.policy_from_proto(message)
    assert wire.policy_from_proto(message, Limits(entries_per_list=10_000)).policy != DenyAll()


WORKED_OUT: dict[str, tuple[policy_pb2.NetworkPolicy, Unlisted]] = {
    "nothing": (custom(), Unlisted.DENY),
    "denied CIDRs alone": (custom(denied_cidrs=["1.0.0.0/8"]), Unlisted.ALLOW),
    "denied CIDRs and a domain": (
        custom(denied_cidrs=["1.0.0.0/8"], allowed_domains=["a.test"]),
        Unlisted.DENY,
    ),
    "denied CIDRs and deny": (
        custom(denied_cidrs=["1.0.0.0/8"], unlisted=policy_pb2.UNLISTED_DENY),
        Unlisted.DENY,
    ),
    "nothing and allow": (custom(unlisted=policy_pb2.UNLISTED_ALLOW), Unlisted.ALLOW),
}


@pytest.mark.parametrize(("message", "unlisted"), WORKED_OUT.values(), ids=WORKED_OUT)
def test_what_was_left_open_is_worked_out_once_and_returned(
    message: policy_pb2.NetworkPolicy, unlisted: Unlisted
) -> None:
    policy = wire.policy_from_proto(message).policy
    assert isinstance(policy, Custom)
    assert policy.unlisted is unlisted
    assert wire.policy_to_proto(policy).custom.unlisted == policy_pb2.Unlisted.Value(
        f"UNLISTED_{unlisted.name}"
    )


def test_allowing_the_unlisted_beside_an_allow_entry_is_refused() -> None:
    message = custom(allowed_domains=["a.test"], unlisted=policy_pb2.UNLISTED_ALLOW)
    with pytest.raises(InvalidPolicy):
        wire.policy_from_proto(message)


def test_an_outline_of_what_cannot_be_read_denies() -> None:
    assert wire.outline_from_bytes(b"") == DenyAll()
    assert wire.outline_from_bytes(wire.policy_to_bytes(AllowAll())) == AllowAll()


@pytest.mark.parametrize("mode", [None, *Mode])
def test_a_mode_survives_the_wire(mode: Mode | None) -> None:
    assert wire.mode_from_proto(wire.mode_to_proto(mode)) is mode


def test_a_mode_of_a_newer_version_is_refused() -> None:
    with pytest.raises(ValueError, match="99"):
        wire.mode_from_proto(99)  # type: ignore[arg-type]  # of a newer version


ENUMS = {
    "reasons": ({f"REASON_{r.name}" for r in Reason}, policy_pb2.Reason, "REASON_UNSPECIFIED"),
    "protocols": (
        {f"PROTOCOL_{p.name}" for p in Protocol} | {"PROTOCOL_UNSPECIFIED"},
        policy_pb2.Protocol,
        "PROTOCOL_UNSPECIFIED",
    ),
    "lists": ({f"LIST_{r.name}" for r in RuleList}, policy_pb2.Rule.List, "LIST_UNSPECIFIED"),
    "warnings": (
        {f"CODE_{w.name}" for w in WarningCode},
        policy_pb2.PolicyWarning.Code,
        "CODE_UNSPECIFIED",
    ),
}


@pytest.mark.parametrize(("ours", "theirs", "unset"), ENUMS.values(), ids=ENUMS)
def test_the_enums_of_the_contract_are_those_of_the_core(
    ours: set[str], theirs: type[policy_pb2.Reason], unset: str
) -> None:
    assert {unset, *ours} == set(theirs.keys())


def test_a_destination_survives_the_wire() -> None:
    asked = destination("api.a.test", "1.1.1.1", 443, Protocol.TCP)
    assert wire.destination_from_proto(wire.destination_to_proto(asked)) == asked


def test_a_protocol_of_a_newer_client_is_another_protocol() -> None:
    message = policy_pb2.Destination(address="1.1.1.1", protocol=99)  # type: ignore[arg-type]
    assert wire.destination_from_proto(message).protocol is Protocol.OTHER


@pytest.mark.parametrize(
    "message",
    [
        policy_pb2.Destination(),
        policy_pb2.Destination(domain="a\0.test"),
        policy_pb2.Destination(address="1.2.3.4.5"),
        policy_pb2.Destination(domain="a.test", port=70_000),
    ],
    ids=["nothing", "NUL", "no address", "no port"],
)
def test_a_bad_destination_is_refused(message: policy_pb2.Destination) -> None:
    with pytest.raises(InvalidDestination):
        wire.destination_from_proto(message)


@given(POLICIES)
def test_a_verdict_says_what_decide_said(policy: Policy) -> None:
    verdict = decide(policy, destination("a.test", "1.1.1.1", 443, Protocol.TCP))
    message = wire.verdict_to_proto(verdict)
    assert message.allowed == verdict.allowed
    assert wire.reason_from_proto(message.reason) is verdict.reason
    assert wire.rule_from_proto(message.rule) == verdict.rule
    assert message.explanation == verdict.explanation


def test_what_a_newer_version_means_by_a_number_is_not_known() -> None:
    assert wire.reason_from_proto(999) is None
    assert wire.reason_from_proto(0) is None
    assert wire.rule_from_proto(policy_pb2.Rule(list=99, text="x")) is None  # type: ignore[arg-type]
    assert wire.warning_from_proto(policy_pb2.PolicyWarning(code=99)) is None  # type: ignore[arg-type]
