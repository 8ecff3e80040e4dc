"""`boxwall doctor`: what this machine can do, what it lacks, and what to do about it."""

import errno
import os
import platform
import re
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from boxwall.cli.attach import agent_socket_option
from boxwall.cli.render.problems import UNREACHABLE
from boxwall.cli.render.text import safe
from boxwall.cli.session import Session, current_session
from boxwall.cli.settings import client_options
from boxwall.sdk.errors import BoxwallError

FIXED_KERNELS: Final = ("6.12.48 and later 6.12", "6.17 and newer")
"""Before, a packet can miss a set while a transaction changes it (fixed in September 2025)."""

_AGENT: Final = "node agent"
_NET_ADMIN: Final = 12
_NET_RAW: Final = 13
"""Bits of capabilities, from linux/capability.h."""
_NETLINK_NETFILTER: Final = 12
_NLM_F_REQUEST: Final = 1
_NFT_NEWGEN: Final = 10 << 8 | 15
_NFT_GETGEN: Final = 10 << 8 | 16
"""NFNL_SUBSYS_NFTABLES and the message, from linux/netfilter/nf_tables.h."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check. `needed_by` says who needs what was looked for: "clients" or "node agent"."""

    name: str
    is_ok: bool
    found: str
    meaning: str
    advice: str = ""
    needed_by: str = "node agent"


@click.command()
@agent_socket_option
@client_options
@click.pass_context
def doctor(context: click.Context, agent_socket: Path) -> None:
    """Say what this machine can do, what it lacks, and what to do about it.

    Exit status 0 if nothing is lacking, 1 if something is, 3 if no control plane answers. What only
    the node agent needs counts for root on Linux: others cannot run one.
    """
    session = current_session()
    findings = [*_local_findings(), *_agent_findings(session, agent_socket)]
    findings.append(_server_finding(session))
    if session.wants_json:
        session.done("", {"findings": [_document(one) for one in findings]})
    else:
        session.say([line for one in findings for line in _lines(one)])
    counted = ("clients", _AGENT) if _can_be_node() else ("clients",)
    lacking = [one for one in findings if not one.is_ok and one.needed_by in counted]
    if lacking:
        context.exit(UNREACHABLE if lacking[-1].name == "control plane" else 1)


def _can_be_node() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0


def _agent_findings(session: Session, agent_socket: Path) -> Iterator[Finding]:
    """What the kernel can be made to do, asked without changing anything, and who does it."""
    if not _can_be_node():
        return
    from boxwall_agent.features import features

    for feature in features():
        yield Finding(
            name=feature.name,
            is_ok=feature.is_there,
            found=feature.found,
            meaning=feature.meaning,
            advice=feature.advice,
            needed_by=_AGENT if feature.is_needed else "node agent, if it can be had",
        )
    yield _running_agent(session, agent_socket)


def _running_agent(session: Session, agent_socket: Path) -> Finding:
    meaning = "puts policies in force on this machine"
    try:
        status = session.run_agent(lambda agent: agent.status(), agent_socket)
    except BoxwallError as exc:
        return Finding(
            name="agent",
            is_ok=False,
            found=str(exc),
            meaning=meaning,
            advice="start it with: boxwall agent; or with: boxwall up",
            needed_by="boxes on this machine",
        )
    contact = "in contact" if status.connected else "out of contact with its control plane"
    return Finding(
        name="agent",
        is_ok=status.connected,
        found=f"node {status.node_id}, {len(status.boxes)} boxes, {contact}",
        meaning=meaning,
        advice="look at its log",
        needed_by=_AGENT,
    )


def _local_findings() -> Iterator[Finding]:
    version = platform.python_version()
    yield Finding(
        name="Python",
        is_ok=sys.version_info >= (3, 11),
        found=version,
        meaning="runs the command line and the SDK",
        advice="install Python 3.11 or newer",
        needed_by="clients",
    )
    on_linux = sys.platform == "linux"
    yield Finding(
        name="platform",
        is_ok=on_linux,
        found=f"{platform.system()} {platform.machine()}",
        meaning="control plane and clients run on Linux and macOS; policies are enforced on Linux",
        advice="run the nodes on Linux",
    )
    if on_linux:
        yield from _linux_findings()


