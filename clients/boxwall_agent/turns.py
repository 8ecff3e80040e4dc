"""What waits for several, of whom each gets its turn: one with much does not hold back the others.

Pure.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """Queues by name, bounded: of what is too much for one, the oldest is forgotten.

    turns.add("b1", "xyz"); turns.add("b2", "a"); turns.take(3) == ["x", "a", "y"]
    """

    def __init__(self, most_each: int) -> None:
        self._most_each = most_each
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()

    def add(self, name: str, items: Iterable[T]) -> None:
        """These wait too, after what waits under the name already."""
        queue = self._waiting.get(name) or deque(maxlen=self._most_each)
        queue.extend(items)
        if queue:
            self._waiting[name] = queue

    def take(self, most: int) -> list[T]:
        """Return what is next, one of each in turn; empty: nothing waits."""
        taken: list[T] = []
        while self._waiting and len(taken) < most:
            name, queue = self._waiting.popitem(last=False)
            taken.append(queue.popleft())
            if queue:
                self._waiting[name] = queue
        return taken
