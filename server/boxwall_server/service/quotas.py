"""How fast may one tenant write? How much it may have, the store knows (`CreateBox.max_boxes`)."""

from boxwall.wire.errors import ApiError, ErrorReason
from boxwall_server.clock import Clock
from boxwall_server.service.admission import Admission
from boxwall_server.store.base import Writer
from boxwall_server.store.mutations import (
    BoxWritten,
    CreateBox,
    CreateSnapshot,
    DeleteBox,
    DeleteSnapshot,
    Mutation,
    Outcome,
    SetPolicy,
    SnapshotWritten,
    UpdateBox,
)


class PacedWriter:
    """A store's writer that lets each tenant write so fast and no faster.

    What writes nothing costs nothing: a dry run, and a request that was answered before.
    """

    def __init__(self, writer: Writer, clock: Clock, *, rate: float | None) -> None:
        """`rate`: writes in a second, of each tenant; twice as many may come at once. None: any."""
        self._writer = writer
        self._clock = clock
        self._rate = rate
        self._budgets: dict[str, Admission] = {}

    async def apply(self, mutation: Mutation) -> Outcome:
        """As of the store. Raises ApiError, with when to come back."""
        tenant = _spender(mutation)
        if self._rate is None or tenant is None:
            return await self._writer.apply(mutation)
        budget = self._spend(tenant, self._rate)
        outcome = await self._writer.apply(mutation)
        if isinstance(outcome, BoxWritten | SnapshotWritten) and outcome.replayed:
            budget.give_back()
        return outcome

    def _spend(self, tenant: str, rate: float) -> Admission:
        budget = self._budgets.get(tenant)
        if budget is None:
            burst = max(1, round(2 * rate))
            budget = self._budgets[tenant] = Admission(rate=rate, burst=burst)
        delay = budget.ask(self._clock.steady())
        if delay:
            raise ApiError(
                ErrorReason.OVERLOADED,
                f"more than {rate:g} writes in a second; come back after {delay:.1f} s",
                retry_after=delay,
            )
        return budget


def _spender(mutation: Mutation) -> str | None:
    """Return the tenant whose write this is. None: what nodes and operators do is not paced."""
    match mutation:
        case CreateBox(validate_only=True) | SetPolicy(validate_only=True):
            return None
        case CreateBox() | UpdateBox() | SetPolicy() | DeleteBox():
            return mutation.tenant
        case CreateSnapshot() | DeleteSnapshot():
            return mutation.tenant
        case _:
            return None
