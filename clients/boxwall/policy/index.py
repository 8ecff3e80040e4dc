"""The lists of a custom policy, arranged for look-ups that do not slow down as the lists grow."""

from collections.abc import Sequence

from boxwall.policy.addresses import Network, NetworkTable
from boxwall.policy.names import DomainPattern, Name
from boxwall.policy.verdict import Rule, RuleList


class PolicyIndex:
    """Exact names and wildcard suffixes in hash tables, networks in interval tables.

    For `api.github.com` and `*.github.com`, `b.a.github.com` is looked for among the exact names,
    then `a.github.com`, `github.com` and `com` among the suffixes: as many look-ups as the name has
    labels, however many entries there are.
    """

    __slots__ = ("_exact", "_suffixes", "allowed", "denied", "has_domains")

    def __init__(
        self,
        allowed_domains: Sequence[DomainPattern],
        allowed_cidrs: Sequence[Network],
        denied_cidrs: Sequence[Network],
    ) -> None:
        self._exact: dict[str, tuple[DomainPattern, Rule]] = {}
        self._suffixes: dict[str, tuple[DomainPattern, Rule]] = {}
        for pattern in allowed_domains:
            rules = self._suffixes if pattern.is_wildcard else self._exact
            rules[pattern.apex] = pattern, Rule(RuleList.ALLOWED_DOMAINS, pattern.text)
        self.has_domains = bool(allowed_domains)
        self.allowed = _table(RuleList.ALLOWED_CIDRS, allowed_cidrs)
        self.denied = _table(RuleList.DENIED_CIDRS, denied_cidrs)

    def find_domain(self, name: Name) -> tuple[DomainPattern, Rule] | None:
        """The most specific entry that matches: the exact one, else the longest wildcard."""
        text = name.text
        found = self._exact.get(text)
        if found is not None or not self._suffixes:
            return found
        dot = text.find(".")
        while dot >= 0:
            found = self._suffixes.get(text[dot + 1 :])
            if found is not None:
                return found
            dot = text.find(".", dot + 1)
        return None


def _table(rule_list: RuleList, networks: Sequence[Network]) -> NetworkTable[Rule]:
    return NetworkTable((network, Rule(rule_list, str(network))) for network in networks)
