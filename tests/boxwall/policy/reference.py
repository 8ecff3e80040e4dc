"""A second reading of what a policy means, to compare `decide` with.

Written from the rules, not from the code: plain text in, a linear scan over every entry with the
standard library's `ipaddress`, nothing built beforehand, nothing shared with the package.
"""

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

RESERVED = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "168.63.129.16/32",
    "::/96",
    "::ffff:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
]


@dataclass(frozen=True)
class Asked:
    """A destination as text; "" and 0 mean not said."""

    domain: str
    address: str
    port: int
    protocol: str
    spoofed: bool = False
    also_blocked: tuple[str, ...] = ()


def judge(document: dict[str, object], asked: Asked) -> tuple[bool, str, str]:
    """Whether it is allowed, the reason, and the text of the rule ("" if there is none)."""
    if asked.spoofed:
        return False, "SPOOFED_SOURCE", ""
    if asked.address and is_blocked(asked.address, asked.also_blocked):
        return False, "RESERVED_ADDRESS", "?"
    if document["mode"] == "deny-all":
        return False, "DENY_ALL", "deny-all"
    if document["mode"] == "allow-all":
        return True, "ALLOW_ALL", "allow-all"
    by_address = judge_by_address(document, asked.address)
    return by_address or judge_by_name(document, asked)


def judge_by_address(document: dict[str, object], address: str) -> tuple[bool, str, str] | None:
    for key, allowed, reason in (
        ("denied_cidrs", False, "DENIED_CIDR"),
        ("allowed_cidrs", True, "ALLOWED_CIDR"),
    ):
        around = [entry for entry in texts(document, key) if contains(entry, address)]
        if around:
            return allowed, reason, max(around, key=lambda entry: int(entry.split("/")[1]))
    return None


def judge_by_name(document: dict[str, object], asked: Asked) -> tuple[bool, str, str]:
    matching = [entry for entry in texts(document, "allowed_domains") if names(entry, asked.domain)]
    if matching:
        best = max(matching, key=lambda entry: (not entry.startswith("*"), len(entry)))
        if asked.protocol == "udp" and asked.port == 443:
            return False, "QUIC_BY_NAME", best
        return True, "ALLOWED_DOMAIN", best
    if document["unlisted"] == "allow":
        return True, "NOT_DENIED", "allow"
    if not asked.domain and texts(document, "allowed_domains"):
        return False, "NEEDS_NAME", "deny"
    return False, "NO_RULE", "deny"


def is_blocked(address: str, more: tuple[str, ...]) -> bool:
    outside = ":" in address and ip_address(address) not in ip_network("2000::/3")
    return outside or any(contains(entry, address) for entry in (*RESERVED, *more))


def contains(network: str, address: str) -> bool:
    return bool(address) and ip_address(address) in ip_network(network)


def names(entry: str, domain: str) -> bool:
    if entry.startswith("*."):
        wanted, given = entry.split(".")[1:], domain.split(".")
        return len(given) > len(wanted) and given[-len(wanted) :] == wanted
    return entry == domain


def texts(document: dict[str, object], key: str) -> list[str]:
    entries = document[key]
    assert isinstance(entries, list)
    return entries
