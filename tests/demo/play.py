"""Plays the story: changes the policy, tries the targets, and tells what came of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from boxwall import Box, Refusal
from demo.events import Began, Event, GoesOn, Stopped, Tried
from demo.probe import Probe
from demo.story import STORY, TARGETS, Step, Target

BOX: Final = "demo"
PATIENCE: Final = 5.0
"""Seconds in which a download that is cut must end, and a refusal be told."""

LOOK: Final = 0.3
"""Seconds for which a download that goes on is looked at."""


class Heard:
    """What the node refused to the box, as the control plane tells it."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._refusals: list[Refusal] = []
        self._more = asyncio.Event()

    async def listen(self) -> None:
        """Until cancelled."""
        async for refusal in self._box.refusals():
            self._refusals.append(refusal)
            self._more.set()

    async def find(self, target: Target, revision: int) -> Refusal | None:
        """Return the newest refusal of a target under a policy; wait for one. None: none came."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    self._more.clear()
                    for one in reversed(self._refusals):
                        if one.policy_revision == revision and target.is_meant_by(one):
                            return one
                    await self._more.wait()
        except TimeoutError:
            return None


@asynccontextmanager
async def listening(box: Box) -> AsyncIterator[Heard]:
    """Hear what is refused, for as long as the context lasts."""
    heard = Heard(box)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(heard.listen())
        yield heard
        task.cancel()


class Player:
    """Plays on one box."""

    def __init__(self, box: Box, probe: Probe, heard: Heard, tell: Callable[[Event], None]) -> None:
        self._box = box
        self._probe = probe
        self._heard = heard
        self._tell = tell
        self._running: list[str] = []
        self.surprises = 0

    async def play(self, pause: float, story: Sequence[Step] = STORY) -> None:
        """Play it all; `pause`: seconds after each step, for people."""
        for number, step in enumerate(story, 1):
            began = time.monotonic()
            await self._box.update_network_policy(step.policy)
            returned = time.monotonic()
            revision = self._box.policy_revision
            took = (returned - began) * 1000
            self._tell(Began(number, len(story), step, revision, took))
            for name in step.stops:
                await self._look_for_the_end(name, returned)
            await self._try_all(step, revision)
            for name in self._running:
                await self._look_on(name)
            for name in step.starts:
                self._probe.download(name)
                self._running.append(name)
                await self._look_on(name)
            await asyncio.sleep(pause)

    async def _try_all(self, step: Step, revision: int) -> None:
        pairs = zip(TARGETS, step.reasons, strict=True)
        async for reached, milliseconds in self._probe.attempts(TARGETS):
            target, reason = next(pairs)
            refusal = None
            if not reached:
                refusal = await self._heard.find(target, revision)
            found = None if refusal is None else refusal.reason
            is_expected = reached == (reason is None) and found is reason
            self.surprises += not is_expected
            self._tell(Tried(target, reached, milliseconds, refusal, is_expected))

    async def _look_for_the_end(self, name: str, returned: float) -> None:
        ended = await self._probe.ended(name, PATIENCE)
        if ended is None:
            self.surprises += 1
            self._tell(Stopped(name, None, 0, is_expected=False))
            return
        self._running.remove(name)
        milliseconds = (ended.last - returned) * 1000
        self._tell(Stopped(name, milliseconds, ended.octets, is_expected=True))

    async def _look_on(self, name: str) -> None:
        before = (await self._probe.downloads()).get(name, 0)
        await asyncio.sleep(LOOK)
        more = (await self._probe.downloads()).get(name, 0) - before
        self.surprises += more <= 0
        self._tell(GoesOn(name, more, is_expected=more > 0))
