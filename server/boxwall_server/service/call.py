"""Who calls, and over what: the second argument of every handler."""

from dataclasses import dataclass

from grpc.aio import ServicerContext

from boxwall_server.identity.caller import NOBODY, Caller


@dataclass(slots=True, eq=False)
class Call:
    """One call in progress. It is nobody's until the authentication layer has said whose."""

    context: "ServicerContext[object, object]"
    caller: Caller = NOBODY

    @property
    def tenant(self) -> str:
        """The tenant of the caller."""
        return self.caller.tenant
