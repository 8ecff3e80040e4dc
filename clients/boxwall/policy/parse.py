"""Turns untrusted lists and documents into a Policy, collecting everything that is wrong."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final, TypeVar, assert_never

from boxwall.policy.addresses import Network
from boxwall.policy.document_text import load_document
from boxwall.policy.errors import EntryError, InvalidPolicy, Violation, shown
from boxwall.policy.fields import DEFAULT_LIMITS, Duplicate, Limits, Parsed, PolicyFields
from boxwall.policy.model import AllowAll, Custom, DenyAll, Mode, Policy, Unlisted
from boxwall.policy.names import DomainPattern

__all__ = [
    "DEFAULT_LIMITS",
    "Duplicate",
    "Limits",
    "Parsed",
    "PolicyFields",
    "build_policy",
    "load_document",
    "policy_from_document",
    "policy_to_document",
]

LISTS: Final = ("allowed_domains", "allowed_cidrs", "denied_cidrs")

Entry = TypeVar("Entry")
Choice = TypeVar("Choice", Mode, Unlisted)


@dataclass(slots=True, kw_only=True)
class _Findings:
    """What turned up on the way; filled by the readers below."""

    limits: Limits
    prefix: str
    violations: list[Violation] = field(default_factory=list)
    duplicates: list[Duplicate] = field(default_factory=list)

    def refuse(self, path: str, message: str, suggestion: str | None = None) -> None:
        self.violations.append(Violation(self.prefix + path, message, suggestion))


def build_policy(
    fields: PolicyFields, limits: Limits = DEFAULT_LIMITS, *, prefix: str = ""
) -> Parsed:
    """Make a policy of untrusted fields, canonical and without duplicates.

    Raise InvalidPolicy with every violation; paths are `prefix` and then `allowed_cidrs[3]`.
    """
    return _build(fields, _Findings(limits=limits, prefix=prefix))


def policy_from_document(document: Mapping[str, object], limits: Limits = DEFAULT_LIMITS) -> Parsed:
    """Make a policy of a document: `{"mode": "custom", "allowed_domains": [...]}`.

    Keys in snake_case or camelCase; paths of violations are in snake_case. Raise InvalidPolicy with
    every violation: unknown keys, wrong types, and those of the entries.
    """
    findings = _Findings(limits=limits, prefix="")
    values = _known_values(document, findings)
    mode = _read_choice(Mode, "mode", values, findings)
    if "mode" not in values:
        findings.refuse("mode", f"is missing; use one of {_choices(Mode)}")
    fields = PolicyFields(
        # Without a mode nothing is built; the lists are still read, to report what is wrong there.
        mode=mode or Mode.CUSTOM,
        allowed_domains=_read_list("allowed_domains", values, findings),
        allowed_cidrs=_read_list("allowed_cidrs", values, findings),
        denied_cidrs=_read_list("denied_cidrs", values, findings),
        unlisted=_read_choice(Unlisted, "unlisted", values, findings),
    )
    return _build(fields, findings)


def policy_to_document(policy: Policy) -> dict[str, str | list[str]]:
    """The document that `policy_from_document` reads as `policy`, with nothing left to guess."""
    match policy:
        case AllowAll():
            return {"mode": Mode.ALLOW_ALL.value}
        case DenyAll():
            return {"mode": Mode.DENY_ALL.value}
        case Custom():
            return {
                "mode": Mode.CUSTOM.value,
                "allowed_domains": [pattern.text for pattern in policy.allowed_domains],
                "allowed_cidrs": [str(network) for network in policy.allowed_cidrs],
                "denied_cidrs": [str(network) for network in policy.denied_cidrs],
                "unlisted": policy.unlisted.value,
            }
        case _:
            assert_never(policy)


# From fields to a policy.


def _build(fields: PolicyFields, findings: _Findings) -> Parsed:
    match fields.mode:
        case Mode.ALLOW_ALL:
            policy: Policy = AllowAll()
            _refuse_lists(fields, findings)
        case Mode.DENY_ALL:
            policy = DenyAll()
            _refuse_lists(fields, findings)
        case Mode.CUSTOM:
            return _build_custom(fields, findings)
        case _:
            assert_never(fields.mode)
    if findings.violations:
        raise InvalidPolicy(findings.violations)
    return Parsed(policy=policy, prefix=findings.prefix)


def _refuse_lists(fields: PolicyFields, findings: _Findings) -> None:
    given = {
        "allowed_domains": fields.allowed_domains,
        "allowed_cidrs": fields.allowed_cidrs,
        "denied_cidrs": fields.denied_cidrs,
        "unlisted": fields.unlisted,
    }
    for name, value in given.items():
        if value is not None:
            mode = fields.mode.value
            findings.refuse(
                name, f"means nothing beside mode {mode}; remove it, or use mode custom"
            )


def _build_custom(fields: PolicyFields, findings: _Findings) -> Parsed:
    domains = _read_entries(
        "allowed_domains", fields.allowed_domains, DomainPattern.parse, findings
    )
    allowed = _read_entries("allowed_cidrs", fields.allowed_cidrs, Network.parse, findings)
    denied = _read_entries("denied_cidrs", fields.denied_cidrs, Network.parse, findings)
    unlisted = fields.unlisted or _implied_unlisted(fields)
    if unlisted is Unlisted.ALLOW and (fields.allowed_domains or fields.allowed_cidrs):
        message = "allow beside an allow entry makes that entry meaningless; use deny"
        findings.refuse("unlisted", message, Unlisted.DENY.value)
    if findings.violations:
        raise InvalidPolicy(findings.violations)
    policy = Custom(
        allowed_domains=domains, allowed_cidrs=allowed, denied_cidrs=denied, unlisted=unlisted
    )
    return Parsed(policy=policy, duplicates=tuple(findings.duplicates), prefix=findings.prefix)


def _implied_unlisted(fields: PolicyFields) -> Unlisted:
    """Allow exactly for the pattern "block these ranges": denied CIDRs are all that was given."""
    if fields.allowed_domains is None and fields.allowed_cidrs is None and fields.denied_cidrs:
        return Unlisted.ALLOW
    return Unlisted.DENY


def _read_entries(
    name: str,
    raw: Sequence[object] | None,
    parse: Callable[[str], Entry],
    findings: _Findings,
) -> tuple[Entry, ...]:
    if not raw:
        return ()
    limit = findings.limits.entries_per_list
    if len(raw) > limit:
        findings.refuse(name, f"has {len(raw)} entries; at most {limit} are allowed")
        return ()
    entries: list[Entry] = []
    for index, text in enumerate(raw):
        if not isinstance(text, str):
            findings.refuse(f"{name}[{index}]", f"is {_kind(text)}, not text; quote it")
            continue
        try:
            entries.append(parse(text))
        except EntryError as error:
            findings.refuse(f"{name}[{index}]", error.message, error.suggestion)
    unique = tuple(dict.fromkeys(entries))
    # A refused entry shifts the places, but then there is no policy to warn about.
    if len(unique) < len(entries):
        findings.duplicates.extend(_duplicates(name, entries))
    return unique


def _duplicates(name: str, entries: Sequence[Entry]) -> Iterator[Duplicate]:
    seen: set[Entry] = set()
    for index, entry in enumerate(entries):
        if entry in seen:
            yield Duplicate(name, index, str(entry))
        seen.add(entry)


# From a document to fields.


def _snake_case(key: str) -> str:
    return _SNAKE_CASE.get(key, key)


_SNAKE_CASE: Final = {
    "allowedDomains": "allowed_domains",
    "allowedCidrs": "allowed_cidrs",
    "deniedCidrs": "denied_cidrs",
}
_KEYS: Final = ("mode", *LISTS, "unlisted")


def _known_values(document: Mapping[str, object], findings: _Findings) -> dict[str, object]:
    values: dict[str, object] = {}
    for key, value in document.items():
        name = _snake_case(key)
        if name not in _KEYS:
            close = _closest(key, (*_KEYS, *_SNAKE_CASE))
            hint = f"did you mean {close}?" if close else f"known keys are {', '.join(_KEYS)}"
            findings.refuse(shown(key), f"is not a key of a policy; {hint}", close)
        elif name in values:
            findings.refuse(name, "is given in snake_case and in camelCase; keep one of them")
        else:
            values[name] = value
    return values


def _read_choice(
    choices: type[Choice], name: str, values: Mapping[str, object], findings: _Findings
) -> Choice | None:
    if name not in values:
        return None
    value = values[name]
    for choice in choices:
        if isinstance(value, str) and value == choice.value:
            return choice
    if not isinstance(value, str):
        findings.refuse(name, f"is {_kind(value)}, not text; use one of {_choices(choices)}")
        return None
    close = _closest(value, [choice.value for choice in choices])
    findings.refuse(name, f"{shown(value)} is none of {_choices(choices)}", close)
    return None


def _choices(choices: type[Mode] | type[Unlisted]) -> str:
    return ", ".join(choice.value for choice in choices)


def _read_list(
    name: str, values: Mapping[str, object], findings: _Findings
) -> Sequence[object] | None:
    if name not in values:
        return None
    value = values[name]
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return value
    findings.refuse(name, f"is {_kind(value)}, not a list; write [...], or leave the key out")
    return None


def _closest(text: str, known: Collection[str]) -> str | None:
    # Bounded: the comparison is quadratic, and no long text is near a short key.
    return next(iter(get_close_matches(text[:64], known, n=1)), None)


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case _:
            return f"a {type(value).__name__}"
