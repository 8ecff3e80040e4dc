"""Everything that enforces names, as one part of the agent: DNS, first bytes, the relay.

They share one view of the boxes, and one judgement: `NamedBoxes`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import structlog

from boxwall.policy import Address, Destination, Name, Reason, Rule
from boxwall.policy import Protocol as Transport
from boxwall_agent.agent import Agent
from boxwall_agent.dns.server import DnsServer
from boxwall_agent.dns.session import Asker, Limits, Session
from boxwall_agent.dns.upstream import Resolvers, Upstream
from boxwall_agent.enforcer import Enforcer
from boxwall_agent.errors import KernelUnusable
from boxwall_agent.features import known_queue
from boxwall_agent.firstbytes.reader import FirstBytes
from boxwall_agent.hosted import Hosted
from boxwall_agent.judging import Judgement, Refusal, judge
from boxwall_agent.nfqueue import PacketQueue
from boxwall_agent.nft.kernel import Nftables
from boxwall_agent.nft.naming import QUEUE, Naming
from boxwall_agent.packets import Ends
from boxwall_agent.poking import Poker
from boxwall_agent.refusals import Refusals
from boxwall_agent.relay.server import RelayServer

Chore: TypeAlias = Callable[[], Coroutine[Any, Any, None]]

_DNS_PORT: Final = 53

_log = structlog.get_logger()


class NamedBoxes:
    """The boxes, as those see them who serve their names. `connect` it before it is asked."""

    def __init__(self) -> None:
        self._agent: Agent | None = None
        self._enforcer: Enforcer | None = None
        self._refusals: Refusals | None = None
        self._poker: Poker | None = None

    def connect(self, agent: Agent, enforcer: Enforcer, refusals: Refusals, poker: Poker) -> None:
        """From now on there are boxes."""
        self._agent, self._enforcer, self._refusals = agent, enforcer, refusals
        self._poker = poker

    def hosted_on(self, index: int) -> Hosted | None:
        """The box whose interface has this index, or None."""
        return None if self._enforcer is None else self._enforcer.hosted_on(index)

    def box_at(self, address: Address) -> str | None:
        """The id of the box with this address, or None."""
        hosted = None if self._enforcer is None else self._enforcer.hosted_at(address)
        return None if hosted is None else hosted.box_id

    def asker_at(self, address: Address) -> Asker | None:
        """The box with this address, as one who asks for names."""
        box_id = self.box_at(address)
        return None if box_id is None else self.asker(box_id)

    def asker(self, box_id: str) -> Asker | None:
        """The box, as one who asks for names."""
        hosted = self._find(box_id)
        if hosted is None or self._enforcer is None:
            return None
        return Asker(
            box_id=box_id,
            policy=hosted.policy,
            revision=hosted.revision,
            surroundings=self._enforcer.surroundings,
        )

    def lease(self, box_id: str, name: Name, addresses: Sequence[Address], seconds: float) -> bool:
        """Let the box reach these addresses by the name; whether that is in force."""
        return self._agent is not None and self._agent.lease(box_id, name, addresses, seconds)

    def judge(
        self, box_id: str, address: Address, name: Name | None, *, has_begun: bool = False
    ) -> Judgement:
        """May a connection of the box that carries this name go, or go on, to this address?"""
        hosted = self._find(box_id)
        if hosted is None or self._enforcer is None:
            return Refusal(Reason.NO_POLICY)
        leases, around = self._enforcer.leasing.of(box_id), self._enforcer.surroundings
        return judge(hosted.policy, leases, around, address, name, has_begun=has_begun)

    def refused(self, box_id: str, destination: Destination, refusal: Refusal) -> None:
        """A connection was refused."""
        hosted = self._find(box_id)
        if hosted is not None and self._refusals is not None:
            self._refusals.by_name(hosted, destination, refusal.reason, refusal.rule)

    def ended(self, box_id: str, opened: Ends) -> None:
        """A connection was refused: its server shall hear of it, once the kernel knows."""
        if self._poker is not None:
            asyncio.get_running_loop().call_soon(self._poker.poke_server_of, box_id, opened)

    def name_refused(
        self, box_id: str, name: Name | None, reason: Reason, rule: Rule | None
    ) -> None:
        """A name was refused. One that is no name at all is only counted as refused."""
        if name is not None:
            where = Destination(domain=name, port=_DNS_PORT, protocol=Transport.UDP)
            self.refused(box_id, where, Refusal(reason, rule))

    def _find(self, box_id: str) -> Hosted | None:
        return None if self._enforcer is None else self._enforcer.hosted.get(box_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class NameService:
    """What runs."""

    naming: Naming
    boxes: NamedBoxes
    dns: DnsServer
    relay: RelayServer
    first_bytes: FirstBytes
    session: Session

    @property
    def chores(self) -> list[Chore]:
        """Each runs until it is cancelled."""
        return [self.dns.run, self.relay.run, self.first_bytes.run]

    def policy_changed(self, box_id: str) -> None:
        """Relayed connections are not the kernel's to cut."""
        self.relay.policy_changed(box_id)

    def box_gone(self, box_id: str) -> None:
        """Nothing of it is remembered."""
        self.relay.policy_changed(box_id)
        self.first_bytes.forget_box(box_id)
        self.session.forget(box_id)


def open_name_service(
    stack: ExitStack,
    nft: Nftables,
    resolvers: Resolvers,
    http_ports: tuple[int, ...],
    limits: Limits,
    ports: tuple[int, int],
) -> NameService | None:
    """Open every socket that enforcing names takes. `ports`: of DNS and of the relay, if free.

    None, with the reason in the log: no name will be reachable.
    """
    queue_known = known_queue(nft)
    if queue_known is None:
        _log.error("names_not_enforced", reason="the kernel has neither queue nor NFQUEUE")
        return None
    boxes = NamedBoxes()
    session = Session(boxes.lease, limits)
    try:
        packets = PacketQueue(QUEUE)
        stack.callback(packets.close)
        dns = DnsServer(session, boxes, Upstream(resolvers), ports[0])
        stack.callback(dns.close)
        relay = RelayServer(boxes, ports[1])
        stack.callback(relay.close)
    except (OSError, KernelUnusable) as exc:
        _log.error("names_not_enforced", reason=str(exc))
        return None
    naming = Naming(
        dns_port=dns.port, relay_port=relay.port, http_ports=http_ports, queue=queue_known[1]
    )
    return NameService(
        naming=naming,
        boxes=boxes,
        dns=dns,
        relay=relay,
        first_bytes=FirstBytes(packets, boxes),
        session=session,
    )