def _linux_findings() -> Iterator[Finding]:
    release = platform.release()
    yield Finding(
        name="kernel",
        is_ok=changes_sets_safely(kernel_version(release)),
        found=release,
        meaning="a packet must not slip through while a policy is replaced",
        advice=f"use Linux {' or '.join(FIXED_KERNELS)}, or one with their nftables fixes",
    )
    capabilities = effective_capabilities(_read(Path("/proc/self/status")))
    missing = [
        name
        for name, bit in (("CAP_NET_ADMIN", _NET_ADMIN), ("CAP_NET_RAW", _NET_RAW))
        if not capabilities >> bit & 1
    ]
    yield Finding(
        name="privileges",
        is_ok=not missing,
        found=f"uid {os.geteuid()}" + (f", without {' and '.join(missing)}" if missing else ""),
        meaning="who changes nftables rules needs CAP_NET_ADMIN, who reads packets CAP_NET_RAW",
        advice="run the agent as root, or give it both capabilities",
    )
    state = ask_nf_tables() or nf_tables_files(release)
    yield Finding(
        name="nf_tables",
        is_ok=state != "not found",
        found=state,
        meaning="the part of the kernel that enforces policies",
        advice="load it with: modprobe nf_tables; or use a kernel that has it",
    )


def _server_finding(session: Session) -> Finding:
    meaning = "keeps policies, and streams them to nodes"
    try:
        healthy = session.run(lambda client: client.is_serving())
    except BoxwallError as exc:
        return Finding(
            name="control plane",
            is_ok=False,
            found=str(exc),
            meaning=meaning,
            advice="start one with: boxwall up; or name one with --server HOST:PORT",
            needed_by="clients",
        )
    return Finding(
        name="control plane",
        is_ok=healthy,
        found="serving" if healthy else "answers, and says that it is not healthy",
        meaning=meaning,
        advice="look at its log",
        needed_by="clients",
    )


def kernel_version(release: str) -> tuple[int, int, int]:
    """Return the numbers of "6.8.0-45-generic"; those that are not there are 0."""
    found = re.match(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?", release, re.ASCII)
    major, minor, patch = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    return major, minor, patch


def changes_sets_safely(version: tuple[int, int, int]) -> bool:
    """Return whether a kernel is one of FIXED_KERNELS."""
    return version >= (6, 17, 0) or (6, 12, 48) <= version < (6, 13, 0)


def effective_capabilities(status: str) -> int:
    """Return the bits in the CapEff line of /proc/self/status; 0 if there is none."""
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def ask_nf_tables() -> str | None:
    """Ask the kernel itself, without changing anything. None: it does not tell (no privileges).

    An NFT_MSG_GETGEN request of nfnetlink, answered with the generation of the rules.
    """
    request = struct.pack("=IHHIIBBH", 20, _NFT_GETGEN, _NLM_F_REQUEST, 1, 0, 0, 0, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as asked:
            asked.settimeout(1.0)
            asked.send(request)
            answer = asked.recv(4096)
    except OSError:
        return None
    kind, error = struct.unpack_from("=4xH10xi", answer)
    if kind == _NFT_NEWGEN:
        return "the kernel answers"
    return None if -error in (errno.EPERM, errno.EACCES) else "not found"


def nf_tables_files(release: str, root: Path = Path("/")) -> str:
    """Return what the files of a system say: "loaded", "built in" ... or "not found"."""
    if (root / "sys/module/nf_tables").exists():
        return "loaded"
    modules = root / "lib/modules" / release
    if "/nf_tables.ko" in _read(modules / "modules.builtin"):
        return "built in"
    if "/nf_tables.ko" in _read(modules / "modules.dep"):
        return "a module that can be loaded"
    return "not found"


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _lines(finding: Finding) -> Iterator[str]:
    result = "ok  " if finding.is_ok else "lack"
    by = "" if finding.needed_by == "clients" else f" ({finding.needed_by})"
    yield safe(f"{result}  {finding.name:13}  {finding.found}: {finding.meaning}{by}")
    if not finding.is_ok:
        yield safe(f"{'':21}to do: {finding.advice}")


def _document(finding: Finding) -> dict[str, str | bool]:
    return {
        "name": finding.name,
        "ok": finding.is_ok,
        "found": safe(finding.found),
        "meaning": finding.meaning,
        "advice": "" if finding.is_ok else finding.advice,
        "needed_by": finding.needed_by,
    }
