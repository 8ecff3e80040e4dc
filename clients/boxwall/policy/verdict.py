"""What a judgement says: allow or deny, why, by which rule, under which revision."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NoReturn


class Reason(Enum):
    """Why a destination is allowed or denied. Closed: API, agent and documents share it."""

    SPOOFED_SOURCE = "SPOOFED_SOURCE"
    RESERVED_ADDRESS = "RESERVED_ADDRESS"
    DENY_ALL = "DENY_ALL"
    ALLOW_ALL = "ALLOW_ALL"
    DENIED_CIDR = "DENIED_CIDR"
    ALLOWED_CIDR = "ALLOWED_CIDR"
    ALLOWED_DOMAIN = "ALLOWED_DOMAIN"
    NAME_MISMATCH = "NAME_MISMATCH"
    NOT_DENIED = "NOT_DENIED"
    NO_RULE = "NO_RULE"
    NEEDS_NAME = "NEEDS_NAME"
    UNRECOGNISED_PROTOCOL = "UNRECOGNISED_PROTOCOL"
    QUIC_BY_NAME = "QUIC_BY_NAME"
    CLEAR_HTTP_PORT = "CLEAR_HTTP_PORT"
    NAME_NOT_ALLOWED = "NAME_NOT_ALLOWED"
    ANSWER_FILTERED = "ANSWER_FILTERED"
    NO_POLICY = "NO_POLICY"
    RATE_LIMITED = "RATE_LIMITED"


class RuleList(Enum):
    """Where a rule stands."""

    ALLOWED_DOMAINS = "allowed_domains"
    ALLOWED_CIDRS = "allowed_cidrs"
    DENIED_CIDRS = "denied_cidrs"
    ALWAYS_BLOCKED = "always_blocked"
    MODE = "mode"
    UNLISTED = "unlisted"


@dataclass(frozen=True, slots=True)
class Rule:
    """The rule that gave a verdict: its list, and its canonical text there."""

    list: RuleList
    text: str

    def __str__(self) -> str:
        return f"{self.list.value} {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The judgement on one destination.

    `rule` is None where no rule of a policy was involved (a spoofed source, no policy, a rate).
    `policy_revision` 0: a policy that is not stored. `address_known` False: only a name was asked
    about, so an allow holds on a condition that `explanation` states.
    """

    allowed: bool
    reason: Reason
    rule: Rule | None = None
    policy_revision: int = 0
    address_known: bool = field(default=True, compare=False)

    def __bool__(self) -> NoReturn:
        """Refuse: `if verdict:` reads well, and would be true of a denial too."""
        raise TypeError("a Verdict has no truth value; use verdict.allowed")

    @property
    def explanation(self) -> str:
        """One sentence for people: the rule, the revision, and what to do about it."""
        outcome = "Allowed" if self.allowed else "Denied"
        policy = (
            f"policy revision {self.policy_revision}" if self.policy_revision else "this policy"
        )
        rule = "its rule" if self.rule is None else str(self.rule)
        condition = "" if self.address_known or not self.allowed else _CONDITION
        return f"{outcome} by {policy}{condition}: {_SENTENCES[self.reason].format(rule=rule)}."


_CONDITION: Final = " if its address is not blocked or denied"

_SENTENCES: Final[dict[Reason, str]] = {
    Reason.SPOOFED_SOURCE: "the source address is not the box's own; use the one it was given",
    Reason.RESERVED_ADDRESS: "the address is in {rule}, and no policy opens it; use another",
    Reason.DENY_ALL: "{rule} lets nothing out; change the mode to custom and list what is needed",
    Reason.ALLOW_ALL: "{rule} lets everything out; change the mode to restrict it",
    Reason.DENIED_CIDR: "the address is in {rule}, and deny beats allow; remove that entry",
    Reason.ALLOWED_CIDR: "the address is in {rule}; remove that entry to deny it",
    Reason.ALLOWED_DOMAIN: "the name matches {rule}; remove that entry to deny it",
    Reason.NAME_MISMATCH: "the address is open for {rule} only, and the connection names something "
    "else or nothing; add the name it uses to allowed_domains",
    Reason.NOT_DENIED: "no entry denies it and {rule} covers the rest; "
    "add it to denied_cidrs to deny it",
    Reason.NO_RULE: "no entry allows it and {rule} covers the rest; "
    "add it to allowed_domains or allowed_cidrs to allow it",
    Reason.NEEDS_NAME: "no entry allows the address and {rule} covers the rest; "
    "ask with the name too, or add the address to allowed_cidrs",
    Reason.UNRECOGNISED_PROTOCOL: "the address is open by name only ({rule}), and the first bytes "
    "on a web port carry none; use TLS or HTTP, or add the address to allowed_cidrs",
    Reason.QUIC_BY_NAME: "the destination is open by name only ({rule}), and QUIC hides the "
    "name; use TLS over TCP, or add the address to allowed_cidrs",
    Reason.CLEAR_HTTP_PORT: "the address is open by name only ({rule}), and clear HTTP is read on "
    "HTTP ports only; use one of those, TLS, or add the address to allowed_cidrs",
    Reason.NAME_NOT_ALLOWED: "no entry allows the name and {rule} covers the rest; "
    "add it to allowed_domains to resolve it",
    Reason.ANSWER_FILTERED: "every address of the answer is blocked or denied ({rule}); "
    "remove the denying entry, or point the name at public addresses",
    Reason.NO_POLICY: "no policy is known for the box or none could be applied, so all is denied; "
    "check that the node reaches the control plane",
    Reason.RATE_LIMITED: "the box sent more than its share; slow down, or ask for more",
}
