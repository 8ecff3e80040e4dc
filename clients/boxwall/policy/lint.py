"""What is allowed in a policy and probably not meant."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache, lru_cache
from typing import Final

from publicsuffixlist import PublicSuffixList

from boxwall.policy.addresses import ALWAYS_BLOCKED, Network, NetworkTable
from boxwall.policy.model import Custom, Policy, Unlisted
from boxwall.policy.parse import Duplicate, Parsed

_ALWAYS_BLOCKED: Final[NetworkTable[str]] = NetworkTable(ALWAYS_BLOCKED)


class WarningCode(Enum):
    """The kinds of warning."""

    PRIVATE_CIDR_STAYS_BLOCKED = "PRIVATE_CIDR_STAYS_BLOCKED"
    EMPTY_CUSTOM_DENIES_ALL = "EMPTY_CUSTOM_DENIES_ALL"
    DENY_LIST_ALLOWS_THE_REST = "DENY_LIST_ALLOWS_THE_REST"
    FORM_CHANGED = "FORM_CHANGED"
    NO_NAMES_RESOLVE = "NO_NAMES_RESOLVE"
    WILDCARD_WITHOUT_APEX = "WILDCARD_WITHOUT_APEX"
    PUBLIC_SUFFIX_WILDCARD = "PUBLIC_SUFFIX_WILDCARD"
    SHADOWED_BY_DENY = "SHADOWED_BY_DENY"
    DUPLICATE_ENTRY = "DUPLICATE_ENTRY"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyWarning:
    """One warning; `field` is a path, `allowed_cidrs[3]`, into the lists as they were given."""

    code: WarningCode
    field: str
    message: str


def lint(parsed: Parsed, previous: Policy | None = None) -> tuple[PolicyWarning, ...]:
    """Warn about `parsed`, and about what it changes if it replaces `previous`.

    The first call that meets a wildcard reads the Public Suffix List (a fraction of a second).
    """
    policy = parsed.policy
    if not isinstance(policy, Custom):
        return ()
    found = [
        *_about_the_form(policy, previous),
        *_about_domains(policy, parsed.duplicates),
        *_about_cidrs(policy, parsed.duplicates),
        *map(_about_duplicate, parsed.duplicates),
    ]
    return tuple(
        PolicyWarning(code=code, field=parsed.prefix + path, message=message)
        for code, path, message in found
    )


_Found = tuple[WarningCode, str, str]


def _about_the_form(policy: Custom, previous: Policy | None) -> Iterator[_Found]:
    allows_nothing = not (policy.allowed_domains or policy.allowed_cidrs)
    if policy.unlisted is Unlisted.ALLOW:
        text = "everything in none of the lists is allowed; to deny it, list what to allow instead"
        yield WarningCode.DENY_LIST_ALLOWS_THE_REST, "unlisted", text
    elif allows_nothing:
        text = "no entry allows anything, so this denies everything; mode deny-all says it plainly"
        yield WarningCode.EMPTY_CUSTOM_DENIES_ALL, "allowed_domains", text
    elif not policy.allowed_domains:
        text = "only addresses are allowed, so no name will resolve; list the names that are needed"
        yield WarningCode.NO_NAMES_RESOLVE, "allowed_domains", text
    if isinstance(previous, Custom) and previous.unlisted is not policy.unlisted:
        text = (
            f"what is in none of the lists was {_FORMS[previous.unlisted]} until now, and will be "
        )
        yield WarningCode.FORM_CHANGED, "unlisted", text + _FORMS[policy.unlisted]


_FORMS: Final = {Unlisted.DENY: "denied", Unlisted.ALLOW: "allowed"}


def _about_domains(policy: Custom, duplicates: tuple[Duplicate, ...]) -> Iterator[_Found]:
    listed = frozenset([pattern.text for pattern in policy.allowed_domains])
    for index, pattern in enumerate(policy.allowed_domains):
        if pattern.text[0] != "*":
            continue
        path = _path("allowed_domains", index, duplicates)
        apex = pattern.apex
        if _is_public_suffix(apex):
            text = f"{pattern} matches the names of many owners: {apex} is a public suffix"
            yield WarningCode.PUBLIC_SUFFIX_WILDCARD, path, text
        if not _covers_apex(listed, apex):
            text = f"{pattern} does not match {apex} itself; add it if it is needed"
            yield WarningCode.WILDCARD_WITHOUT_APEX, path, text


def _covers_apex(listed: frozenset[str], apex: str) -> bool:
    """Whether the entries match `apex`: itself, or a wildcard on one of the names above it."""
    # One label is never a valid entry: adding it is no advice.
    if "." not in apex or apex in listed:
        return True
    above = apex
    while above := above.partition(".")[2]:
        if f"*.{above}" in listed:
            return True
    return False


def warm_public_suffixes() -> None:
    """Read the Public Suffix List now, so that the first wildcard does not wait for it."""
    _public_suffixes()


@lru_cache(maxsize=4096)
def _is_public_suffix(name: str) -> bool:
    return _public_suffixes().is_public(name)


@cache
def _public_suffixes() -> PublicSuffixList:
    return PublicSuffixList()


def _about_cidrs(policy: Custom, duplicates: tuple[Duplicate, ...]) -> Iterator[_Found]:
    denied = _Denied(policy.denied_cidrs)
    for index, network in enumerate(policy.allowed_cidrs):
        overlaps = [hit for hit in _ALWAYS_BLOCKED.within(network) if hit is not None]
        if overlaps:
            path = _path("allowed_cidrs", index, duplicates)
            text = _stays_blocked(network, overlaps)
            yield WarningCode.PRIVATE_CIDR_STAYS_BLOCKED, path, text
        if denied.cover(network):
            path = _path("allowed_cidrs", index, duplicates)
            text = (
                f"{network} is altogether in denied_cidrs, and deny beats allow; remove one of them"
            )
            yield WarningCode.SHADOWED_BY_DENY, path, text


class _Denied:
    """Networks, arranged for look-ups only when one lies between the first and the last of them:
    that takes longer than all other warnings, and is seldom needed.
    """

    def __init__(self, networks: tuple[Network, ...]) -> None:
        self._networks = networks
        self._table: NetworkTable[None] | None = None
        self._reach: dict[int, tuple[int, int]] = {}
        for network in networks:
            low, high = self._reach.get(network.version, (network.first, network.last))
            self._reach[network.version] = min(low, network.first), max(high, network.last)

    def cover(self, network: Network) -> bool:
        """Whether nothing is left of a network outside of these."""
        reach = self._reach.get(network.version)
        if reach is None or network.first < reach[0] or reach[1] < network.last:
            return False
        if self._table is None:
            self._table = NetworkTable((denied, None) for denied in self._networks)
        return all(self._table.within(network))


def _stays_blocked(network: Network, overlaps: list[tuple[Network, str]]) -> str:
    (first, what), rest = overlaps[0], len({overlap for overlap, _ in overlaps}) - 1
    others = f" and {rest} more ranges" if rest else ""
    return f"{network} overlaps {first} ({what}){others}; what overlaps stays blocked"


def _about_duplicate(duplicate: Duplicate) -> _Found:
    text = f"{duplicate.text} is in the list already; kept once"
    return WarningCode.DUPLICATE_ENTRY, f"{duplicate.list_name}[{duplicate.index}]", text


def _path(list_name: str, index: int, duplicates: tuple[Duplicate, ...]) -> str:
    """Where the entry at `index` of the canonical list stood in the list as it was given.

    Given [a, a, b], canonical [a, b]: b is at 1 now and was at 2. Duplicates are in order.
    """
    for duplicate in duplicates:
        if duplicate.list_name == list_name and duplicate.index <= index:
            index += 1
    return f"{list_name}[{index}]"
