"""The policies under which the attempts are made, and what each has to bar. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from attempts.catalogue import Attempt, Bar

NAME: Final = "api.example.com"
ZONE: Final = "zone.example.com"
ALLOWED_AT: Final = ("5.5.5.5", "2600:5::5")
LISTED: Final = ("6.6.6.6", "2600:6::6")
ELSEWHERE: Final = ("7.7.7.7", "2600:7::7")
DENIED: Final = ("6.6.200.1", "2600:6:dead::1")

_LISTED_NETWORKS: Final = ("6.6.0.0/16", "2600:6::/32")
_ALWAYS_BLOCKED_NETWORKS: Final = ("10.0.0.0/8", "169.254.0.0/16", "fc00::/7", "224.0.0.0/4")
"""Allowed in vain."""

_ELSEWHERE_NETWORKS: Final = ("7.7.0.0/16", "2600:7::/32")
_DENIED_NETWORKS: Final = ("6.6.200.0/24", "2600:6:dead::/48")

_NAME_CONTROLS: Final = ("the allowed name by TLS", "the allowed name by HTTP")
_RESTRICTED: Final = frozenset((Bar.ALWAYS, Bar.UNLISTED, Bar.NAMED, Bar.ASKED))


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A policy as the command line takes it."""

    name: str
    domains: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    mode: str = ""
    bars: frozenset[Bar] = _RESTRICTED
    controls: tuple[str, ...] = ()
    """What arrives under it, by the titles of the controls."""

    @property
    def flags(self) -> tuple[str, ...]:
        """For `boxwall box create` and `boxwall policy set`."""
        if self.mode:
            return ("--mode", self.mode)
        lists = (
            ("--allow-domain", self.domains),
            ("--allow-cidr", self.allowed),
            ("--deny-cidr", self.denied),
        )
        return tuple(word for flag, values in lists for value in values for word in (flag, value))

    @property
    def restricts_names(self) -> bool:
        """Whether only names that are allowed may be asked for."""
        return Bar.NAMED in self.bars

    def chosen(self, attempts: list[Attempt], kinds: Iterable[str] = ()) -> list[int]:
        """The places of the attempts that it has to bar, of some kinds, and of its controls."""
        wanted = frozenset(kinds)
        return [
            number
            for number, one in enumerate(attempts)
            if (one.bar is Bar.NOTHING and one.title.startswith(self.controls or ("\0",)))
            or (one.bar in self.bars and (not wanted or one.kind in wanted))
        ]


FORMS: Final = (
    Form(name="deny-all", mode="deny-all"),
    Form(
        name="by name",
        domains=(NAME, f"*.{ZONE}"),
        denied=_DENIED_NETWORKS,
        controls=_NAME_CONTROLS,
    ),
    Form(
        name="by network",
        allowed=(*_LISTED_NETWORKS, *_ALWAYS_BLOCKED_NETWORKS),
        denied=_DENIED_NETWORKS,
        controls=("a listed network",),
    ),
    Form(
        name="deny list",
        denied=(*_ELSEWHERE_NETWORKS, *_DENIED_NETWORKS),
        bars=frozenset((Bar.ALWAYS, Bar.UNLISTED, Bar.ASKED)),
        controls=(*_NAME_CONTROLS, "a listed network"),
    ),
    Form(
        name="allow-all",
        mode="allow-all",
        bars=frozenset((Bar.ALWAYS, Bar.ASKED)),
        controls=(*_NAME_CONTROLS, "a listed network", "an address that nothing allows"),
    ),
)
NOBODY: Final = Form(name="nobody", controls=FORMS[-1].controls)
"""No policy and nobody to enforce one: every attempt is made, and should be seen."""
