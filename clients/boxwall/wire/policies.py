"""Policies, destinations and verdicts: protobuf to values and back.

What comes in is untrusted: unknown fields and an unset mode are refused here, because a newer
client may mean something by them that would narrow the policy.
"""

from collections.abc import Sequence
from typing import Final, assert_never

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from boxwall.policy import (
    DEFAULT_LIMITS,
    AllowAll,
    Custom,
    DenyAll,
    Destination,
    InvalidPolicy,
    Limits,
    Mode,
    Parsed,
    Policy,
    PolicyFields,
    PolicyWarning,
    Protocol,
    Reason,
    Rule,
    RuleList,
    Unlisted,
    Verdict,
    Violation,
    WarningCode,
    build_policy,
    destination,
)
from boxwall.v1 import policy_pb2

_UNLISTED: Final[dict[int, Unlisted | None]] = {
    policy_pb2.UNLISTED_UNSPECIFIED: None,
    policy_pb2.UNLISTED_DENY: Unlisted.DENY,
    policy_pb2.UNLISTED_ALLOW: Unlisted.ALLOW,
}
_UNLISTED_NUMBER: Final = {
    Unlisted.DENY: policy_pb2.UNLISTED_DENY,
    Unlisted.ALLOW: policy_pb2.UNLISTED_ALLOW,
}
_MODE: Final = {
    policy_pb2.MODE_ALLOW_ALL: Mode.ALLOW_ALL,
    policy_pb2.MODE_DENY_ALL: Mode.DENY_ALL,
    policy_pb2.MODE_CUSTOM: Mode.CUSTOM,
}


def policy_from_proto(
    message: policy_pb2.NetworkPolicy, limits: Limits = DEFAULT_LIMITS, *, prefix: str = ""
) -> Parsed:
    """Return the policy, or raise InvalidPolicy with every violation; paths begin with `prefix`."""
    mode = message.WhichOneof("mode")
    _refuse_unknown_fields(message, mode, prefix)
    match mode:
        case "allow_all":
            return build_policy(PolicyFields(mode=Mode.ALLOW_ALL), limits)
        case "deny_all":
            return build_policy(PolicyFields(mode=Mode.DENY_ALL), limits)
        case "custom":
            path = _joined(prefix, "custom")
            return build_policy(_custom_fields(message.custom, path), limits, prefix=f"{path}.")
        case _:
            raise InvalidPolicy((Violation(field=_joined(prefix, "mode"), message=_NO_MODE),))


_NO_MODE: Final = "no mode is set; set one of allow_all, deny_all, custom"


def policy_to_proto(policy: Policy) -> policy_pb2.NetworkPolicy:
    """Return the canonical message. The same policy always gives the same bytes."""
    match policy:
        case AllowAll():
            return policy_pb2.NetworkPolicy(allow_all=policy_pb2.AllowAll())
        case DenyAll():
            return policy_pb2.NetworkPolicy(deny_all=policy_pb2.DenyAll())
        case Custom():
            message = policy_pb2.NetworkPolicy()
            custom = message.custom  # in place: a message of its own would be made, and copied
            custom.allowed_domains.extend([pattern.text for pattern in policy.allowed_domains])
            custom.allowed_cidrs.extend([str(network) for network in policy.allowed_cidrs])
            custom.denied_cidrs.extend([str(network) for network in policy.denied_cidrs])
            custom.unlisted = _UNLISTED_NUMBER[policy.unlisted]
            return message
        case _:
            assert_never(policy)


def policy_to_bytes(policy: Policy) -> bytes:
    """Return the canonical wire form, as it is stored and sent to nodes."""
    return policy_to_proto(policy).SerializeToString()


def policy_from_bytes(data: bytes) -> Policy:
    """Return a stored policy. It is checked like any other: a broken store must not widen access.

    Raises InvalidPolicy.
    """
    unlimited = Limits(entries_per_list=len(data) + 1)
    try:
        message = policy_pb2.NetworkPolicy.FromString(data)
    except DecodeError as exc:
        raise InvalidPolicy((Violation(field="", message="the bytes are no policy"),)) from exc
    return policy_from_proto(message, unlimited).policy


def outline_from_bytes(data: bytes) -> Policy:
    """Return a stored policy without its entries: as much as `lint` asks of what is replaced."""
    message = policy_pb2.NetworkPolicy.FromString(data)
    match message.WhichOneof("mode"):
        case "allow_all":
            return AllowAll()
        case "custom":
            return Custom(unlisted=_UNLISTED[message.custom.unlisted] or Unlisted.DENY)
        case _:
            return DenyAll()


def mode_from_proto(mode: policy_pb2.Mode) -> Mode | None:
    """Return the mode of a filter. None: any. Raises ValueError for one that is not known."""
    if mode == policy_pb2.MODE_UNSPECIFIED:
        return None
    if mode not in _MODE:
        raise ValueError(f"mode {mode} is not known")
    return _MODE[mode]


