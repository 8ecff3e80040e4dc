"""DNS names and the domain entries of a policy, in canonical form.

Canonical: lower case, no trailing dot, labels that are not ASCII as A-labels (IDNA 2008 after
UTS 46 mapping). ASCII labels only have to be made of letters, digits, `-` and `_`: strict IDNA
would refuse names that are in use, such as `r3---sn-x.googlevideo.com` and `_dmarc.example.com`.

Entries and names from the network go through the same code, so equal text means equal names.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

import idna

from boxwall.policy.addresses import ip_literal
from boxwall.policy.errors import entry_error

MAX_NAME: Final = 253
"""Octets of a name without its trailing dot (RFC 1035 section 2.3.4 counts two more)."""

_MAX_LABEL: Final = 63
_MAX_TEXT: Final = 1024
"""No spelling of a name is longer; longer text is not examined (IDNA is slow on long labels)."""

# Possessive (++): a label that was consumed is never tried shorter, so the time is linear.
_LABEL: Final = r"[a-z0-9_][a-z0-9_-]{0,62}+(?<!-)"
# Only names whose last label starts with a letter: that rules out every IP literal at once.
_LAST: Final = r"[a-z][a-z0-9_-]{0,62}+(?<!-)"
_PLAIN_NAME: Final = re.compile(rf"(?:{_LABEL}\.)++{_LAST}")
_PLAIN_PATTERN: Final = re.compile(rf"(?:\*\.)?(?:{_LABEL}\.)*+(?<=\.){_LAST}")

_URL: Final = re.compile(
    r"(?:[a-z][a-z0-9+.-]*://)?([^/?#\\]*).*", re.ASCII | re.DOTALL | re.IGNORECASE
)
_PORT: Final = re.compile(r":[0-9]*\Z")
_JOINERS: Final = "\u200c\u200d"


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """A canonical DNS name of at least two labels. Made by `parse`."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Canonicalise one name; raise EntryError, with a fix if there is one."""
        if len(text) <= MAX_NAME and _PLAIN_NAME.fullmatch(text):
            return cls(text)
        canonical = _canonical(text)
        if canonical[0] == "*":
            raise entry_error(text, "is a wildcard, not a name")
        return cls(canonical)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, order=True)
class DomainPattern:
    """An entry of `allowed_domains`: an exact name or `*.` and a suffix. Made by `parse`."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Canonicalise one entry; raise EntryError, with a fix if there is one."""
        if len(text) <= MAX_NAME and _PLAIN_PATTERN.fullmatch(text):
            return cls(text)
        return cls(_canonical(text))

    @property
    def is_wildcard(self) -> bool:
        """Whether this stands for the names below `apex`."""
        return self.text[0] == "*"

    @property
    def apex(self) -> str:
        """The text without `*.`; a wildcard does not match it."""
        return self.text[2:] if self.is_wildcard else self.text

    def matches(self, name: Name) -> bool:
        """Exact, or one or more labels below the apex: `*.x` matches `a.x` and `b.a.x`, not `x`."""
        if self.is_wildcard:
            return name.text.endswith(self.text[1:])
        return name.text == self.text

    def __str__(self) -> str:
        return self.text


def _canonical(text: str) -> str:
    """The canonical form of a name or wildcard; EntryError with the reason and the fix."""
    if text.isascii():
        # Most names on the wire: a trailing dot, and often case mixed against forged answers.
        lower = text.lower().removesuffix(".")
        if len(lower) <= MAX_NAME and _PLAIN_PATTERN.fullmatch(lower):
            return lower
    try:
        return _canonical_or_problem(text)
    except _Problem as problem:
        raise entry_error(text, str(problem), _meant(text)) from None


class _Problem(Exception):
    """What is wrong with a text, before anybody looked for a correction."""


def _canonical_or_problem(text: str) -> str:
    _first_problem(_TEXT_PROBLEMS, text)
    ascii_text = text if text.isascii() else _to_ascii(text)
    canonical = ascii_text.lower().removesuffix(".")
    literal = ip_literal(canonical)
    if literal is not None:
        network = f"{literal}/{32 if literal.version == 4 else 128}"
        raise _Problem(
            f"is the IP address {literal}, not a name; addresses are listed as {network}"
        )
    _first_problem(_NAME_PROBLEMS, canonical)
    return canonical


