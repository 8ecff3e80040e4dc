"""The table names nothing that it does not have, and lets nothing pass that was not meant."""

from collections.abc import Iterator
from itertools import pairwise

import pytest

from boxwall.policy import Network
from boxwall_agent.netlink import iterate_attributes, read_attributes, read_text
from boxwall_agent.nft import layout
from boxwall_agent.nft.expressions import Verdict, matches_program, queue, verdict
from boxwall_agent.nft.family import FAMILIES, IPV4, IPV6, Family
from boxwall_agent.nft.layout import PerBox
from boxwall_agent.nft.naming import QUEUE, Naming
from boxwall_agent.nft.objects import Element, RangeEnd, Rule

WITH_NAMES = Naming(dns_port=8053, relay_port=8080, http_ports=(80, 8080), queue=queue(QUEUE))
NAMINGS = pytest.mark.parametrize("naming", [None, WITH_NAMES], ids=["no names", "names"])
SETS = {made.name: made for made in layout.sets(PerBox())}
CHAINS = {chain.name: chain for chain in layout.chains()}


def read(rule: Rule) -> Iterator[tuple[str, dict[int, bytes]]]:
    """The expressions of a rule, by name and attributes."""
    for expression in rule.expressions:
        found = dict(iterate_attributes(expression))
        yield read_text(found[1]), read_attributes(found.get(2, b""))


def verdicts(rule: Rule) -> list[tuple[int, str]]:
    """What a rule ends in: code, and chain."""
    found = []
    for name, attributes in read(rule):
        if name == "immediate" and int.from_bytes(attributes[1], "big") == 0:
            code = read_attributes(read_attributes(attributes[2])[2])
            number = int.from_bytes(code[1], "big", signed=True)
            found.append((number, read_text(code.get(2, b""))))
    return found


@NAMINGS
def test_every_chain_and_set_that_a_rule_names_is_there(naming: Naming | None) -> None:
    for rule in layout.rules(naming):
        assert rule.chain in CHAINS
        assert all(chain in CHAINS for code, chain in verdicts(rule) if chain), rule
        for name, attributes in read(rule):
            if name == "lookup":
                assert read_text(attributes[1]) in SETS, rule


@NAMINGS
def test_a_map_is_looked_up_for_its_value_and_a_set_for_itself(naming: Naming | None) -> None:
    for rule in layout.rules(naming):
        for name, attributes in read(rule):
            if name == "lookup":
                made = SETS[read_text(attributes[1])]
                assert 3 not in attributes or made.value is not None, rule


@NAMINGS
def test_no_chain_that_is_jumped_to_leads_back_to_itself(naming: Naming | None) -> None:
    """The kernel refuses loops; so no packet goes round."""
    leads: dict[str, set[str]] = {}
    for rule in layout.rules(naming):
        leads.setdefault(rule.chain, set()).update(chain for _, chain in verdicts(rule) if chain)

    def walk(chain: str, path: tuple[str, ...]) -> None:
        assert chain not in path, path
        for one in leads.get(chain, ()):
            walk(one, (*path, chain))

    for chain in CHAINS:
        walk(chain, ())


@NAMINGS
@pytest.mark.parametrize(
    "chain",
    [
        *("from_box", "to_node", "to_box", "answers", "named", "named_answer", "inspect"),
        *("inspect_answer", "verdict", "refuse", "refuse_in", "refuse_spoofed"),
    ],
)
def test_what_no_rule_lets_through_is_refused(naming: Naming | None, chain: str) -> None:
    """The last rule of each such chain ends it, and lets nothing pass."""
    last = [rule for rule in layout.rules(naming) if rule.chain == chain][-1]
    ends = verdicts(last)
    if not ends:
        assert [name for name, _ in read(last)][-1] == "reject"
        return
    ((code, target),) = ends
    assert code in (Verdict.DROP, Verdict.GOTO)
    assert code == Verdict.DROP or target in CHAINS
    unconditional = {"immediate", "meta"} if chain == "verdict" else {"immediate"}
    assert {name for name, _ in read(last)} <= unconditional