def mode_to_proto(mode: Mode | None) -> policy_pb2.Mode:
    """Return the mode for a filter."""
    if mode is None:
        return policy_pb2.MODE_UNSPECIFIED
    return next(number for number, known in _MODE.items() if known is mode)


def destination_from_proto(message: policy_pb2.Destination) -> Destination:
    """Return what is asked about, or raise InvalidDestination."""
    known = message.protocol in policy_pb2.Protocol.values()
    protocol = _protocol(message.protocol) if known else Protocol.OTHER
    return destination(message.domain, message.address, message.port, protocol)


def destination_to_proto(asked: Destination) -> policy_pb2.Destination:
    """Return the message that asks about it."""
    return policy_pb2.Destination(
        domain="" if asked.domain is None else str(asked.domain),
        address="" if asked.address is None else str(asked.address),
        port=asked.port or 0,
        protocol=f"PROTOCOL_{asked.protocol.name}",
    )


def verdict_to_proto(verdict: Verdict) -> policy_pb2.Verdict:
    """Return the message of a verdict."""
    return policy_pb2.Verdict(
        allowed=verdict.allowed,
        reason=f"REASON_{verdict.reason.name}",
        rule=None if verdict.rule is None else rule_to_proto(verdict.rule),
        explanation=verdict.explanation,
        policy_revision=verdict.policy_revision,
    )


def reason_from_proto(number: int) -> Reason | None:
    """Return the reason. None: unset, or of a newer version."""
    if number not in policy_pb2.Reason.values():
        return None
    name = policy_pb2.Reason.Name(number).removeprefix("REASON_")
    return Reason[name] if name in Reason.__members__ else None


def rule_to_proto(rule: Rule) -> policy_pb2.Rule:
    """Return the message of a rule."""
    return policy_pb2.Rule(list=f"LIST_{rule.list.name}", text=rule.text)


def rule_from_proto(message: policy_pb2.Rule) -> Rule | None:
    """Return the rule. None: no list, or one of a newer version."""
    if message.list not in policy_pb2.Rule.List.values():
        return None
    name = policy_pb2.Rule.List.Name(message.list).removeprefix("LIST_")
    return Rule(list=RuleList[name], text=message.text) if name in RuleList.__members__ else None


def warnings_to_proto(warnings: Sequence[PolicyWarning]) -> list[policy_pb2.PolicyWarning]:
    """Return the messages."""
    return [
        policy_pb2.PolicyWarning(
            code=f"CODE_{warning.code.name}",
            field=warning.field,
            message=warning.message,
        )
        for warning in warnings
    ]


def warning_from_proto(message: policy_pb2.PolicyWarning) -> PolicyWarning | None:
    """Return the warning. None: of a newer version."""
    if message.code not in policy_pb2.PolicyWarning.Code.values():
        return None
    name = policy_pb2.PolicyWarning.Code.Name(message.code).removeprefix("CODE_")
    if name not in WarningCode.__members__:
        return None
    return PolicyWarning(code=WarningCode[name], field=message.field, message=message.message)


def _custom_fields(custom: policy_pb2.CustomPolicy, path: str) -> PolicyFields:
    """An empty repeated field cannot be told from none, so it counts as not given."""
    if custom.unlisted not in _UNLISTED:
        path = f"{path}.unlisted"
        raise InvalidPolicy((Violation(field=path, message=f"{custom.unlisted} is not known"),))
    return PolicyFields(
        mode=Mode.CUSTOM,
        allowed_domains=custom.allowed_domains or None,
        allowed_cidrs=custom.allowed_cidrs or None,
        denied_cidrs=custom.denied_cidrs or None,
        unlisted=_UNLISTED[custom.unlisted],
    )


def _refuse_unknown_fields(
    message: policy_pb2.NetworkPolicy, mode: str | None, prefix: str
) -> None:
    """Raise InvalidPolicy if the policy, or its mode, has fields that are not known here."""
    levels: list[tuple[Message, str]] = [(message, prefix)]
    if mode is not None:
        levels.append((getattr(message, mode), _joined(prefix, mode)))
    found = [
        Violation(
            field=_joined(path, f"#{unknown.field_number}"),
            message="this server does not know the field; it may be too old for the client",
        )
        for level, path in levels
        for unknown in UnknownFieldSet(level)  # type: ignore[attr-defined]  # a sequence
    ]
    if found:
        raise InvalidPolicy(found)


def _protocol(number: int) -> Protocol:
    name = policy_pb2.Protocol.Name(number)
    return Protocol[name.removeprefix("PROTOCOL_")]


def _joined(prefix: str, path: str) -> str:
    return f"{prefix}.{path}" if prefix and path else prefix or path
