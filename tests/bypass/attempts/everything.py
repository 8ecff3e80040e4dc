"""The catalogue, filled: importing a part is what puts its attempts in."""

from typing import Final

from attempts import (
    addresses,
    answers,
    controls,
    dns,
    fragments,
    http,
    inside,
    offload,
    opened_before,
    opening,
    partner,
    protocols,
    spoofing,
    streams,
    tls,
)
from attempts.catalogue import CATALOGUE

__all__ = ["CATALOGUE", "PARTS"]

PARTS: Final = (
    *(controls, addresses, spoofing, protocols, fragments, dns, answers, tls, opening, streams),
    *(http, partner, offload, opened_before, inside),
)
