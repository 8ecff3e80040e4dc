"""What differs between IPv4 and IPv6 in the table. Pure."""

from dataclasses import dataclass
from typing import Final

from boxwall_agent.nft.expressions import (
    Base,
    Ct,
    Meta,
    equals,
    meta,
    payload,
    small_register,
)
from boxwall_agent.nft.objects import Field


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """IPv4 or IPv6. Offsets are octets of the network header."""

    version: int
    field: Field
    nfproto: int
    source_at: int
    destination_at: int
    ct_destination: Ct
    key_lengths: tuple[int, ...]
    """Prefix lengths that have a set; a network of another length is split into those of the
    next."""

    @property
    def suffix(self) -> str:
        """At the end of the names of sets and chains."""
        return str(self.version)

    @property
    def width(self) -> int:
        """Bits of an address."""
        return self.field.octets * 8

    @property
    def match(self) -> tuple[bytes, ...]:
        """Go on for packets of this family."""
        return meta(Meta.NFPROTO), equals(bytes((self.nfproto,)))

    def load(self, offset: int, register: int) -> bytes:
        """Load the address at `offset` into a small register."""
        return payload(Base.NETWORK, offset, self.field.octets, small_register(register))

    def packed(self, address: int) -> bytes:
        """An address as it is in packets."""
        return address.to_bytes(self.field.octets, "big")

    def mask(self, length: int) -> bytes:
        """The netmask of a prefix length."""
        return self.packed((1 << self.width) - (1 << (self.width - length)))

    def key_length(self, length: int) -> int:
        """The prefix length under which networks of `length` are kept."""
        return next(kept for kept in self.key_lengths if kept >= length)


IPV4: Final = Family(
    version=4,
    field=Field.IPV4,
    nfproto=2,
    source_at=12,
    destination_at=16,
    ct_destination=Ct.DST_IP,
    key_lengths=tuple(range(33)),
)
IPV6: Final = Family(
    version=6,
    field=Field.IPV6,
    nfproto=10,
    source_at=8,
    destination_at=24,
    ct_destination=Ct.DST_IP6,
    # Each length in use costs every new connection a look-up: 33 at most, as in IPv4. A network is
    # split into eight at worst.
    key_lengths=tuple(range(0, 129, 4)),
)
FAMILIES: Final = (IPV4, IPV6)
