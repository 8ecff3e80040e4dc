"""Several servers on one database, each a process of its own with a port that it keeps."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from boxwall_server.store.postgres_url import PostgresUrl
from fakes.server_process import ServerProcess


class ServerProcesses:
    """They are started by whoever uses them."""

    def __init__(self, folder: Path, url: PostgresUrl, count: int) -> None:
        self.url = url
        self.servers = []
        for number in range(count):
            (folder / str(number)).mkdir()
            with socket.create_server(("127.0.0.1", 0)) as free:
                listen = f"127.0.0.1:{free.getsockname()[1]}"
            self.servers.append(ServerProcess(folder / str(number), listen, url.text))

    @property
    def addresses(self) -> str:
        """What clients connect to."""
        return ",".join(server.target for server in self.servers)

    @property
    def logs(self) -> str:
        """All that the servers have said."""
        return "".join(server.log.read_text() for server in self.servers)

    def close(self) -> None:
        """Leave nothing running."""
        for server in self.servers:
            server.close()


@asynccontextmanager
async def channel_to(target: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel that goes to each address in turn, and comes back soon to those that were away."""
    options = [
        ("grpc.service_config", '{"loadBalancingConfig":[{"round_robin":{}}]}'),
        ("grpc.initial_reconnect_backoff_ms", 20),
        ("grpc.max_reconnect_backoff_ms", 50),
        # Else the channels of one process to one address share a connection, and their fate.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        yield channel
