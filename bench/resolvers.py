"""The resolvers that the agent is measured beside: dnsmasq and unbound, told the same as it.

Each forwards names below the same domains to the same upstream, refuses all others, runs on one
core, and remembers at least as much.
"""

import os
import shutil
from collections.abc import Sequence

from bench.harness import Bench
from bench.namespace import spawn_inside
from bench.processes import Actor, Child

DNSMASQ, UNBOUND = "dnsmasq", "unbound"
PORTS = {DNSMASQ: 5301, UNBOUND: 5302}
PROGRAMS = (DNSMASQ, UNBOUND, "dnsperf")
_PLACES = ":/usr/sbin:/usr/local/sbin"
"""Where Debian puts servers, and a path may not lead."""


def missing() -> str:
    """Return why they cannot be measured here. Empty: they can."""
    lacking = [name for name in PROGRAMS if _program(name) is None]
    return f"{' and '.join(lacking)} not found (tools/bench-packages.sh)" if lacking else ""


async def start(
    bench: Bench, place: Actor, name: str, here: str, upstream: str, domains: Sequence[str]
) -> Child:
    """Start one of them in a namespace, on an address of it. It may not answer yet."""
    configured = _dnsmasq if name == DNSMASQ else _unbound
    config = bench.fresh(f"{name}.conf")
    config.write_text(configured(here, upstream, domains))
    program = _program(name)
    assert program is not None
    options = ["--keep-in-foreground", f"--conf-file={config}"]
    argv = [program, *(options if name == DNSMASQ else ["-d", "-c", str(config)])]
    return await spawn_inside(bench, place, name, argv, bench.fresh(f"{name}.log"))


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + _PLACES)


def _dnsmasq(here: str, upstream: str, domains: Sequence[str]) -> str:
    lines = [
        f"port={PORTS[DNSMASQ]}",
        f"listen-address={here}",
        "bind-interfaces",
        "no-resolv",
        "no-hosts",
        "user=root",
        "pid-file=",
        "cache-size=10000",
        *(f"server=/{domain}/{upstream}" for domain in domains),
    ]
    return "\n".join(lines) + "\n"


def _unbound(here: str, upstream: str, domains: Sequence[str]) -> str:
    lines = [
        "server:",
        f"  interface: {here}@{PORTS[UNBOUND]}",
        "  access-control: 0.0.0.0/0 allow",
        '  username: ""',
        '  chroot: ""',
        '  pidfile: ""',
        '  logfile: ""',
        "  use-syslog: no",
        "  num-threads: 1",
        '  module-config: "iterator"',
        '  local-zone: "." refuse',
        *(f'  local-zone: "{domain}." transparent' for domain in domains),
        "forward-zone:",
        '  name: "."',
        f"  forward-addr: {upstream}",
        "remote-control:",
        "  control-enable: no",
    ]
    return "\n".join(lines) + "\n"
