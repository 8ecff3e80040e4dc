"""A policy as users of the SDK write, read and print it. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, TypeAlias, TypedDict

from boxwall.policy import (
    AllowAll,
    Custom,
    DenyAll,
    Destination,
    Limits,
    Mode,
    Parsed,
    Policy,
    PolicyFields,
    PolicyWarning,
    Unlisted,
    Verdict,
    build_policy,
    decide,
    lint,
    mode_of,
    policy_from_document,
    policy_to_document,
)
from boxwall.policy import errors as policy_errors
from boxwall.sdk.errors import InvalidPolicy


class AllowAllDocument(TypedDict):
    """Everything outbound but what is always blocked."""

    mode: Literal["allow-all"]


class DenyAllDocument(TypedDict):
    """Nothing outbound, DNS included."""

    mode: Literal["deny-all"]


class _CustomMode(TypedDict):
    mode: Literal["custom"]


class CustomDocument(_CustomMode, total=False):
    """Lists of what is allowed and denied. `unlisted`: what happens to everything else."""

    allowed_domains: list[str]
    allowed_cidrs: list[str]
    denied_cidrs: list[str]
    unlisted: Literal["allow", "deny"]


PolicyDocument: TypeAlias = AllowAllDocument | DenyAllDocument | CustomDocument

# The server's limit is configurable; it refuses what is over it. This bounds local work only.
_LIMITS: Final = Limits(entries_per_list=100_000)


@dataclass(frozen=True, slots=True, repr=False)
class NetworkPolicy:
    """A policy: canonical, immutable, comparable. `value` is the union of `boxwall.policy`.

    Made by `allow_all`, `deny_all`, `custom` or `from_document`.
    """

    value: Policy

    @classmethod
    def allow_all(cls) -> Self:
        """Everything outbound is allowed, except the ranges that are always blocked."""
        return cls(AllowAll())

    @classmethod
    def deny_all(cls) -> Self:
        """Nothing outbound is allowed, DNS included."""
        return cls(DenyAll())

    @classmethod
    def custom(
        cls,
        *,
        allowed_domains: Iterable[str] | None = None,
        allowed_cidrs: Iterable[str] | None = None,
        denied_cidrs: Iterable[str] | None = None,
        unlisted: Literal["allow", "deny"] | Unlisted | None = None,
    ) -> Self:
        """Lists of what is allowed and denied. Deny beats every allow.

        `unlisted` says what happens to everything else. None means "allow" if denied CIDRs are all
        that is given, else "deny". A list that is given but empty counts as given. Raises
        InvalidPolicy with every violation.
        """
        fields = PolicyFields(
            mode=Mode.CUSTOM,
            allowed_domains=_entries(allowed_domains),
            allowed_cidrs=_entries(allowed_cidrs),
            denied_cidrs=_entries(denied_cidrs),
            unlisted=None if unlisted is None else Unlisted(unlisted),
        )
        try:
            return cls(build_policy(fields, _LIMITS).policy)
        except policy_errors.InvalidPolicy as exc:
            raise InvalidPolicy("the policy is not valid", violations=exc.violations) from exc

    @classmethod
    def from_document(cls, document: PolicyDocument | Mapping[str, Any]) -> Self:
        """Read `{"mode": "custom", "allowed_domains": [...]}`. Raises InvalidPolicy."""
        return cls(parse_policy(document).policy)

    @property
    def mode(self) -> Mode:
        """The mode; compares equal to "allow-all", "deny-all" or "custom"."""
        return mode_of(self.value)

    @property
    def allowed_domains(self) -> tuple[str, ...]:
        """Canonical entries. Empty unless the mode is custom."""
        return self._texts("allowed_domains")

    @property
    def allowed_cidrs(self) -> tuple[str, ...]:
        """Canonical entries. Empty unless the mode is custom."""
        return self._texts("allowed_cidrs")

    @property
    def denied_cidrs(self) -> tuple[str, ...]:
        """Canonical entries. Empty unless the mode is custom."""
        return self._texts("denied_cidrs")

    @property
    def unlisted(self) -> Unlisted | None:
        """What happens to destinations in none of the lists. None unless the mode is custom."""
        return self.value.unlisted if isinstance(self.value, Custom) else None

    def to_dict(self) -> dict[str, str | list[str]]:
        """The document that `from_document` reads as this policy, with nothing left to guess."""
        return policy_to_document(self.value)

    def check(self, destination: Destination | str) -> Verdict:
        """Judge a destination ("api.github.com:443") by this policy, without asking anybody.

        Raises InvalidDestination. What only a node knows (its own addresses, ranges the operator
        blocks) is not considered.
        """
        if isinstance(destination, str):
            destination = Destination.parse(destination)
        return decide(self.value, destination)

    def lint(self, previous: "NetworkPolicy | None" = None) -> tuple[PolicyWarning, ...]:
        """Warn about what is allowed and probably not meant, also in replacing `previous`."""
        return lint(Parsed(policy=self.value), None if previous is None else previous.value)

    def _texts(self, name: str) -> tuple[str, ...]:
        entries = policy_to_document(self.value).get(name, ())
        return tuple(entries)

    def __repr__(self) -> str:
        match self.value:
            case AllowAll():
                return "NetworkPolicy.allow_all()"
            case DenyAll():
                return "NetworkPolicy.deny_all()"
            case Custom():
                given = {k: v for k, v in self.to_dict().items() if k != "mode" and v}
                return f"NetworkPolicy.custom({', '.join(f'{k}={v!r}' for k, v in given.items())})"


PolicyLike: TypeAlias = NetworkPolicy | Policy | PolicyDocument | Mapping[str, Any]
"""What is accepted as a policy: a document, or a value of this module or of `boxwall.policy`."""


def network_policy(given: PolicyLike) -> NetworkPolicy:
    """Read whatever is accepted as a policy. Raises InvalidPolicy with every violation."""
    match given:
        case NetworkPolicy():
            return given
        case AllowAll() | DenyAll() | Custom():
            return NetworkPolicy(given)
        case _:
            return NetworkPolicy.from_document(_mapping(given))


def parse_policy(document: PolicyDocument | Mapping[str, Any]) -> Parsed:
    """Read a document, with what `lint` wants to know about how it was written.

    Raises InvalidPolicy with every violation.
    """
    try:
        return policy_from_document(document, _LIMITS)
    except policy_errors.InvalidPolicy as exc:
        raise InvalidPolicy("the policy is not valid", violations=exc.violations) from exc


def _mapping(given: object) -> Mapping[str, Any]:
    if isinstance(given, Mapping):
        return given
    raise TypeError(f"a policy is a mapping or a NetworkPolicy, not {type(given).__name__}")


def _entries(given: Iterable[str] | None) -> list[str] | None:
    if isinstance(given, str):
        raise TypeError("a list of entries is expected, not one text")
    return None if given is None else list(given)
