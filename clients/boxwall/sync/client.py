"""A blocking connection to one control plane."""

from types import TracebackType
from typing import Self

from boxwall.sdk import client as async_client
from boxwall.sdk import nodes as async_nodes
from boxwall.sdk.client import DEFAULT_RETRIES, DEFAULT_TIMEOUT
from boxwall.sdk.values import Node
from boxwall.sync.iterate import Pages
from boxwall.sync.loop_thread import LoopThread, default_thread


class Client:
    """As `boxwall.Client`, blocking. It starts a thread; close it, or use it as a context:

    `with Client("localhost:50051") as client:` and in it `Box.get("b1", client=client)`
    """

    def __init__(
        self,
        server: str | None = None,
        token: str | None = None,
        ca: str | None = None,
        *,
        cert: str | None = None,
        key: str | None = None,
        token_file: str | None = None,
        tenant: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retries: int = DEFAULT_RETRIES,
    ) -> None:
        self._async = async_client.Client(
            server,
            token,
            ca,
            cert=cert,
            key=key,
            token_file=token_file,
            tenant=tenant,
            timeout=timeout,
            retries=retries,
        )
        self._thread = LoopThread()

    @property
    def server(self) -> str:
        """Where this client connects to."""
        return self._async.server

    @property
    def nodes(self) -> "Nodes":
        """Nodes, for operators."""
        return Nodes(self._thread, self._async.nodes)

    def is_serving(self, *, timeout: float | None = None) -> bool:
        """Return whether the server says that it is healthy. Raises Unavailable if it is silent."""
        return self._thread.run(self._async.is_serving(timeout=timeout))

    def close(self) -> None:
        """Close the connection and end the thread. Closing again does nothing."""
        self._thread.close_after(self._async.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"sync.Client({self.server!r})"

    @staticmethod
    def parts_of(client: "Client | None") -> tuple[LoopThread, async_client.Client | None]:
        """For the other modules: the thread to run on, and the client (None: the default)."""
        return (default_thread(), None) if client is None else (client._thread, client._async)


class Nodes:
    """The nodes that one control plane knows. As `boxwall.Client.nodes`, blocking."""

    def __init__(self, thread: LoopThread, nodes: async_nodes.Nodes) -> None:
        """For the SDK itself."""
        self._thread = thread
        self._async = nodes

    def list(self) -> Pages[Node, Node]:
        """Return the nodes, ordered by id."""
        return Pages(self._thread, self._async.list(), lambda node: node)

    def get(self, node_id: str) -> Node:
        """Return one node. Raises NodeNotFound."""
        return self._thread.run(self._async.get(node_id))

    def fence(self, node_id: str, *, reason: str = "") -> Node:
        """Shut a node out: it denies everything if it can still be told, and no longer counts."""
        return self._thread.run(self._async.fence(node_id, reason=reason))

    def unfence(self, node_id: str) -> Node:
        """Let a node in again."""
        return self._thread.run(self._async.unfence(node_id))

    def forget(self, node_id: str) -> int:
        """Forget a node that is gone for good; return how many attachments went with it."""
        return self._thread.run(self._async.forget(node_id))
