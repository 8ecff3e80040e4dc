"""Who calls, and over what: the second argument of every handler."""

from dataclasses import dataclass
from typing import Final

from grpc.aio import ServicerContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An identity. Everything a call reads and writes is confined to its tenant."""

    tenant: str
    name: str
    """The author of its writes."""


ANYONE: Final = Caller(tenant="default", name="anonymous")
"""Every caller, where there are no identities: then the server listens on loopback only."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call in progress."""

    caller: Caller
    context: "ServicerContext[object, object]"

    @property
    def tenant(self) -> str:
        """The tenant of the caller."""
        return self.caller.tenant
