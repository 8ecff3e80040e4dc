"""A transaction is, byte for byte, what the `nft` binary sends for the same statements.

`captured.txt` says what it sent. Where ours says more or less, the test says what and why.
"""

import struct

import pytest

from boxwall_agent.netlink import be32, nested
from boxwall_agent.nft.batch import OUR_MARK, Batch, TableFlags
from boxwall_agent.nft.expressions import (
    Verdict,
    above_limit,
    counter,
    host32,
    limit,
    verdict,
)
from boxwall_agent.nft.objects import (
    Chain,
    Element,
    Field,
    Hook,
    HookPoint,
    RangeEnd,
    Rule,
    Set,
)
from fakes.captured_netlink import Left, captured

INDEX = Field.INTERFACE_INDEX
SET_ID_OF_ELEMENTS: Left = ("message", 4)
"""NFTA_SET_ELEM_LIST_SET_ID: the name is enough."""

MERGE: Left = ("element", 6)
"""NFTA_SET_ELEM_USERDATA: what nft remembers about how a range was written."""


def only_message(batch: Batch) -> bytes:
    """The attributes of the one thing to do."""
    (body,) = messages(batch)
    return body


def messages(batch: Batch) -> list[bytes]:
    """The attributes of each message between begin and end."""
    data = batch.encode(1).data
    found = []
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("=I", data, at)
        found.append(data[at + 20 : at + size])
        at += size
    return found[1:-1]


def assert_sent(batch: Batch, expected: bytes) -> None:
    """Compare as hex, which can be read when it fails."""
    assert only_message(batch).hex(" ", 4) == expected.hex(" ", 4)


def test_a_table_says_that_it_is_ours() -> None:
    batch = Batch()
    batch.add_table()
    assert_sent(
        batch,
        captured('add table inet boxwall { comment "Boxwall; made and kept by its agent"; }'),
    )
    assert OUR_MARK in only_message(batch)


def test_a_table_has_an_owner_and_outlives_it() -> None:
    """NFT_TABLE_F_OWNER is 2, NFT_TABLE_F_PERSIST 4; nft 1.0.6 knows neither."""
    batch = Batch()
    batch.add_table(TableFlags.OWNER | TableFlags.PERSIST)
    assert only_message(batch)[12:20] == b"\x08\0\x02\0\0\0\0\x06"


@pytest.mark.parametrize(
    ("statement", "made"),
    [
        ("names { type ifname; }", Set(name="names", key=(Field.INTERFACE_NAME,))),
        ("box6 { type ipv6_addr; }", Set(name="box6", key=(Field.IPV6,))),
        (
            "blocked4 { type ipv4_addr; flags interval; }",
            Set(name="blocked4", key=(Field.IPV4,), is_interval=True),
        ),
        (
            "records { type iface_index; limit rate 20/second burst 20 packets; }",
            Set(name="records", key=(INDEX,), per_element=(limit(20, 20),)),
        ),
        (
            "too_fast { type iface_index; limit rate over 2000/second burst 1000 packets; }",
            Set(name="too_fast", key=(INDEX,), per_element=(above_limit(2000, 1000),)),
        ),
        (
            "refused { type iface_index; counter; }",
            Set(name="refused", key=(INDEX,), per_element=(counter(),)),
        ),
    ],
    ids=["names", "addresses", "ranges", "rates", "rates above", "counters"],
)
def test_a_set_is_what_nft_sends(statement: str, made: Set) -> None:
    batch = Batch()
    batch.add_set(made)
    assert_sent(batch, captured(f"add set inet boxwall {statement}"))


@pytest.mark.parametrize(
    ("statement", "made"),
    [
        (
            "grants { type iface_index : mark; }",
            Set(name="grants", key=(INDEX,), value=Field.MARK),
        ),
        (
            "agent4 { type nf_proto : ipv4_addr; }",
            Set(name="agent4", key=(Field.PROTOCOL_FAMILY,), value=Field.IPV4),
        ),
    ],
    ids=["grants", "addresses"],
)
def test_a_map_is_what_nft_sends_but_for_what_only_nft_reads(statement: str, made: Set) -> None:
    """nft keeps more user data (NFTA_SET_USERDATA): how to merge elements, which ours are not."""
    batch = Batch()
    batch.add_set(made)
    sent = captured(f"add map inet boxwall {statement}", ("message", 13))
    assert only_message(batch)[: len(sent)].hex(" ", 4) == sent.hex(" ", 4)
    key_order = 1 if made.key[0].is_host_order else 2
    value_order = 2 if made.value is Field.IPV4 else 1
    user_data = struct.pack("<BBIBBI", 0, 4, key_order, 1, 4, value_order)
    assert only_message(batch)[len(sent) :] == b"\x10\0\x0d\0" + user_data


