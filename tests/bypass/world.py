"""A box with something in its way, an internet, and everybody who could see what gets out."""

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from attempts.catalogue import Attempt, Bar, Surroundings, mark_of
from attempts.everything import CATALOGUE
from behind import stand_behind
from forms import ALLOWED_AT, DENIED, ELSEWHERE, LISTED, NAME, ZONE, Form
from outside import PORTS, Listeners, NodeEars, Partner, hostile_answers

from boxwall_agent.bpf.load import ProgramRefused
from boxwall_agent.features import displaced_checksum
from boxwall_agent.nft.kernel import open_nftables
from lab.dns import RESOLVER, NameServer
from lab.namespaces import Namespace, inside, without_checksum_offload
from lab.network import NODE, Box, Lab
from lab.packets import Wire, udp
from lab.web import Web
from lab.witness import Seen, Witness

_HERE: Final = Path(__file__).parent
_MARK: Final = re.compile(rb"leak\d{5}mrk")
_LEASE_ENDS_AFTER: Final = 7.5
"""Seconds: the shortest lease, the grace that `Boxwall` asks for, and some patience."""

_DNS: Final = b"\0\x35"
_PINGED: Final = "an answer from the box's own kernel"
_bases: Final = itertools.count(0, 1000)
_last: Final = itertools.count()


@dataclass(frozen=True, slots=True)
class Made:
    """One attempt under one policy, and who saw its mark."""

    form: str
    attempt: Attempt
    seen_by: tuple[str, ...]
    problem: str
    """What went wrong in the attempt itself. Empty: nothing."""
    is_limited: bool
    """Whether the documented limits hold on this kernel."""

    @property
    def is_leak(self) -> bool:
        """Somebody saw what nobody should have seen."""
        return bool(self.seen_by) and self.attempt.bar is not Bar.NOTHING

    @property
    def is_known(self) -> bool:
        """A leak that the documents tell of."""
        return self.is_leak and self.is_limited and bool(self.attempt.known_limit)

    @property
    def is_bad(self) -> bool:
        """A leak that nobody knew of, a control that is lost, or an attempt that failed itself."""
        return (self.is_leak and not self.is_known) or self.is_lost or bool(self.problem)

    @property
    def is_lost(self) -> bool:
        """A control that did not arrive: nothing that was refused beside it means anything."""
        return not self.seen_by and self.attempt.bar is Bar.NOTHING

    def __str__(self) -> str:
        seen = f"seen by {', '.join(self.seen_by)}" if self.seen_by else "not seen"
        problem = f" [{self.problem}]" if self.problem else ""
        problem += f" (a known limit: {self.attempt.known_limit})" if self.is_known else ""
        return f"{self.form}: {self.attempt.kind}: {self.attempt.title}: {seen}{problem}"


def why_not_watched(place: Namespace) -> str:
    """Why this kernel does not tell where checksums go that are left to it; empty: it does."""
    with inside(place.name), open_nftables() as nft:
        try:
            with displaced_checksum(nft):
                return ""
        except ProgramRefused as exc:
            return str(exc)


