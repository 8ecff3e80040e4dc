"""What do TLS and tokens cost, for each call and for each connection?"""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.answers import Answer, Growth, Row
from bench.figures import Spread, ratios
from bench.harness import Bench, Question, free_port, in_turn, server_command
from bench.messages import GET
from bench.processes import Actor, Child
from bench.procfs import cpu_seconds
from boxwall_server.identity.tokens import token_digest

CALLERS, CALLERS_QUICK = (1, 8, 64), (1, 64)
BOXES = 100
TOKEN = "a-token-as-long-as-those-that-are-made-really"
ENTRY = f"""
[[tokens]]
name = "bench"
sha256 = "{token_digest(TOKEN)}"
tenant = "default"
scopes = ["boxes.read", "boxes.write"]
expires = "never"
"""


@dataclass(frozen=True, slots=True)
class Side:
    """One server, and callers that are connected to it."""

    server: Child
    callers: Actor
    target: str
    ca: str


async def ask(bench: Bench) -> list[Answer]:
    """Measure TLS beside plaintext, and a token beside none."""
    answer = Answer(
        title="What TLS and tokens cost",
        what=f"GetBox of {BOXES:,} boxes over TCP on the loopback interface, from 1, 8 and 64 "
        "callers over 4 connections: over TLS, and over TLS with a bearer token that the server "
        "looks up for every call. And connections, one after the other, each until it is ready "
        "for calls. The ratio is that of rates (1: it costs nothing).",
        beside="The same calls to the same server in clear; for the token, over TLS without one.",
    )
    flags, ca, tokens = _credentials(bench)
    async with AsyncExitStack() as stack:
        sides = [
            await stack.enter_async_context(_serving(bench, *arguments))
            for arguments in (
                ([], "", ""),
                (flags, ca, ""),
                ([*flags, "--tokens", tokens], ca, TOKEN),
            )
        ]
        clear, encrypted, known = sides
        for name, ours, beside in (("tls", encrypted, clear), ("token", known, encrypted)):
            for count in bench.pick(CALLERS_QUICK, CALLERS):
                answer.rows.append(await _rates(bench, answer, name, count, ours, beside))
        answer.rows.append(await _connections(bench, encrypted, clear))
    _add_growth(answer)
    return [answer]


@asynccontextmanager
async def _serving(bench: Bench, flags: list[str], ca: str, token: str) -> AsyncIterator[Side]:
    target = f"127.0.0.1:{free_port()}"
    store = f"sqlite:{bench.fresh('store.db')}"
    common = ["--listen", target, "--store", store, "--metrics-listen", "off"]
    child = await bench.processes.spawn("boxwall", [*server_command(), *common, *flags])
    async with bench.actor("bench.callers:Callers") as callers:
        joined = callers.call("connect_as", target=target, ca=ca, token=token)
        await child.outlives(joined)
        await callers.call("create", boxes=BOXES)
        yield Side(child, callers, target, ca)
    await child.stop()


async def _rates(
    bench: Bench, answer: Answer, name: str, count: int, ours: Side, beside: Side
) -> Row:
    seconds = bench.pick(0.1, 1.0)

    async def one(side: Side) -> tuple[float, float]:
        before = cpu_seconds(side.server.pid)
        found: dict[str, Any] = await side.callers.call(
            "run", method=GET, boxes=BOXES, callers=count, seconds=seconds, warm=0.0
        )
        return found["rate"], (cpu_seconds(side.server.pid) - before) / found["count"] * 1e6

    await one(ours), await one(beside)  # warm
    a, b = await in_turn(bench.rounds, lambda: one(ours), lambda: one(beside))
    costs = [Spread.of([cost for _, cost in side]).middle for side in (a, b)]
    answer.remarks.append(
        f"{name}, {count} callers: {costs[0]:.0f} us of server CPU for each call, and "
        f"{costs[1]:.0f} us without."
    )
    rates, without = [rate for rate, _ in a], [rate for rate, _ in b]
    return Row(
        key=f"credentials_{name}_{count}_callers",
        size=count,
        size_text=f"{name}, {count} caller{'' if count == 1 else 's'}",
        figure=Spread.of(rates),
        unit="calls/s",
        beside=Spread.of(without),
        ratio=ratios(rates, without),
    )


async def _connections(bench: Bench, ours: Side, beside: Side) -> Row:
    count = bench.pick(20, 200)

    async def one(side: Side) -> float:
        found: dict[str, Any] = await side.callers.call(
            "reconnect", target=side.target, ca=side.ca, count=count
        )
        return float(found["p50"]) * 1e3

    a, b = await in_turn(bench.rounds, lambda: one(ours), lambda: one(beside))
    return Row(
        key="credentials_tls_connection",
        size=1,
        size_text="tls, one connection (p50)",
        figure=Spread.of(a),
        unit="ms",
        beside=Spread.of(b),
        ratio=ratios(b, a),
    )


def _credentials(bench: Bench) -> tuple[list[str], str, str]:
    """Make them as users do; return the server's flags, the CA's file and the tokens' file."""
    folder = bench.fresh("certs")
    for arguments in (["init"], ["server", "127.0.0.1", "--name", "server"]):
        command = [*_boxwall(), "certs", *arguments, "--dir", str(folder)]
        subprocess.run(command, check=True, capture_output=True)
    tokens = bench.fresh("tokens.toml")
    tokens.write_text(ENTRY)
    tokens.chmod(0o600)
    flags = ["--tls-cert", str(folder / "server.pem"), "--tls-key", str(folder / "server.key")]
    return flags, str(folder / "ca.pem"), str(tokens)


def _boxwall() -> list[str]:
    return [str(Path(sys.executable).parent / "boxwall")]


def _add_growth(answer: Answer) -> None:
    for name in ("tls", "token"):
        rows = [row for row in answer.rows if row.key.startswith(f"credentials_{name}_")]
        rows = [row for row in rows if row.unit == "calls/s"]
        answer.growth.append(
            Growth(
                what=f"calls/s with callers, {name}",
                sizes=[row.size for row in rows],
                costs=[row.figure.middle for row in rows],
            )
        )


QUESTION = Question(name="credentials", seconds_quick=5, seconds_full=75, ask=ask)
