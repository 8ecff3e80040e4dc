"""What root may change inside the box."""

import contextlib
import socket
import struct
import subprocess

from attempts.catalogue import Surroundings, attempt
from attempts.wire import UDP, ip, send_frame, send_raw, udp


def _run(*command: str) -> None:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(command, capture_output=True, timeout=5)  # our own list


def _router_mac(s: Surroundings) -> bytes:
    done = subprocess.run(("ip", "neigh", "show", s.router[0]), capture_output=True, text=True)
    words = done.stdout.split()
    return bytes.fromhex(words[words.index("lladdr") + 1].replace(":", ""))


@attempt("inside", "every table flushed, every limit of the kernel taken away")
def _(s: Surroundings, mark: str) -> None:
    _run("nft", "flush", "ruleset")
    _run("ip", "rule", "flush")
    _run("ip", "rule", "add", "lookup", "main", "priority", "32766")
    for target in s.elsewhere:
        with contextlib.suppress(OSError):
            source = s.own[":" in target]
            send_raw(ip(source, target, UDP, udp(source, target, 4242, mark.encode())))


@attempt("inside", "more addresses: the neighbour's, a public one")
def _(s: Surroundings, mark: str) -> None:
    for address in (s.neighbour[0], "8.8.4.4"):
        _run("ip", "address", "add", f"{address}/32", "dev", s.interface)
        for target in (*s.allowed_at, *s.elsewhere):
            if ":" in target:
                continue
            with contextlib.suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as made:
                made.bind((address, 0))
                made.sendto(mark.encode(), (target, 4242))
        _run("ip", "address", "del", f"{address}/32", "dev", s.interface)


@attempt("inside", "frames past the box's own routes, with a VLAN tag, to the broadcast")
def _(s: Surroundings, mark: str) -> None:
    mac = _router_mac(s)
    for target in s.elsewhere:
        source = s.own[":" in target]
        packet = ip(source, target, UDP, udp(source, target, 4242, mark.encode()))
        for destination in (mac, b"\xff" * 6, b"\x01\0\x5e\0\0\1"):
            send_frame(s.interface, destination, packet)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((s.interface, 0))
            tag = struct.pack(">HHH", 0x8100, 5, 0x0800 if ":" not in target else 0x86DD)
            raw.send(mac + raw.getsockname()[4] + tag + packet)


@attempt("inside", "source routes")
def _(s: Surroundings, mark: str) -> None:
    source = s.own[0]
    for target in s.allowed_at:
        if ":" in target:
            continue
        via = socket.inet_aton(next(one for one in s.elsewhere if ":" not in one))
        option = b"\x83\x07\x04" + via + b"\0"
        body = udp(source, target, 4242, mark.encode())
        plain = ip(source, target, UDP, option + body)
        send_raw(b"\x47" + plain[1:10] + b"\0\0" + plain[12:])