def test_without_names_nothing_is_queued_translated_or_relayed() -> None:
    names = {name for rule in layout.rules(None) for name, _ in read(rule)}
    assert not names & {"queue", "target", "nat"}
    with_names = {name for rule in layout.rules(WITH_NAMES) for name, _ in read(rule)}
    assert {"queue", "nat"} <= with_names


@NAMINGS
def test_what_would_be_another_packet_is_dropped_before_anything_is_looked_at(
    naming: Naming | None,
) -> None:
    displaced = matches_program(3)
    first, *rest = layout.rules(naming, displaced)

    assert rest == list(layout.rules(naming))
    assert first.chain == "prerouting"
    assert first.expressions[0] == displaced
    assert verdicts(first) == [(Verdict.GOTO, "discard")]


def test_with_names_there_are_only_more_rules() -> None:
    without, with_names = list(layout.rules(None)), list(layout.rules(WITH_NAMES))
    rest = iter(with_names)
    assert all(rule in rest for rule in without), "in the same order"
    assert len(with_names) > len(without)


def test_the_queue_is_followed_by_a_drop() -> None:
    """Without a listener the kernel drops; a listener that accepts does not come back here."""
    rules = list(layout.rules(WITH_NAMES))
    drops = {
        "inspect": verdict(Verdict.GOTO, "discard"),
        "inspect_answer": verdict(Verdict.GOTO, "discard_in"),
    }
    followed = [
        following for rule, following in pairwise(rules) if rule.expressions[-1] == WITH_NAMES.queue
    ]
    assert followed == [Rule(chain, (drop,)) for chain, drop in drops.items()]
    for chain in ("discard", "discard_in"):
        assert [rule for rule in rules if rule.chain == chain][-1].expressions == (
            verdict(Verdict.DROP),
        )


@pytest.mark.parametrize("family", FAMILIES, ids=["IPv4", "IPv6"])
def test_the_rules_of_a_prefix_length_use_its_sets(family: Family) -> None:
    for length in (0, family.key_lengths[2], family.width):
        made = {one.name: one for one in layout.length_sets(family, length)}
        used = set()
        for rule in layout.length_rules(family, length):
            assert rule.chain in CHAINS
            expressions = list(read(rule))
            used |= {read_text(one[1]) for name, one in expressions if name == "lookup"}
            has_mask = "bitwise" in [name for name, _ in expressions]
            assert has_mask == (length != family.width)
        assert used == set(made)


@pytest.mark.parametrize(
    ("family", "length", "mask"),
    [
        (IPV4, 0, "00000000"),
        (IPV4, 12, "fff00000"),
        (IPV4, 32, "ffffffff"),
        (IPV6, 4, "f0" + "00" * 15),
        (IPV6, 128, "ff" * 16),
    ],
)
def test_masks_are_those_of_prefix_lengths(family: Family, length: int, mask: str) -> None:
    assert family.mask(length).hex() == mask


def test_ipv6_has_a_set_for_every_fourth_length() -> None:
    assert [IPV6.key_length(length) for length in (0, 1, 4, 5, 29, 32, 127, 128)] == [
        *(0, 4, 4, 8, 32, 32, 128, 128),
    ]
    assert [IPV4.key_length(length) for length in (0, 1, 31, 32)] == [0, 1, 31, 32]


def test_ranges_that_overlap_or_touch_are_joined() -> None:
    networks = map(
        Network.parse,
        ("10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8", "13.0.0.0/8", "255.255.255.255/32", "ff00::/8"),
    )
    assert list(layout.ranges("blocked", networks)) == [
        Element("blocked4", bytes((10, 0, 0, 0))),
        RangeEnd("blocked4", bytes((12, 0, 0, 0))),
        Element("blocked4", bytes((13, 0, 0, 0))),
        RangeEnd("blocked4", bytes((14, 0, 0, 0))),
        Element("blocked4", b"\xff\xff\xff\xff"),
        Element("blocked6", b"\xff" + bytes(15)),
    ]
