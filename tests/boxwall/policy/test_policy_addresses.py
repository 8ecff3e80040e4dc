import pytest

from boxwall.policy import ALWAYS_BLOCKED, Address, EntryError, Network, NetworkTable, ip_literal

CANONICAL = {
    "IPv4": ("104.16.0.0/12", "104.16.0.0/12"),
    "a bare IPv4 address": ("1.2.3.4", "1.2.3.4/32"),
    "all of IPv4": ("0.0.0.0/0", "0.0.0.0/0"),
    "IPv6": ("2606:4700::/32", "2606:4700::/32"),
    "a bare IPv6 address": ("2606:4700::1111", "2606:4700::1111/128"),
    "all of IPv6": ("::/0", "::/0"),
    "IPv6 in upper case": ("2606:4700::ABCD", "2606:4700::abcd/128"),
    "IPv6 with leading zeros": ("2606:4700:0000::/48", "2606:4700::/48"),
    "IPv6 in full": ("2606:4700:0:0:0:0:0:1", "2606:4700::1/128"),
    "IPv6 that ends in a gap": ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0/128"),
    "IPv6 with an IPv4 tail": ("64:ff9b::1.2.3.4", "64:ff9b::102:304/128"),
    "a range that holds the mapped ones": ("::/64", "::/64"),
}


@pytest.mark.parametrize(("text", "canonical"), CANONICAL.values(), ids=CANONICAL)
def test_a_network_is_brought_into_canonical_form(text: str, canonical: str) -> None:
    assert str(Network.parse(text)) == canonical


DIGITS = "prefix length that is not a plain number"
REFUSED = {
    "host bits": ("10.0.0.7/24", "has host bits set", "10.0.0.0/24"),
    "host bits in IPv6": ("2001:db8::1/32", "has host bits set", "2001:db8::/32"),
    "IPv4-mapped": ("::ffff:1.2.3.4", "is IPv4-mapped", "1.2.3.4"),
    "IPv4-mapped in hex": ("::FFFF:102:304", "is IPv4-mapped", "1.2.3.4"),
    "the IPv4-mapped range": ("::ffff:0:0/96", "is IPv4-mapped", None),
    "a zone": ("fe80::1%eth0", "has a zone id", "fe80::1"),
    "a zone and a length": ("fe80::%eth0/64", "has a zone id", "fe80::/64"),
    "a netmask": ("10.0.0.0/255.255.255.0", "has a netmask", "10.0.0.0/24"),
    "a netmask and host bits": ("10.0.0.7/255.255.255.0", "has a netmask", "10.0.0.0/24"),
    "an IPv6 netmask": ("2001:db8::/ffff:ffff::", "has a netmask", "2001:db8::/32"),
    "a broken netmask": ("10.0.0.0/255.0.255.0", "has a netmask", None),
    "a netmask of the other version": ("10.0.0.0/ffff::", "has a netmask", None),
    "leading zeros": ("010.0.0.0/8", "has leading zeros", "10.0.0.0/8"),
    "leading zeros beyond octal": ("08.0.0.0", "has leading zeros", "8.0.0.0"),
    "leading zeros too large": ("0999.0.0.0", "is not an IP network", None),
    "leading zeros and an octet too large": ("00.0.0.999", "is not an IP network", None),
    "a length with leading zeros": ("10.0.0.0/08", DIGITS, "10.0.0.0/8"),
    "a length of many zeros": ("0.0.0.0/000", DIGITS, "0.0.0.0/0"),
    "a length too long": ("10.0.0.0/33", DIGITS, None),
    "an IPv6 length too long": ("2001:db8::/129", DIGITS, None),
    "no length": ("10.0.0.0/", DIGITS, None),
    "a signed length": ("10.0.0.0/+8", DIGITS, None),
    "a length in other digits": ("10.0.0.0/８", DIGITS, None),
    "two lengths": ("10.0.0.0/8/8", DIGITS, None),
    "spaces around": (" 10.0.0.0/8 ", "contains white space", "10.0.0.0/8"),
    "spaces inside": ("10.0.0.0 / 8", "contains white space", "10.0.0.0/8"),
    "control characters": ("1.2.3.4\0", "contains control characters", None),
    "brackets": ("[2001:db8::]/32", "is in brackets", "2001:db8::/32"),
    "brackets and a port": ("[2001:db8::1]:443", "is in brackets", "2001:db8::1"),
    "a port": ("1.2.3.4:443", "has a port", "1.2.3.4"),
    "a short network": ("10/8", "not in dotted decimal", "10.0.0.0/8"),
    "a short network of two": ("10.1/16", "not in dotted decimal", "10.1.0.0/16"),
    "a short network too large": ("256.1/16", "is not an IP network", None),
    "a short address": ("1.1", "not in dotted decimal", "1.0.0.1"),
    "a decimal address": ("2130706433", "not in dotted decimal", "127.0.0.1"),
    "a hex address": ("0x7f.1", "not in dotted decimal", "127.0.0.1"),
    "a name": ("api.github.com", "is not an IP network", None),
    "a length only": ("/24", "is not an IP network", None),
    "not octal either": ("09.1", "is not an IP network", None),
    "too many groups": ("1:2:3:4:5:6:7:8:9", "is not an IP network", None),
    "too few groups": ("1:2:3:4:5:6:7", "is not an IP network", None),
    "an empty group": ("1:2:3:4:5:6:7:", "is not an IP network", None),
    "two gaps": ("1::2::3", "is not an IP network", None),
    "three colons": ("1:::2", "is not an IP network", None),
    "three colons before": (":::2", "is not an IP network", None),
    "a gap for nothing": ("1:2:3:4::5:6:7:8", "is not an IP network", None),
    "empty": ("", "is empty", None),
    "too long": ("1" * 500, "is too long", None),
}


