"""The usual layout, for comparison: each box has a chain and interval sets of its own. libnftables.

Twenty entries are four sets of networks: allowed and denied, IPv4 and IPv6.
"""

import time
from collections.abc import Iterator

from bench.namespace import leave
from bench.nft_text import Libnftables
from bench.twenty import twenty
from boxwall.policy import Custom

TABLE = "per_box"
_BASE = f"""
add table inet {TABLE}
add map inet {TABLE} boxes {{ type ifname : verdict; }}
add chain inet {TABLE} forward {{ type filter hook forward priority 0; policy accept; }}
add rule inet {TABLE} forward iifname vmap @boxes
"""


class PerBox:
    """Runs in a process and a network namespace of its own."""

    def __init__(self) -> None:
        leave()
        self._library = Libnftables()
        self._boxes = 0
        self._count = 0
        self._held: dict[int, Custom] = {}

    async def install(self, boxes: int) -> None:
        """Make everything in one transaction."""
        lines = [_BASE]
        for box in range(boxes):
            self._held[box] = twenty(box, 0)
            lines += _made(box, self._held[box])
        self._library.run("\n".join([*lines, ""]).encode())
        self._boxes = boxes

    async def update(self, count: int) -> list[float]:
        """Change half of the entries of a box, again and again; return the seconds of each."""
        return [self._update() for _ in range(count)]

    def _update(self) -> float:
        self._count += 1
        box = self._count * 7919 % self._boxes
        before, after = _sets(self._held[box]), _sets(twenty(box, self._count))
        self._held[box] = twenty(box, self._count)
        lines = []
        for verb, one, other in (("delete", before, after), ("add", after, before)):
            for name, networks in one.items():
                differ = ", ".join(sorted(networks - other[name]))
                if differ:
                    lines.append(f"{verb} element inet {TABLE} {name}_{box} {{ {differ} }}")
        script = "\n".join([*lines, ""]).encode()
        begin = time.perf_counter()
        self._library.run(script)
        return time.perf_counter() - begin


def _sets(policy: Custom) -> dict[str, set[str]]:
    return {
        f"{name}{version}": {str(one) for one in networks if one.version == version}
        for version in (4, 6)
        for name, networks in (("allow", policy.allowed_cidrs), ("deny", policy.denied_cidrs))
    }


def _made(box: int, policy: Custom) -> Iterator[str]:
    yield f"add chain inet {TABLE} box_{box}"
    for name, networks in _sets(policy).items():
        kind = "ipv4_addr" if name.endswith("4") else "ipv6_addr"
        yield f"add set inet {TABLE} {name}_{box} {{ type {kind}; flags interval; }}"
        yield f"add element inet {TABLE} {name}_{box} {{ {', '.join(sorted(networks))} }}"
    for name, verdict in (("deny", "drop"), ("allow", "accept")):
        for family, version in (("ip", 4), ("ip6", 6)):
            match = f"{family} daddr @{name}{version}_{box}"
            yield f"add rule inet {TABLE} box_{box} {match} {verdict}"
    yield f"add rule inet {TABLE} box_{box} drop"
    yield f'add element inet {TABLE} boxes {{ "box{box}" : jump box_{box} }}'