@pytest.mark.parametrize(
    ("statement", "made"),
    [
        ("set inet boxwall live { type iface_index . mark; }", (INDEX, Field.MARK)),
        ("map inet boxwall allow4 { type iface_index . ipv4_addr : mark; }", (INDEX, Field.IPV4)),
        ("map inet boxwall allow6 { type iface_index . ipv6_addr : mark; }", (INDEX, Field.IPV6)),
    ],
    ids=["live", "IPv4", "IPv6"],
)
def test_a_longer_key_is_described_by_its_parts(statement: str, made: tuple[Field, ...]) -> None:
    """nft 1.0.6 describes the parts of a key only where there are ranges, as in the set `ranges`:
    the flag NFT_SET_CONCAT (0x80), and NFTA_SET_DESC before the user data.
    """
    of_ranges = captured(
        "add set inet boxwall ranges { type iface_index . ipv4_addr; flags interval; }"
    )
    described = of_ranges[of_ranges.index(b"\x20\0\x09\x80") :][:32]
    batch = Batch()
    is_map = statement.startswith("map")
    name = statement.split()[3]
    batch.add_set(Set(name=name, key=made, value=Field.MARK if is_map else None))
    plain = captured(f"add {statement}", ("message", 13))
    flags = 0x08 if is_map else 0
    expected = plain.replace(be32(3, flags), be32(3, flags | 0x80))
    sizes = described[:-4] + struct.pack(">I", made[1].octets)
    assert only_message(batch)[: len(expected) + 32].hex(" ", 4) == (expected + sizes).hex(" ", 4)


def test_several_expressions_of_an_element_are_a_list() -> None:
    """NFTA_SET_EXPR (17) holds one; NFTA_SET_EXPRESSIONS (18) a list of NFTA_LIST_ELEM (1)."""
    batch = Batch()
    batch.add_set(Set(name="s", key=(INDEX,), per_element=(counter(), limit(1, 2))))
    assert only_message(batch).endswith(nested(18, nested(1, counter()), nested(1, limit(1, 2))))


def test_sets_of_a_transaction_have_ids_of_their_own() -> None:
    batch = Batch()
    for name in ("a", "b"):
        batch.add_set(Set(name=name, key=(INDEX,)))
    assert [be32(10, number) in body for number, body in enumerate(messages(batch), 1)] == [
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("statement", "hook"),
    [
        ("other", None),
        (
            "forward { type filter hook forward priority -10; policy accept; }",
            Hook(point=HookPoint.FORWARD, priority=-10),
        ),
        (
            "closed { type filter hook input priority -300; policy drop; }",
            Hook(point=HookPoint.INPUT, priority=-300, drops_by_default=True),
        ),
        (
            "to_agent { type nat hook prerouting priority -189; policy accept; }",
            Hook(point=HookPoint.PREROUTING, priority=-189, kind="nat"),
        ),
        (
            "untracked { type filter hook output priority -300; policy accept; }",
            Hook(point=HookPoint.OUTPUT, priority=-300),
        ),
        (
            "leaving { type nat hook postrouting priority 100; policy accept; }",
            Hook(point=HookPoint.POSTROUTING, priority=100, kind="nat"),
        ),
    ],
    ids=["no hook", "forward", "input, drops", "prerouting, nat", "output", "postrouting, nat"],
)
def test_a_chain_is_what_nft_sends(statement: str, hook: Hook | None) -> None:
    batch = Batch()
    batch.add_chain(Chain(name=statement.partition(" ")[0], hook=hook))
    assert_sent(batch, captured(f"add chain inet boxwall {statement}"))


def test_a_rule_is_what_nft_sends_with_its_comment() -> None:
    batch = Batch()
    batch.add_rule(Rule("forward", (verdict(Verdict.ACCEPT),), "why"))
    assert_sent(batch, captured('add rule inet boxwall forward accept comment "why"'))


def test_a_comment_is_cut_to_what_nft_shows() -> None:
    batch = Batch()
    batch.add_rule(Rule("forward", (), "é" + "x" * 300))
    assert only_message(batch).endswith(b"\0\x79?" + b"x" * 119 + b"\0" + b"\0")


