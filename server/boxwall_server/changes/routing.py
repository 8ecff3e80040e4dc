"""Which watchers does a change concern? An index, so that a change costs nothing for the others."""

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

W = TypeVar("W")


class Routes(Generic[W]):
    """From (tenant, box) to the watchers that host the box, and from a tenant to its observers.

    Watchers are compared by identity or by their own equality; they must be hashable. Iteration is
    over a copy, so a watcher may leave while a change is on its way to the others.
    """

    def __init__(self) -> None:
        self._hosts: dict[tuple[str, str], tuple[W, ...]] = {}
        self._observers: dict[str, dict[W, None]] = {}

    def host(self, watcher: W, tenant: str, box_ids: Iterable[str]) -> None:
        """Route changes of these boxes to `watcher`; again does nothing."""
        for box_id in box_ids:
            hosts = self._hosts.get((tenant, box_id), ())
            if watcher not in hosts:
                self._hosts[tenant, box_id] = (*hosts, watcher)

    def unhost(self, watcher: W, tenant: str, box_ids: Iterable[str]) -> None:
        """Route changes of these boxes to `watcher` no more."""
        for box_id in box_ids:
            rest = tuple(w for w in self._hosts.get((tenant, box_id), ()) if w != watcher)
            if rest:
                self._hosts[tenant, box_id] = rest
            else:
                self._hosts.pop((tenant, box_id), None)

    def observe(self, watcher: W, tenant: str) -> None:
        """Route every change of the tenant to `watcher`."""
        self._observers.setdefault(tenant, {})[watcher] = None

    def unobserve(self, watcher: W, tenant: str) -> None:
        """Route to `watcher` no more."""
        observers = self._observers.get(tenant, {})
        observers.pop(watcher, None)
        if not observers:
            self._observers.pop(tenant, None)

    def hosts(self, tenant: str, box_id: str) -> tuple[W, ...]:
        """Return the watchers that host the box."""
        return self._hosts.get((tenant, box_id), ())

    def observers(self, tenant: str) -> Iterator[W]:
        """Return the tenant's observers."""
        return iter(tuple(self._observers.get(tenant, ())))