def _to_ascii(text: str) -> str:
    try:
        # UTS 46 first and on the whole text: it also maps the other full stops, such as U+3002.
        mapped = idna.uts46_remap(text, std3_rules=False, transitional=False)
        labels = (
            label if label.isascii() else idna.alabel(label).decode("ascii")
            for label in mapped.split(".")
        )
        return ".".join(labels)
    except idna.IDNAError:
        raise _Problem("has a label that IDNA 2008 does not allow") from None


def _meant(text: str) -> str | None:
    """The name that the author of `text` most likely meant.

    A fix must not be a trap: it is offered only if it is accepted when sent back, and never names
    more than the text did.
    """
    if len(text) > _MAX_TEXT:
        return None
    core = _host(text.strip())
    if core.startswith("*"):
        core = "*." + core.lstrip("*").lstrip(".")
    core = core.lstrip(".").rstrip(".")
    try:
        return _canonical_or_problem(core)
    except _Problem:
        return None


def _host(text: str) -> str:
    """What is left of a URL, or a part of one, without everything that is not the host."""
    found = _URL.fullmatch(text)
    authority = found.group(1) if found else text
    return _PORT.sub("", authority.rpartition("@")[2])


def _is_invisible(character: str) -> bool:
    """Control, bidirectional, zero-width, unassigned, private and surrogate characters.

    Without the two joiners, which some scripts need and for which IDNA has rules (RFC 5892 A.1).
    """
    return unicodedata.category(character)[0] == "C" and character not in _JOINERS


def _first_problem(problems: "tuple[_Rule, ...]", text: str) -> None:
    for applies, problem in problems:
        if applies(text):
            raise _Problem(problem)


def _any_label(applies: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda text: any(map(applies, text.removeprefix("*.").split(".")))


_Rule = tuple[Callable[[str], bool], str]

_TEXT_PROBLEMS: Final[tuple[_Rule, ...]] = (
    (lambda text: not text, "is empty"),
    (lambda text: len(text) > _MAX_TEXT, f"is too long; a name has at most {MAX_NAME} characters"),
    (lambda text: "\0" in text, "contains NUL"),
    (lambda text: any(map(str.isspace, text)), "contains white space"),
    (lambda text: any(map(_is_invisible, text)), "contains control or invisible characters"),
    (lambda text: "://" in text, "has a scheme; only the name belongs here"),
    (lambda text: any(mark in text for mark in "/?#\\"), "has a path; only the name belongs here"),
    (lambda text: "@" in text, "has user info; only the name belongs here"),
    (
        lambda text: ":" in text and ip_literal(text) is None,
        "has a port or a colon; a name is allowed on every port",
    ),
)
"""What can be wrong before the text is looked at as labels."""

_NAME_PROBLEMS: Final[tuple[_Rule, ...]] = (
    (lambda text: text == "*", "would match every name; say so by the mode allow-all"),
    (lambda text: "*" in text.removeprefix("*."), 'has a "*" that is not the whole first label'),
    (lambda text: "" in text.split("."), "has an empty label"),
    (
        _any_label(lambda label: len(label) > _MAX_LABEL),
        f"has a label longer than {_MAX_LABEL} characters",
    ),
    (lambda text: len(text) > MAX_NAME, f"is longer than {MAX_NAME} characters"),
    (
        _any_label(lambda label: re.fullmatch(r"[a-z0-9_-]*", label) is None),
        "has a character that is not a letter, a digit, a hyphen or an underscore",
    ),
    (
        _any_label(lambda label: label[0] == "-" or label[-1] == "-"),
        "has a label that starts or ends with a hyphen",
    ),
    (lambda text: text.rpartition(".")[2].isdigit(), "has a last label of digits only"),
    (lambda text: "." not in text, "has one label; a name here has at least two"),
)
"""What can be wrong with the labels of lower-case ASCII text without its trailing dot."""
