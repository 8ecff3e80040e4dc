import pytest

from boxwall.policy import Address, Destination, InvalidDestination, Name, Protocol, destination

READ = {
    "a name": ("API.github.com.", "api.github.com"),
    "a name and a port": ("api.github.com:443", "api.github.com:443"),
    "an address": ("1.2.3.4", "1.2.3.4"),
    "an address and a port": ("1.2.3.4:443", "1.2.3.4:443"),
    "IPv6": ("2001:DB8::1", "2001:db8::1"),
    "bracketed IPv6": ("[2001:db8::1]", "2001:db8::1"),
    "IPv6 and a port": ("[2001:db8::1]:443", "[2001:db8::1]:443"),
    "a protocol": ("api.github.com/UDP", "api.github.com/udp"),
    "a port and a protocol": ("1.2.3.4:53/tcp", "1.2.3.4:53/tcp"),
    "a mapped address": ("[::ffff:1.2.3.4]:443", "1.2.3.4:443"),
}


@pytest.mark.parametrize(("text", "canonical"), READ.values(), ids=READ)
def test_a_destination_is_read_from_text(text: str, canonical: str) -> None:
    assert str(Destination.parse(text)) == canonical


def test_the_parts_of_a_destination_are_typed() -> None:
    assert Destination.parse("api.github.com:443/udp") == Destination(
        domain=Name.parse("api.github.com"), port=443, protocol=Protocol.UDP
    )
    assert Destination.parse("[2001:db8::1]") == Destination(address=Address.parse("2001:db8::1"))


def test_a_name_with_its_address_is_shown_with_both() -> None:
    both = destination("a.test", "1.2.3.4", 443, Protocol.TCP)
    assert str(both) == "a.test (1.2.3.4):443/tcp"


REFUSED = {
    "empty": ("", ["domain"], "is empty"),
    "a port only": (":443", ["domain"], "is empty"),
    "port 0": ("a.test:0", ["port"], "0 is not a port"),
    "a port too large": ("a.test:65536", ["port"], "use a number from 1 to 65535"),
    "a port of many digits": ("a.test:" + "9" * 5000, ["port"], "is not a port"),
    "a port of other digits": ("a.test:４", ["port"], "is not a port"),
    "an empty port": ("a.test:", ["port"], "is not a port"),
    "a network": ("1.2.3.4/24", ["protocol"], "/24 is not a protocol; use one of /tcp, /udp"),
    "a URL": ("https://a.test/x", ["domain"], "use a.test"),
    "a short address": ("1.1", ["address"], "use 1.0.0.1"),
    "an open bracket": ("[::1", ["domain"], "colon"),
    "everything": ("*.a.test:x/y", ["protocol", "port", "domain"], "is a wildcard"),
}


@pytest.mark.parametrize(("text", "fields", "problem"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_names_every_field(text: str, fields: list[str], problem: str) -> None:
    with pytest.raises(InvalidDestination) as caught:
        Destination.parse(text)
    assert [violation.field for violation in caught.value.violations] == fields
    assert problem in str(caught.value)


def test_raw_parts_are_canonicalised_and_zero_means_not_said() -> None:
    made = destination("A.Test.", "::ffff:1.2.3.4", 0, Protocol.TCP)
    assert made == Destination(
        domain=Name.parse("a.test"), address=Address.parse("1.2.3.4"), protocol=Protocol.TCP
    )
    assert destination("", "1.2.3.4", 65535, Protocol.UDP).port == 65535
    assert destination("a.test", "", 1, Protocol.UNSPECIFIED).address is None


def test_every_bad_part_is_reported_at_once() -> None:
    with pytest.raises(InvalidDestination) as caught:
        destination("https://a.test", "010.0.0.1", 70000, Protocol.TCP)
    assert [(v.field, v.suggestion) for v in caught.value.violations] == [
        ("domain", "a.test"),
        ("address", "10.0.0.1"),
        ("port", None),
    ]
    with pytest.raises(InvalidDestination, match="neither domain nor address"):
        destination("", "", -1, Protocol.TCP)


def test_a_destination_without_name_and_address_cannot_be_made() -> None:
    with pytest.raises(InvalidDestination, match="neither domain nor address"):
        Destination(port=443)
    with pytest.raises(InvalidDestination, match="0 is not a port"):
        Destination(domain=Name.parse("a.test"), port=0)
