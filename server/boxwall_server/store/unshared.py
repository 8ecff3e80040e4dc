"""A store that one server uses alone: there is nobody to tell anything."""

from collections.abc import Collection, Mapping, Sequence

from boxwall_server.changes.change import Timestamp
from boxwall_server.changes.revision import Revision
from boxwall_server.enforcement import NodeKey
from boxwall_server.store.base import PeerListener
from boxwall_server.store.records import AnswerRecord, SessionId


class Unshared:
    """The part of a store that concerns other servers, when there are none."""

    is_shared = False
    is_answering = True
    """It is here, or the server would not be."""

    async def open_session(self, node: NodeKey, session: SessionId, now: Timestamp) -> None:
        """Nobody else has a session of the node."""

    async def close_session(self, session: SessionId) -> None:
        """Nothing was opened."""

    async def save_answers(
        self, answers: Collection[AnswerRecord], applied: Mapping[SessionId, Revision]
    ) -> None:
        """The ledger of the one server knows."""

    async def sessions_to_end(self) -> Mapping[SessionId, bool]:
        """The one server ends its streams itself."""
        return {}

    async def beat(self) -> bool:
        """Nobody waits for a sign of life."""
        return True

    async def tell_peers(self, notes: Sequence[bytes]) -> None:
        """Nobody is there to hear it."""

    def listen_to_peers(self, peers: PeerListener) -> None:
        """There are none."""

    async def takes_turn(self) -> bool:
        """Nobody else sweeps."""
        return True
