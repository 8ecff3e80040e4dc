"""Sends given packets over and over, as fast as it can: a process of its own inside a box.

    python flood.py INTERFACE PAUSE

Frames come as hexadecimal lines on standard input; PAUSE is in seconds, after every ten frames.

Prints how many it sent when it gets SIGTERM.
"""

import contextlib
import itertools
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType


def main() -> None:
    """Send until told to stop."""
    pause = float(sys.argv[2])
    frames = [bytes.fromhex(line) for line in sys.stdin.read().split()]
    going = True

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal going
        going = False

    signal.signal(signal.SIGTERM, stop)
    sent = 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.bind((sys.argv[1], 0))
        print("sending", flush=True)
        for number, frame in enumerate(itertools.cycle(frames)):
            if not going:
                break
            if pause and number % 10 == 0:
                time.sleep(pause)
            with contextlib.suppress(OSError):  # the queue is full
                wire.send(frame)
                sent += 1
    print(sent)


class Flood:
    """The process, from outside. `sent` is known when the block has ended."""

    def __init__(self, namespace: str, frames: list[bytes], *, pause: float = 0) -> None:
        self._namespace = namespace
        self._frames = frames
        self._pause = pause
        self.sent = 0

    @contextlib.contextmanager
    def going(self) -> Iterator["Flood"]:
        """Send for as long as the block lasts."""
        process = subprocess.Popen(
            [
                *("ip", "netns", "exec", self._namespace, "nice", "-n", "10"),
                *(sys.executable, str(Path(__file__)), "eth0", str(self._pause)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n".join(frame.hex() for frame in self._frames))
        process.stdin.close()
        assert process.stdout.readline() == "sending\n"
        try:
            yield self
        finally:
            process.terminate()
            self.sent = int(process.stdout.read())
            process.stdout.close()
            process.wait(10)


if __name__ == "__main__":
    main()
