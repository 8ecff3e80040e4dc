"""`python -m bench.actor MODULE:CLASS`: hosts one object, and runs its methods for the parent.

Lines of JSON come in on standard input and go out on standard output. The end of the input is the
end of the process: an actor never outlives its parent.
"""

import asyncio
import importlib
import json
import os
import sys
import traceback
from typing import Any

LINE_BYTES = 64 * 1024 * 1024


async def host(name: str) -> None:
    """Serve the parent until it closes its side."""
    module, _, cls = name.partition(":")
    actor = getattr(importlib.import_module(module), cls)()
    requests = asyncio.StreamReader(limit=LINE_BYTES)
    protocol = asyncio.StreamReaderProtocol(requests)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    running: set[asyncio.Task[None]] = set()
    while line := await requests.readline():
        task = asyncio.create_task(_answer(actor, json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)


async def _answer(actor: object, request: dict[str, Any]) -> None:
    answer: dict[str, object] = {"number": request["number"]}
    try:
        answer["result"] = await getattr(actor, request["method"])(**request["arguments"])
    except Exception as exc:  # noqa: BLE001  # the parent is told, whatever it was
        where = traceback.extract_tb(exc.__traceback__)[-1]
        answer["error"] = f"{request['method']}: {type(exc).__name__} in {where.name}: {exc}"[:2000]
        traceback.print_exc()
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    loop = asyncio.new_event_loop()
    loop.run_until_complete(host(sys.argv[1]))
    os._exit(0)  # thousands of open streams need no good end
