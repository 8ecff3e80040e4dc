"""Two whole servers over one database, on unix sockets, with clocks that stand still."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
from structlog.testing import capture_logs

from boxwall_server.app import App
from boxwall_server.metrics import Metrics
from boxwall_server.store.postgres import open_postgres
from boxwall_server.store.postgres_url import PostgresUrl
from fakes.clock import FakeClock
from fakes.service import Served, config_of


@asynccontextmanager
async def serving_twice(folder: Path, database: PostgresUrl) -> AsyncIterator[Served]:
    """Run two servers on one database: nodes talk to one of them, everybody else to the other."""
    clock = FakeClock()
    with capture_logs() as logs:
        async with AsyncExitStack() as stack:
            stores, apps, channels = [], [], []
            for name in ("s", "front"):
                stores.append(await open_postgres(database))
                stack.push_async_callback(stores[-1].close)
                apps.append(App(stores[-1], config_of(folder, name), clock, Metrics()))
            served = Served(apps[0], stores[0], clock, logs, front=apps[1])
            served.listen(stores[1], apps[1].hub)
            for app in apps:
                await app.start()
                stack.push_async_callback(app.stop)
                channel = grpc.aio.insecure_channel(str(app.address))
                channels.append(await stack.enter_async_context(channel))
            served.connect(*channels)
            async with asyncio.TaskGroup() as tasks:
                runs = [run for app in apps for run in (app.peers.run, app.exchange.run)]
                chores = [tasks.create_task(run()) for run in runs]
                yield served
                for chore in chores:
                    chore.cancel()
