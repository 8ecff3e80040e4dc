"""What becomes of boxes' queries: the logic, without sockets. Pure but for the leases it asks for.

    query --malformed, refused, cached, asked a moment ago--> Reply
          --else--> Ask --> answered --> filter, lease, then Reply

A box hears an address only when it is leased: `lease` puts it into the kernel and returns whether
it is in force, within a tenth of a millisecond, so it is called, not awaited. The policy is looked
at when a query comes and again when its answer does.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from boxwall.policy import Address, Name, Policy, Reason, Rule, Surroundings
from boxwall_agent.dns.allowance import Allowance
from boxwall_agent.dns.answer import Answer, Record, without_blocked
from boxwall_agent.dns.cache import Cache, Cached
from boxwall_agent.dns.permission import No, is_hidden, is_restricted, why_not
from boxwall_agent.dns.question import (
    NXDOMAIN,
    REFUSED,
    SERVFAIL,
    Malformed,
    Question,
    read_query,
)
from boxwall_agent.dns.repeats import Repeat, Repeats
from boxwall_agent.dns.replies import (
    BLOCKED,
    FILTERED,
    ExtendedError,
    reply,
    reply_to_malformed,
)

_NOERROR: Final = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds, and numbers for one box."""

    shortest_lease: float = 5.0
    longest_lease: float = 3600.0
    grace: float = 300.0
    """On top, for clients that remember longer than they should."""
    queries: float = 200.0
    """A second, with a burst of as many."""
    in_flight: int = 100
    refuse_with: int = NXDOMAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """The box that asks, as it is at this moment. No policy: nothing is allowed."""

    box_id: str
    policy: Policy | None
    revision: int
    surroundings: Surroundings


@dataclass(frozen=True, slots=True)
class Reply:
    """Send this."""

    to: object
    data: bytes


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask upstream, and call `answered` with the key."""

    key: "Key"
    question: Question


@dataclass(frozen=True, slots=True)
class Refused:
    """A name was refused to a box, or all addresses of one. `name` None: it is no real name."""

    box_id: str
    name: Name | None
    reason: Reason
    rule: Rule | None


Command: TypeAlias = Reply | Ask | Refused
Key: TypeAlias = tuple[str, bytes, int]
"""Box, name on the wire in lower case, type."""

Lease: TypeAlias = Callable[[str, Name, Sequence[Address], float], bool]
"""Box, name, addresses, seconds: whether the box may reach them by the name now."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    question: Question
    query: bytes
    to: object
    over_tcp: bool

    def reply(
        self,
        code: int,
        records: Sequence[Record] = (),
        error: ExtendedError | None = None,
        **ages: int,
    ) -> Reply:
        made = reply(self.question, code, records, error=error, over_tcp=self.over_tcp, **ages)
        return Reply(self.to, made)


