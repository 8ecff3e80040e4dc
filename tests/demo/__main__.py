"""`make demo`: an internet in namespaces, a box, and a policy that changes five times.

Needs root on Linux, and no internet. Everything it makes goes away with it, also by Ctrl-C. Exit
status 0: all came as it has to; 1: something did not; 2: it cannot run here; 130: interrupted.
"""

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final

from rich.console import Console

from boxwall import Box, Client
from demo.play import BOX, Player, listening
from demo.probe import probing
from demo.screens import Lines, LiveTables
from demo.story import API, EVIL, SHARED
from lab.network import Box as LabBox
from lab.network import Lab
from lab.world import World

INTERRUPTED: Final = 130
_ENDINGS: Final = (signal.SIGINT, signal.SIGTERM)


def main() -> int:
    """Return the exit status."""
    lack = why_not()
    if lack:
        print(f"the demonstration {lack}", file=sys.stderr)
        return 2
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--pause", type=float, help="seconds after each policy")
    arguments = parser.parse_args()
    console = Console()
    screen = LiveTables(console) if console.is_terminal else Lines(console)
    pause = arguments.pause if arguments.pause is not None else 2.0 * console.is_terminal
    endings = Endings()
    with endings.noted():
        surprises = _run(screen, pause, endings)
    if endings.came:
        print("interrupted; everything was removed", file=sys.stderr)
        return INTERRUPTED
    console.print(
        "everything came as it has to" if not surprises else f"{surprises} surprises",
        style="bold",
        highlight=False,
    )
    return 1 if surprises else 0


def why_not() -> str:
    """Why it cannot run here; empty: it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux: it makes network namespaces and nftables rules"
    if shutil.which("ip") is None:
        return "needs `ip`; on Debian it is in the package iproute2"
    return ""


class Endings:
    """Signals that end a program, noted: nothing is left half made."""

    def __init__(self) -> None:
        self.came = False
        self.on_coming: Callable[[], object] = lambda: None
        """Called, in the main thread, when one comes."""

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note them."""
        before = {one: signal.signal(one, self._note) for one in _ENDINGS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        self.on_coming()


def _run(screen: Lines | LiveTables, pause: float, endings: Endings) -> int:
    """Make everything, play, remove everything. Returns how much was not as it has to be."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="boxwall-demo-")))
        try:
            lab = stack.enter_context(Lab())
            world = World(lab, folder)
            stack.callback(world.close)
            world.names.zone = {API: [SHARED], EVIL: [SHARED], "*.cdn.example.com": ["6.6.6.6"]}
            box = world.box(BOX)
        except AssertionError:
            if not endings.came:  # Ctrl-C ends what was started too
                raise
        return 0 if endings.came else asyncio.run(_play(world, box, screen, pause, endings))


async def _play(
    world: World, box: LabBox, screen: Lines | LiveTables, pause: float, endings: Endings
) -> int:
    playing = asyncio.current_task()
    assert playing is not None
    loop = asyncio.get_running_loop()

    endings.on_coming = partial(loop.call_soon_threadsafe, playing.cancel)
    try:
        return await _played(world, box, screen, pause)
    except (asyncio.CancelledError, Exception):
        if not endings.came:
            raise
        return 0
    finally:
        endings.on_coming = lambda: None


async def _played(world: World, box: LabBox, screen: Lines | LiveTables, pause: float) -> int:
    command = world.command_inside(box)
    async with (
        Client(world.server.target, environ={}) as client,
        probing(command, world.web.authority) as probe,
        listening(await Box.get(BOX, client=client)) as heard,
    ):
        player = Player(await Box.get(BOX, client=client), probe, heard, screen.tell)
        with screen.shown():
            await player.play(pause)
        return player.surprises


if __name__ == "__main__":
    sys.exit(main())
