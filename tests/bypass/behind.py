"""What stands between a box and the world: Boxwall, a command, or nothing."""

import os
import subprocess
from pathlib import Path
from typing import Final, Protocol

from forms import ALLOWED_AT, NAME, Form

from fakes.agent_process import Site
from lab.dns import RESOLVER
from lab.network import Box, Lab

HTTP_PORTS: Final = (80, 8080, 8082)
"""On which the agent relays; a server outside speaks TLS on the last one."""


class Behind(Protocol):
    """Puts something in the way of boxes."""

    def begin(self, box: Box, form: Form) -> None:
        """The box is policed from now on, loosely if that is possible."""

    def tighten(self, box: Box, form: Form) -> None:
        """The policy is in force from now on."""

    def close(self) -> None:
        """Put everything back."""


class Boxwall:
    """A control plane and an agent."""

    LEASE_GRACE = 1.0

    def __init__(self, lab: Lab, folder: Path, neighbour: Box) -> None:
        more = ["--dns-queries", "5000", "--lease-grace", f"{self.LEASE_GRACE:.0f}s"]
        more += [word for port in HTTP_PORTS for word in ("--http-port", str(port))]
        self._site = Site(lab, folder, "--dns-upstream", RESOLVER, *more)
        self._attach(neighbour)

    def begin(self, box: Box, form: Form) -> None:  # loosely
        """Attach it under allow-all."""
        self._attach(box)

    def tighten(self, box: Box, form: Form) -> None:
        """Set the policy."""
        self._site.must("policy", "set", box.interface_name, *form.flags, "--wait-timeout", "10s")

    def close(self) -> None:
        """Stop both."""
        self._site.close()

    def _attach(self, box: Box) -> None:
        self._site.must("box", "create", "--id", box.interface_name, "--mode", "allow-all")
        self._site.must("attach", box.interface_name, "--netns", box.name)


class Nothing:
    """Nobody polices."""

    def begin(self, box: Box, form: Form) -> None:
        """Do nothing."""

    def tighten(self, box: Box, form: Form) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Command(Nothing):
    """A shell command, as root in the node's namespace, which is told of box and policy."""

    def __init__(self, lab: Lab, command: str) -> None:
        self._lab = lab
        self._command = command

    def tighten(self, box: Box, form: Form) -> None:
        """Run it. Raises CalledProcessError."""
        told = {
            "BOX_INTERFACE": box.interface_name,
            "BOX_NAMESPACE": box.name,
            "BOX_ADDRESSES": " ".join(box.addresses),
            "POLICY": form.name,
            "MODE": form.mode or "custom",
            "ALLOWED_DOMAINS": " ".join(form.domains),
            "ALLOWED_CIDRS": " ".join(form.allowed),
            "DENIED_CIDRS": " ".join(form.denied),
            "NAME": NAME,
            "NAME_ADDRESSES": " ".join(ALLOWED_AT),
        }
        command = ("ip", "netns", "exec", self._lab.node.name, "sh", "-ec", self._command)
        subprocess.run(command, check=True, env={**os.environ, **told})


def stand_behind(what: str, lab: Lab, folder: Path, neighbour: Box) -> Behind:
    """`what`: "boxwall", "nothing", or a command."""
    if what == "boxwall":
        return Boxwall(lab, folder, neighbour)
    return Nothing() if what == "nothing" else Command(lab, what)
