"""A box on a fake kernel that can be asked what it holds, and an explainer that asks it."""

import time
from collections.abc import Collection

from boxwall.policy import ALWAYS_BLOCKED, Address, Destination, Name, Policy
from boxwall.wire.entries import Entry, PolicySet
from boxwall_agent.audit import Connection
from boxwall_agent.enforcer import Enforcer
from boxwall_agent.errors import KernelError
from boxwall_agent.explainer import Explainer
from boxwall_agent.explaining import Explanation
from boxwall_agent.grants import GrantPool
from boxwall_agent.hosted import Hosted
from boxwall_agent.in_force import InForce
from boxwall_agent.leases import Lease
from boxwall_agent.nft.batch import TableFlags
from boxwall_agent.nft.naming import Naming
from boxwall_agent.ruleset import Interface
from boxwall_agent.table import Shared, Table
from boxwall_agent.wanted import after_entries
from fakes.kernel import FakeKernel, FakeSwitch

NAMING = Naming(dns_port=5300, relay_port=5301, http_ports=(80, 8080), queue=b"")


class AskedKernel(FakeKernel):
    """A kernel that can be asked."""

    fails: KernelError | None = None

    def set_names(self) -> list[str]:
        """The sets with elements: nothing else is asked for."""
        if self.fails is not None:
            raise self.fails
        return sorted({element.set for element in self.held})

    def find(self, name: str, key: bytes) -> bytes | None:
        """Look up, also in a range."""
        if name in ("blocked4", "blocked6"):
            address = Address(int(name[-1]), int.from_bytes(key, "big"))
            return b"" if any(address in one for one, _ in ALWAYS_BLOCKED) else None
        found = (one.value for one in self.held if (one.set, one.key) == (name, key))
        return next(found, None)


class AskedBox:
    """A box b1 on box1, on a fake kernel; names are enforced unless told otherwise."""

    def __init__(self, policy: Policy | None = None, *, naming: Naming | None = NAMING) -> None:
        self.kernel = AskedKernel()
        self.connections: list[Connection] = []
        self.connections_fail: KernelError | None = None
        in_force = InForce(self.kernel, Table(Shared(naming=naming)), TableFlags.NONE)
        self.enforcer = Enforcer(in_force, GrantPool(), FakeSwitch())
        self.enforcer.start([], None, leases={})
        self.enforcer.attach(
            "b1", [Interface(name="box1", index=1, addresses=(Address.parse("10.77.1.2"),))]
        )
        self.explainer = Explainer(self.enforcer, self.kernel, self._tracked, (80, 8080))
        self.revision = 0
        if policy is not None:
            self.enforce(policy)

    @property
    def hosted(self) -> Hosted:
        """The box."""
        return self.enforcer.hosted["b1"]

    def enforce(self, policy: Policy) -> None:
        """Put it in force."""
        self.revision += 1
        self.says(PolicySet(box_id="b1", uid="u1", revision=self.revision, policy=policy))

    def says(self, entry: Entry) -> None:
        """The control plane does."""
        self.enforcer.put(after_entries(self.enforcer.hosted, [entry]))

    def lease(self, name: Name, *addresses: Address) -> None:
        """A DNS answer has come."""
        around = self.enforcer.surroundings
        self.enforcer.leasing.grant(self.hosted, name, addresses, 100.0, around)

    def lease_for(self, name: Name, seconds: float, address: Address) -> Lease:
        """A DNS answer has come that holds so long, with its grace."""
        around = self.enforcer.surroundings
        end = time.monotonic() + seconds
        (lease,) = self.enforcer.leasing.grant(self.hosted, name, [address], end, around)
        return lease

    def ask(self, text: str) -> Explanation:
        """Explain."""
        return self.explainer.explain(self.hosted, Destination.parse(text))

    def _tracked(self, sources: Collection[Address]) -> list[Connection]:
        if self.connections_fail is not None:
            raise self.connections_fail
        return [one for one in self.connections if one.source in sources]