@pytest.mark.parametrize(("text", "problem", "suggestion"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_says_why_and_shows_the_fix(
    text: str, problem: str, suggestion: str | None
) -> None:
    with pytest.raises(EntryError) as caught:
        Network.parse(text)
    assert problem in caught.value.message
    assert caught.value.suggestion == suggestion


def test_host_bits_are_reported_word_for_word() -> None:
    with pytest.raises(EntryError) as caught:
        Network.parse("10.0.0.7/24")
    assert str(caught.value) == "10.0.0.7/24 has host bits set; use 10.0.0.0/24"


ADDRESS_REFUSED = {
    "a network": ("10.0.0.0/8", None),
    "leading zeros": ("010.0.0.1", "10.0.0.1"),
    "a zone": ("fe80::1%1", "fe80::1"),
    "a name": ("a.test", None),
}


@pytest.mark.parametrize(("text", "fix"), ADDRESS_REFUSED.values(), ids=ADDRESS_REFUSED)
def test_an_address_is_not_guessed(text: str, fix: str | None) -> None:
    with pytest.raises(EntryError) as caught:
        Address.parse(text)
    assert caught.value.suggestion == fix


def test_a_mapped_address_is_sent_to_its_ipv4_address() -> None:
    mapped = Address.parse("::ffff:1.2.3.4")
    assert mapped.version == 6
    assert mapped.as_sent == Address.parse("1.2.3.4")
    assert Address.parse("64:ff9b::1.2.3.4").as_sent.version == 6
    assert Address.parse("1.2.3.4").as_sent == Address.parse("1.2.3.4")


def test_a_long_text_is_no_literal() -> None:
    assert ip_literal("1" * 500) is None


BAD_VALUES = [(4, -1), (4, 2**32), (6, 2**128)]


@pytest.mark.parametrize(("version", "value"), BAD_VALUES)
def test_an_address_outside_its_version_cannot_be_made(version: int, value: int) -> None:
    with pytest.raises(ValueError, match="is not an IPv"):
        Address(version, value)


@pytest.mark.parametrize(
    ("version", "first", "length"), [(4, 0, -1), (4, 0, 33), (4, 2**32, 8), (6, -1, 0), (4, 7, 24)]
)
def test_a_network_that_is_none_cannot_be_made(version: int, first: int, length: int) -> None:
    with pytest.raises(ValueError, match=r"not an IPv|host bits set"):
        Network(version, first, length)


def test_networks_and_addresses_sort_and_contain() -> None:
    wide, narrow, six = map(Network.parse, ("10.0.0.0/8", "10.0.0.0/16", "::/0"))
    assert sorted([six, narrow, wide]) == [wide, narrow, six]
    assert narrow in wide
    assert wide not in narrow
    assert wide not in six
    assert Address.parse("10.255.255.255") in wide
    assert Address.parse("11.0.0.0") not in wide
    assert Address(4, wide.last) == Address.parse("10.255.255.255")
    assert sorted([Address.parse("::"), Address.parse("255.0.0.0")])[0].version == 4


BLOCKED = [
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
    "::ffff:0.0.0.0/96",
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


def test_exactly_the_ranges_that_are_written_down_are_always_blocked() -> None:
    listed = {str(network) for network, _ in ALWAYS_BLOCKED}
    assert listed - set(BLOCKED) == {"::/3", "4000::/2", "8000::/1"}
    assert set(BLOCKED) <= listed
    assert all(what for _, what in ALWAYS_BLOCKED)


def test_a_table_prefers_the_first_value_of_a_network_given_twice() -> None:
    network = Network.parse("11.0.0.0/8")
    table = NetworkTable([(network, "first"), (network, "second")])
    assert len(table) == 1
    assert table.find(Address.parse("11.1.1.1")) == (network, "first")
    assert not NetworkTable[str]()


NESTED = {
    "before": ("10.255.255.255", None),
    "at the start": ("11.0.0.0", "11.0.0.0/32"),
    "after the start": ("11.0.0.1", "11.0.0.0/8"),
    "inside": ("11.2.3.4", "11.2.0.0/16"),
    "between": ("11.3.0.0", "11.0.0.0/8"),
    "before the end": ("11.255.255.254", "11.0.0.0/8"),
    "at the end": ("11.255.255.255", "11.255.255.255/32"),
    "after": ("12.0.0.0", None),
    "the last address": ("255.255.255.255", "255.0.0.0/8"),
    "the other version": ("2606::", None),
}


@pytest.mark.parametrize(("address", "expected"), NESTED.values(), ids=NESTED)
def test_a_table_keeps_networks_at_both_ends_of_another(address: str, expected: str | None) -> None:
    entries = ("11.255.255.255/32", "11.0.0.0/8", "255.0.0.0/8", "11.2.0.0/16", "11.0.0.0/32")
    table = NetworkTable((Network.parse(entry), entry) for entry in entries)
    found = table.find(Address.parse(address))
    assert (None if found is None else found[1]) == expected
    assert all(table.within(Network.parse("11.0.0.0/8")))
    assert not any(table.within(Network.parse("12.0.0.0/8")))
