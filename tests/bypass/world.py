"""A box with something in its way, an internet, and everybody who could see what gets out."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from attempts.catalogue import Surroundings

from fakes.agent_process import Site
from lab.dns import RESOLVER, NameServer
from lab.namespaces import inside
from lab.network import NODE, Box, Lab
from lab.web import Web
from lab.witness import Witness

ALLOWED: Final = "api.example.com"
ALLOWED_AT: Final = ("5.5.5.5", "2600:5::5")
ELSEWHERE: Final = ("7.7.7.7", "2600:7::7")
_HERE: Final = Path(__file__).parent
_SINK_PORT: Final = 4242
_MARK: Final = re.compile(rb"leak\d{4}mark")


@dataclass(frozen=True, slots=True)
class Made:
    """One attempt, and who saw its mark."""

    kind: str
    title: str
    seen_by: tuple[str, ...]


class World:
    """`behind`: "boxwall", "nothing", or a command that puts something else in the box's way. It
    runs as root in the node's namespace, with BOX_INTERFACE, BOX_NAMESPACE and BOX_ADDRESSES set.
    """

    def __init__(
        self, behind: str = "boxwall", policy: tuple[str, ...] = ("--allow-domain", ALLOWED)
    ) -> None:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self.lab = stack.enter_context(Lab())
            self.names = NameServer(self.lab.internet)
            stack.callback(self.names.close)
            self.names.zone = {ALLOWED: list(ALLOWED_AT)}
            self.web = Web(self.lab.internet, folder)
            stack.callback(self.web.close)
            self._resolv_conf = folder / "resolv.conf"
            self._resolv_conf.write_text(f"nameserver {RESOLVER}\noptions timeout:1 attempts:1\n")
            self.neighbour = self.lab.box()
            self.box = self._box(stack, folder, behind, policy)
            self._beside = Witness(self.neighbour, "eth0")
            stack.callback(self._beside.close)
            self._sink = self._open_sink(stack)
            self._stack = stack.pop_all()

    def run(self, *kinds: str) -> list[Made]:
        """Make every attempt, or those of some kinds; say of each who saw its mark."""
        made = [json.loads(line) for line in self._attempt(*kinds)]
        time.sleep(1)  # what is on its way arrives
        seen = self._seen()
        return [
            Made(one["kind"], one["title"], tuple(sorted(seen.get(one["mark"], ()))))
            for one in made
        ]

    def run_inside(self, *command: str) -> "subprocess.Popen[str]":
        """Start a command in the box, with its name server in resolv.conf."""
        prepare = f'mount --bind {self._resolv_conf} /etc/resolv.conf && exec "$@"'
        return subprocess.Popen(
            ("ip", "netns", "exec", self.box.name, "sh", "-c", prepare, "sh", *command),
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(_HERE)},
        )

    def _attempt(self, *kinds: str) -> Iterator[str]:
        surroundings = Surroundings(
            own=self.box.addresses,
            interface="eth0",
            router=self.box.gateways,
            node=NODE,
            neighbour=self.neighbour.addresses,
            allowed_name=ALLOWED,
            allowed_at=ALLOWED_AT,
            elsewhere=ELSEWHERE,
        )
        program = (sys.executable, "-m", "attempts", json.dumps(asdict(surroundings)), *kinds)
        with self.run_inside(*program) as process:
            assert process.stdout is not None
            yield from process.stdout
        assert process.returncode == 0, "the attempts ended with an error"

    def _seen(self) -> dict[str, set[str]]:
        """Who saw which marks."""
        seen: dict[str, set[str]] = {}
        for who, text in self._heard():
            for mark in _MARK.findall(text.lower()):
                seen.setdefault(mark.decode(), set()).add(who)
        return seen

    def _heard(self) -> Iterator[tuple[str, bytes]]:
        for who, witness in (("outside", self.lab.internet.witness), ("neighbour", self._beside)):
            witness.look()
            yield from ((who, packet.payload) for packet in witness.seen)
        yield from (("name server", name.encode()) for name in self.names.questions)
        for served in self.web.served:
            yield "web server", served.name.encode() + b" " + bytes(served.received)
        with contextlib.suppress(BlockingIOError):
            while True:
                yield "node", self._sink.recv(65536)

    def _box(
        self, stack: contextlib.ExitStack, folder: Path, behind: str, policy: tuple[str, ...]
    ) -> Box:
        if behind == "boxwall":
            site = Site(self.lab, folder, "--dns-upstream", RESOLVER)
            stack.callback(site.close)
            site.must("box", "create", "--id", "neighbour", "--mode", "allow-all")
            site.must("attach", "neighbour", "--netns", self.neighbour.name)
            return site.box("bypass", *policy)
        box = self.lab.box()
        if behind != "nothing":
            setting = {
                "BOX_INTERFACE": box.interface_name,
                "BOX_NAMESPACE": box.name,
                "BOX_ADDRESSES": " ".join(box.addresses),
            }
            command = ("ip", "netns", "exec", self.lab.node.name, "sh", "-c", behind)
            subprocess.run(command, check=True, env={**os.environ, **setting})
        return box

    def _open_sink(self, stack: contextlib.ExitStack) -> socket.socket:
        """The node's own service, which hears what should not reach it."""
        with inside(self.lab.node.name):
            sink = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        stack.callback(sink.close)
        sink.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sink.bind(("::", _SINK_PORT))
        sink.setblocking(False)
        return sink

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
