"""Who calls, and over what: the second argument of every handler."""

from collections.abc import Callable
from dataclasses import dataclass

from grpc.aio import ServicerContext

from boxwall_server.identity.caller import NOBODY, Caller


@dataclass(slots=True, eq=False)
class Call:
    """One call in progress. It is nobody's until the authentication layer has said whose."""

    context: "ServicerContext[object, object]"
    caller: Caller = NOBODY
    on_written: Callable[[], None] | None = None
    """Set while the call has one of the slots for writing."""

    @property
    def tenant(self) -> str:
        """The tenant of the caller."""
        return self.caller.tenant

    def written(self) -> None:
        """What was to be written is: the call only waits now, and lets others write."""
        done, self.on_written = self.on_written, None
        if done is not None:
            done()
