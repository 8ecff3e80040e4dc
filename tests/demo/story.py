"""What the demonstration tries, under which policies, and what has to come of it. Pure."""

from dataclasses import dataclass, field
from typing import Final

from boxwall import PolicyDocument, Reason, Refusal

API, CDN, EVIL = "api.example.com", "img.cdn.example.com", "evil.example.net"
SHARED: Final = "5.5.5.5"
"""API and EVIL are served here both: only the name tells them apart."""

_DNS_PORT: Final = 53
OPEN, DENIED, METADATA = "1.2.3.4", "1.2.3.99", "169.254.169.254"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something that the box tries to reach."""

    text: str
    name: str = ""
    """In the first bytes: the server name of TLS, or the Host."""
    address: str = ""
    """Empty: asked of DNS."""
    port: int = 443

    def is_meant_by(self, refusal: Refusal) -> bool:
        """Whether it was this that was refused: a name by DNS, an address by the kernel."""
        if self.address:
            return (refusal.address, refusal.port) == (self.address, self.port)
        return (refusal.domain, refusal.port) == (self.name, _DNS_PORT)


# Names come first: the address of one that is allowed is leased when others try to use it.
TARGETS: Final = (
    Target(text=f"https://{API}", name=API),
    Target(text=f"http://{API}", name=API, port=80),
    Target(text=f"https://{CDN}", name=CDN),
    Target(text=f"https://{EVIL}", name=EVIL),
    Target(text=f"https://{EVIL} at {SHARED}", name=EVIL, address=SHARED),
    Target(text=f"https://{OPEN}", address=OPEN),
    Target(text=f"https://{DENIED}", address=DENIED),
    Target(text=f"http://{METADATA}", address=METADATA, port=80),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A policy, and what holds under it."""

    title: str
    policy: PolicyDocument
    reasons: tuple[Reason | None, ...]
    """For each target why it is refused; None: it is reached."""
    stops: tuple[str, ...] = ()
    """Names of running downloads that the change cuts; the others go on."""
    starts: tuple[str, ...] = field(default=())
    """Downloads that begin under it."""


_NAMES: Final = [API, "*.cdn.example.com"]
_NO, _UNNAMED = Reason.NAME_NOT_ALLOWED, Reason.NEEDS_NAME
_NOWHERE: Final = (*[Reason.DENY_ALL] * 7, Reason.RESERVED_ADDRESS)

STORY: Final = (
    Step(
        title="everything",
        policy={"mode": "allow-all"},
        reasons=(*[None] * 7, Reason.RESERVED_ADDRESS),
        starts=(API,),
    ),
    Step(title="nothing", policy={"mode": "deny-all"}, reasons=_NOWHERE, stops=(API,)),
    Step(
        title="two names",
        policy={"mode": "custom", "allowed_domains": _NAMES},
        reasons=(
            *(None, None, None, _NO),
            *(Reason.NAME_MISMATCH, _UNNAMED, _UNNAMED, Reason.RESERVED_ADDRESS),
        ),
        starts=(API, CDN),
    ),
    Step(
        title="and a network, but for one address",
        policy={
            "mode": "custom",
            "allowed_domains": _NAMES,
            "allowed_cidrs": ["1.2.3.0/24"],
            "denied_cidrs": [DENIED],
        },
        reasons=(
            *(None, None, None, _NO),
            *(Reason.NAME_MISMATCH, None, Reason.DENIED_CIDR, Reason.RESERVED_ADDRESS),
        ),
    ),
    Step(
        title="one name less",
        policy={
            "mode": "custom",
            "allowed_domains": _NAMES[1:],
            "allowed_cidrs": ["1.2.3.0/24"],
            "denied_cidrs": [DENIED],
        },
        reasons=(
            *(_NO, _NO, None, _NO),
            *(_UNNAMED, None, Reason.DENIED_CIDR, Reason.RESERVED_ADDRESS),
        ),
        stops=(API,),
    ),
    Step(title="nothing again", policy={"mode": "deny-all"}, reasons=_NOWHERE, stops=(CDN,)),
)
"""Six policies: five changes."""
