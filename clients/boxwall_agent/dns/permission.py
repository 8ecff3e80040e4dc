"""May a box ask this question? Pure."""

from dataclasses import dataclass
from typing import Final

from boxwall.policy import (
    Custom,
    DenyAll,
    Policy,
    Reason,
    Rule,
    RuleList,
    Unlisted,
    matching_domain,
)
from boxwall_agent.dns.question import ANY, AXFR, HTTPS, IXFR, SVCB, Question

_NEVER_BY_NAME: Final = (ANY, AXFR, IXFR)
_WITHOUT_HINTS: Final = (HTTPS, SVCB)


@dataclass(frozen=True, slots=True)
class No:
    """Why a question is not asked, and how that is said."""

    reason: Reason
    rule: Rule | None
    text: str


def is_restricted(policy: Policy | None) -> bool:
    """Whether only names that an entry matches may be asked for."""
    return isinstance(policy, Custom) and policy.unlisted is Unlisted.DENY


def is_hidden(policy: Policy | None, question: Question) -> bool:
    """Whether the answer would carry keys and addresses past what names are judged by."""
    return question.type in _WITHOUT_HINTS and is_restricted(policy)


def why_not(policy: Policy | None, question: Question) -> No | None:
    """Say why a question is not asked; None: it is."""
    if policy is None:
        return No(Reason.NO_POLICY, None, "no policy is in force for this box")
    if isinstance(policy, DenyAll):
        return No(Reason.DENY_ALL, Rule(RuleList.MODE, "deny-all"), "the policy is deny-all")
    if not is_restricted(policy):
        return None
    if question.name is None or matching_domain(policy, question.name) is None:
        text = f"{question.text} is in no entry of allowed_domains"
        return No(Reason.NAME_NOT_ALLOWED, Rule(RuleList.UNLISTED, "deny"), text)
    if question.type in _NEVER_BY_NAME:
        return No(Reason.NAME_NOT_ALLOWED, None, "this type of question is refused")
    return None