class Session:
    """The queries of all boxes."""

    def __init__(self, lease: Lease, limits: Limits = Limits()) -> None:
        self._lease = lease
        self._limits = limits
        self._cache = Cache()
        self._repeats = Repeats()
        self._waiting: dict[Key, list[_Waiting]] = {}
        self._in_flight: Counter[str] = Counter()
        self._allowances: dict[str, Allowance] = {}

    def query(
        self, asker: Asker, data: bytes, to: object, now: float, *, over_tcp: bool = False
    ) -> list[Command]:
        """A box has sent a message. `to`: comes back in its Reply. `now`: seconds."""
        most = self._limits.queries
        allowance = self._allowances.get(asker.box_id)
        if allowance is None:
            allowance = self._allowances[asker.box_id] = Allowance(most, now)
        may_ask = allowance.take(most, now)
        if may_ask and not over_tcp:
            repeated = self._repeat(asker, data, to, now)
            if repeated is not None:
                return [repeated]
        question = read_query(data)
        if isinstance(question, Malformed):
            said = reply_to_malformed(question) if may_ask else None
            return [] if said is None else [Reply(to, said)]
        waiting = _Waiting(question, data, to, over_tcp)
        if not may_ask:
            return _too_much(asker.box_id, waiting)
        no = why_not(asker.policy, question)
        if no is not None:
            return self._refuse(asker, waiting, no)
        if is_hidden(asker.policy, question):
            return [waiting.reply(_NOERROR)]
        key = (asker.box_id, question.raw[:-4].lower(), question.type)
        cached = self._cache.find(asker.box_id, key[1:], now)
        if cached is not None:
            return self._finish(asker, waiting, cached, now)
        return self._ask(key, waiting)

    def answered(self, key: Key, answer: Answer, asker: Asker | None, now: float) -> list[Command]:
        """An upstream has answered, or none (FAILED). `asker`: the box as it is now, if it is.

        Of a key that was not asked for, or is answered already, nothing comes.
        """
        waiting = self._waiting.pop(key, [])
        self._in_flight[key[0]] -= len(waiting)
        if not self._in_flight[key[0]]:
            del self._in_flight[key[0]]
        if asker is None or not waiting:
            return []
        cached = self._cache.keep(asker.box_id, key[1:], answer, now)
        commands: list[Command] = []
        for one in waiting:
            no = why_not(asker.policy, one.question)
            if no is not None:
                commands += self._refuse(asker, one, no)
            elif is_hidden(asker.policy, one.question):
                commands.append(one.reply(_NOERROR))
            else:
                commands += self._finish(asker, one, cached, now)
        return commands

    def forget(self, box_id: str) -> None:
        """The box is gone."""
        self._cache.forget(box_id)
        self._repeats.forget(box_id)
        self._allowances.pop(box_id, None)

    def _repeat(self, asker: Asker, data: bytes, to: object, now: float) -> Reply | None:
        """Say what was said to the same query a moment ago, if that would be said again."""
        found = self._repeats.find(asker.box_id, data, asker.policy, asker.surroundings, now)
        if found is None:
            return None
        if found.lease is not None and (
            found.name is None
            or not self._lease(asker.box_id, found.name, found.addresses, found.lease)
        ):
            return None
        return Reply(to, found.to(data))

    def _ask(self, key: Key, waiting: _Waiting) -> list[Command]:
        """Those who wait for the answer to another's question are in flight too."""
        if self._in_flight[key[0]] >= self._limits.in_flight:
            return _too_much(key[0], waiting)
        self._in_flight[key[0]] += 1
        if key in self._waiting:
            self._waiting[key].append(waiting)
            return []
        self._waiting[key] = [waiting]
        return [Ask(key, waiting.question)]

    def _refuse(self, asker: Asker, waiting: _Waiting, no: No) -> list[Command]:
        error = ExtendedError(BLOCKED, f"policy revision {asker.revision}: {no.text}")
        return [
            waiting.reply(self._limits.refuse_with, error=error),
            Refused(asker.box_id, waiting.question.name, no.reason, no.rule),
        ]

    def _finish(self, asker: Asker, waiting: _Waiting, cached: Cached, now: float) -> list[Command]:
        """Tell the box what it may hear, once that is in force."""
        name, answer = waiting.question.name, cached.answer
        kept, rule = without_blocked(answer.records, name, asker.policy, asker.surroundings)
        addresses = [one.address for one in kept if one.address is not None]
        if answer.addresses and not addresses:
            return _filtered(asker, waiting, rule)
        age, longest = int(now - cached.since), self._limits.longest_lease
        seconds: float | None = None
        if addresses and is_restricted(asker.policy):
            longest = self._lease_seconds(kept, age)
            seconds = longest + self._limits.grace
            if name is None or not self._lease(asker.box_id, name, addresses, seconds):
                return [waiting.reply(SERVFAIL)]
        said = waiting.reply(answer.code, kept, age=age, longest_ttl=int(longest))
        if not waiting.over_tcp:
            repeat = Repeat(
                policy=asker.policy,
                surroundings=asker.surroundings,
                until=min(cached.since + age + 1, cached.until),
                name=name,
                addresses=addresses,
                lease=seconds,
                answer=said.data,
            )
            self._repeats.keep(asker.box_id, waiting.query, repeat)
        return [said]

    def _lease_seconds(self, records: Sequence[Record], age: int) -> float:
        """Without the grace: nothing in the answer holds longer than this."""
        ttl = min(one.ttl for one in records) - age
        return min(max(ttl, self._limits.shortest_lease), self._limits.longest_lease)


def _too_much(box_id: str, waiting: _Waiting) -> list[Command]:
    refused = Refused(box_id, waiting.question.name, Reason.RATE_LIMITED, None)
    return [waiting.reply(REFUSED), refused]


def _filtered(asker: Asker, waiting: _Waiting, rule: Rule | None) -> list[Command]:
    because = "" if rule is None else f" by {rule}"
    text = f"policy revision {asker.revision}: every address is refused{because}"
    return [
        waiting.reply(_NOERROR, error=ExtendedError(FILTERED, text)),
        Refused(asker.box_id, waiting.question.name, Reason.ANSWER_FILTERED, rule),
    ]
