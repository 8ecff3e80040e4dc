"""Which policy does the kernel hold for a box? A number for all that went into its rules. Pure.

The map `seals` has it, for each interface of a box, for as long as a policy is in force there. What
is closed has none, so that closing only takes away. An agent that starts finds

    the seal of what it remembers   that very policy: connections keep their grants
    another                         it was to put in force what it remembers, and ended before it
                                    did: it does so now, and every connection is judged again
    none                            the box was closed, for whatever reason, and stays closed until
                                    the control plane says otherwise
"""

import hashlib
from typing import Final

from boxwall.policy import ALWAYS_BLOCKED
from boxwall.wire.policies import policy_to_bytes
from boxwall_agent.hosted import Hosted
from boxwall_agent.table import Shared

_OCTETS: Final = 4
"""A value that nft shows as a mark."""


class Seals:
    """Makes seals; `shared` is part of them: what is blocked besides, a policy does not allow."""

    def __init__(self, shared: Shared) -> None:
        ranges = [*(network for network, _ in ALWAYS_BLOCKED), *shared.blocked]
        named = sorted(map(str, shared.named_addresses))
        self._blocked = " ".join((*map(str, ranges), *named)).encode()

    def of(self, hosted: Hosted) -> bytes:
        """The seal of a box that has a policy."""
        assert hosted.policy is not None
        parts = (
            hosted.uid.encode(),
            str(hosted.revision).encode(),
            policy_to_bytes(hosted.policy),
            self._blocked,
        )
        whole = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hashlib.blake2b(whole, digest_size=_OCTETS).digest()