class World:
    """`behind`: "boxwall", "nothing", or a command that puts something else in the box's way."""

    def __init__(self, behind: str = "boxwall") -> None:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self.lab = stack.enter_context(Lab())
            self.lab.internet.set_kernel(ipv4__tcp_orphan_retries="1", ipv4__tcp_fastopen="0x203")
            without_checksum_offload(self.lab.node, "uplink")
            self.neighbour = self.lab.box()
            self._open_internet(stack, folder)
            self._resolv_conf = folder / "resolv.conf"
            self._resolv_conf.write_text(f"nameserver {RESOLVER}\noptions timeout:1 attempts:1\n")
            self.is_limited = why_not_watched(self.lab.node) != ""
            self._behind = stand_behind(behind, self.lab, folder, self.neighbour)
            stack.callback(self._behind.close)
            self._stack = stack.pop_all()

    def run(self, form: Form, *kinds: str) -> list[Made]:
        """Make every attempt that a policy has to bar, or those of some kinds, in a new box."""
        chosen = form.chosen(CATALOGUE.attempts, kinds)
        base = next(_bases)
        box = self.lab.box()
        ears = NodeEars(self.lab.node, [box.interface_name])
        try:
            with contextlib.closing(Inside(box, self._resolv_conf)) as program:
                program.start(self._surroundings(box), base, chosen)
                self._partner.turn_to(box, {})
                problems = self._early_steps(program, box, form)
                self._partner.turn_to(box, _pings(base, chosen))
                problems |= program.step("run")
            seen = self._seen(form, ears)
        finally:
            ears.close()
        return [
            Made(
                form.name,
                CATALOGUE.attempts[number],
                tuple(sorted(seen.get(mark_of(base + number), ()))),
                problems.get(base + number, "it was not made"),
                is_limited=self.is_limited,
            )
            for number in chosen
        ]

    def _early_steps(self, program: "Inside", box: Box, form: Form) -> dict[int, str]:
        problems = program.step("unpoliced")
        self._behind.begin(box, form)
        problems |= program.step("loose")
        with program.paused():
            self._behind.tighten(box, form)
        return problems

    def _surroundings(self, box: Box) -> Surroundings:
        return Surroundings(
            own=box.addresses,
            interface="eth0",
            router=box.gateways,
            node=NODE,
            neighbour=self.neighbour.addresses,
            name=NAME,
            zone=ZONE,
            allowed_at=ALLOWED_AT,
            listed=LISTED,
            elsewhere=ELSEWHERE,
            denied=DENIED,
            lease_ends_after=_LEASE_ENDS_AFTER,
        )

    def _seen(self, form: Form, ears: NodeEars) -> dict[str, set[str]]:
        """Who saw which marks, once everything that is on its way has arrived."""
        last = b"the last %d" % next(_last)
        source = self.neighbour.addresses[0]
        self.neighbour.wire.send(udp(source, "8.8.8.8", 9, last))
        self.lab.internet.witness.wait_for(last)
        seen: dict[str, set[str]] = {}
        for who, text in self._heard(form, ears):
            for mark in _MARK.findall(text.lower()):
                seen.setdefault(mark.decode(), set()).add(who)
        return seen

    def _heard(self, form: Form, ears: NodeEars) -> Iterator[tuple[str, bytes]]:
        outside, self.lab.internet.witness.seen = self.lab.internet.witness.seen, []
        for packet in outside:
            if form.restricts_names or not _is_question_of_the_node(packet):
                yield "outside", packet.payload
        yield from (("neighbour", packet.payload) for packet in self._beside.look())
        if form.restricts_names:
            yield from (("name server", name.encode()) for name in self.names.questions)
        for served in self.web.served:
            yield "web server", served.name.encode() + b" " + bytes(served.received)
        yield from (("node", data) for data in ears.heard())

    def _open_internet(self, stack: contextlib.ExitStack, folder: Path) -> None:
        internet = self.lab.internet
        self.names = NameServer(internet)
        stack.callback(self.names.close)
        self.names.zone = {NAME: list(ALLOWED_AT)}
        self.names.ttl = 300
        self.names.craft = hostile_answers(self.neighbour.addresses)
        self.web = Web(internet, folder)
        stack.callback(self.web.close)
        stack.callback(Listeners(internet, PORTS).close)
        wire = Wire(internet, "node", self.lab.node.mac_of("uplink"))
        stack.callback(wire.close)
        self._partner = Partner(wire)
        stack.callback(self._partner.close)
        self._beside = Witness(self.neighbour, "eth0")
        stack.callback(self._beside.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class Inside:
    """The program that makes the attempts, in its box."""

    def __init__(self, box: Box, resolv_conf: Path) -> None:
        self._box = box
        self._resolv_conf = resolv_conf
        self._process: subprocess.Popen[str] | None = None

    def start(self, surroundings: Surroundings, base: int, chosen: list[int]) -> None:
        """Start it."""
        prepare = f'mount --bind {self._resolv_conf} /etc/resolv.conf && exec "$@"'
        numbers = (str(one) for one in (base, *chosen))
        self._process = subprocess.Popen(
            (
                *("ip", "netns", "exec", self._box.name, "sh", "-c", prepare, "sh"),
                *(sys.executable, "-m", "attempts", json.dumps(asdict(surroundings)), *numbers),
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(_HERE)},
        )

    def step(self, name: str) -> dict[int, str]:
        """Have it do a step; return the attempts that were made, and what was wrong with each."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        made: dict[int, str] = {}
        for line in self._process.stdout:
            said = json.loads(line)
            if said.get("done") == name:
                return made
            made[said["attempt"]] = said["problem"]
        raise AssertionError(f"the attempts ended in the middle of {name!r}")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop it, as a platform stops a sandbox, and let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """It has done everything, or is killed."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for one in (self._process.stdin, self._process.stdout):
                assert one is not None
                one.close()


def _pings(base: int, chosen: list[int]) -> dict[int, str]:
    """The marks that the partner's pings carry, by family."""
    found = ((base + number, CATALOGUE.attempts[number]) for number in chosen)
    return {one.version: mark_of(number) for number, one in found if one.title.startswith(_PINGED)}


def _is_question_of_the_node(packet: Seen) -> bool:
    """What a resolver on the node asks on behalf of a box."""
    return str(packet.source) in NODE and packet.payload[2:4] == _DNS