@pytest.mark.parametrize(
    ("statement", "elements"),
    [
        ('names { "bwv1" }', [Element("names", b"bwv1".ljust(16, b"\0"))]),
        ("live { 7 . 0x5 }", [Element("live", host32(7) + host32(5))]),
        ("box6 { 2600::1 }", [Element("box6", b"\x26" + bytes(14) + b"\x01")]),
        ("grants { 7 : 0x5 }", [Element("grants", host32(7), host32(5))]),
        (
            "allow4 { 7 . 104.16.0.0 : 0x5 }",
            [Element("allow4", host32(7) + bytes((104, 16, 0, 0)), host32(5))],
        ),
        (
            "allow6 { 7 . 2600:: : 0xffffff, 8 . 2600:: : 0x6 }",
            [
                Element("allow6", host32(7) + b"\x26" + bytes(15), host32(0xFFFFFF)),
                Element("allow6", host32(8) + b"\x26" + bytes(15), host32(6)),
            ],
        ),
        (
            "blocked4 { 172.16.0.0/12 }",
            [
                Element("blocked4", bytes((172, 16, 0, 0))),
                RangeEnd("blocked4", bytes((172, 32, 0, 0))),
            ],
        ),
        ("blocked4 { 240.0.0.0/4 }", [Element("blocked4", bytes((240, 0, 0, 0)))]),
    ],
    ids=[
        *("a name", "two numbers", "an address", "a value", "IPv4", "IPv6, two of them"),
        *("a range", "a range to the last address"),
    ],
)
def test_elements_are_what_nft_sends(statement: str, elements: list[Element | RangeEnd]) -> None:
    batch = Batch()
    batch.add_elements(elements)
    sent = captured(f"add element inet boxwall {statement}", SET_ID_OF_ELEMENTS, MERGE)
    assert_sent(batch, sent)


def test_an_element_that_goes_is_what_nft_sends() -> None:
    batch = Batch()
    batch.delete_elements([Element("box6", b"\x26" + bytes(14) + b"\x01")])
    assert_sent(batch, captured("delete element inet boxwall box6 { 2600::1 }"))


def test_a_table_that_goes_is_what_nft_sends() -> None:
    batch = Batch()
    batch.delete_table()
    assert_sent(batch, captured("delete table inet boxwall"))


def test_more_elements_than_a_message_holds_are_several_messages() -> None:
    """The length of an attribute has 16 bits."""
    elements = [Element("live", host32(number) + host32(number)) for number in range(5000)]
    batch = Batch()
    batch.add_elements([*elements, Element("own4", host32(1) + b"abcd")])
    found = messages(batch)
    lists = [body[body.index(b"\x03\x80") - 2 :] for body in found]
    assert all(struct.unpack_from("=H", one)[0] == len(one) for one in lists)
    assert sum(one.count(b"\x0c\0\x01\0") for one in lists) == 5001
    assert len(found) == -(-5000 * 20 // 48_000) + 1


# Headers -----------------------------------------------------------------------------------------
# struct nlmsghdr: length, type, flags, sequence number, port. struct nfgenmsg: family, version,
# resource (big-endian). NLM_F_REQUEST 1, ACK 4, CREATE 0x400, APPEND 0x800. NFNL_MSG_BATCH_BEGIN 16
# and _END 17 name the subsystem, nf_tables 10, as their resource.


def header(size: int, kind: int, flags: int, sequence: int, family: int, resource: int) -> bytes:
    """Of one message."""
    return struct.pack("=IHHII", size, kind, flags, sequence, 0) + struct.pack(
        ">BBH", family, 0, resource
    )


def test_a_transaction_has_a_begin_and_an_end_and_only_its_last_message_is_acknowledged() -> None:
    batch = Batch("t")
    batch.add_table()
    batch.add_chain(Chain(name="c"))
    batch.add_rule(Rule("c", ()))
    encoded = batch.encode(100)
    name = b"\x06\0\x01\0t\0\0\0"
    table = name + be32(2, 0) + b"\x2a\0\x06\0" + OUR_MARK + b"\0\0"
    chain = name + b"\x06\0\x03\0c\0\0\0"
    rule = name + b"\x06\0\x02\0c\0\0\0" + b"\x04\0\x04\x80"
    assert encoded.data == b"".join(
        (
            header(20, 16, 1, 100, 0, 10),
            header(20 + len(table), 0x0A00, 0x401, 101, 1, 0) + table,
            header(20 + len(chain), 0x0A03, 0x401, 102, 1, 0) + chain,
            header(20 + len(rule), 0x0A06, 0xC05, 103, 1, 0) + rule,
            header(20, 17, 1, 104, 0, 10),
        )
    )
    assert (encoded.first, encoded.last) == (100, 103)


def test_a_transaction_may_expect_a_generation() -> None:
    """NFNL_BATCH_GENID is 1."""
    batch = Batch()
    batch.delete_table()
    begin = header(28, 16, 1, 1, 0, 10) + b"\x08\0\x01\0\0\0\0\x2a"
    assert batch.encode(1, generation=42).data.startswith(begin)


def test_what_goes_wrong_is_told_in_words() -> None:
    batch = Batch()
    batch.add_chain(Chain(name="c"))
    batch.add_elements([Element("live", b"12345678")])
    batch.fail()
    encoded = batch.encode(7)
    said = [batch.describe(number, encoded) for number in (6, 7, 8, 9, 10, 11)]
    assert said == [
        *("transaction", "transaction", "chain c", "elements of live"),
        *("the end of a rehearsal", "transaction"),
    ]


def test_nothing_to_do_is_no_message() -> None:
    batch = Batch()
    batch.add_elements([])
    batch.delete_elements([])
    assert len(batch) == 0
    assert messages(batch) == []
