"""A ClientHello carries one name that can be read in one way, or it is none."""

import pytest

from boxwall.policy import Name
from boxwall_agent.firstbytes.hello import (
    LONGEST,
    MOST_EXTENSIONS,
    MOST_RECORDS,
    Broken,
    Hello,
    More,
    read_hello,
)
from fakes.tls_messages import (
    CHANGE_CIPHER,
    extension,
    handshake,
    hello,
    hello_for,
    real_hello,
    records,
    server_name,
)

NAME = Name.parse("api.example.com")
SNI = server_name(b"api.example.com")
GREASE = extension(0x0A0A, b"")
ECH_OUTER = extension(0xFE0D, b"\x00" + bytes(150))


def test_the_name_of_a_real_client_is_read() -> None:
    data = real_hello("api.example.com")
    assert read_hello(data) == Hello(NAME, len(data))


def test_a_real_client_that_names_nobody_has_no_name() -> None:
    data = real_hello(None)
    assert read_hello(data) == Hello(None, len(data))


def test_a_hello_cut_at_any_octet_is_not_all_there() -> None:
    data = real_hello("api.example.com")
    name_seen = False
    for size in range(len(data)):
        found = read_hello(data[:size])
        assert isinstance(found, More), size
        assert found.name == (NAME if name_seen or found.name else None), "a part of a name"
        name_seen = found.name is not None
    assert name_seen


@pytest.mark.parametrize("size", [13, 40, 100])
def test_a_hello_in_several_records_is_read_to_the_end_of_the_last(size: int) -> None:
    data = records(hello(SNI), size)
    assert read_hello(data) == Hello(NAME, len(data))
    assert all(isinstance(read_hello(data[:cut]), More) for cut in range(len(data)))


def test_a_hello_in_records_of_one_octet_is_read_if_it_is_short() -> None:
    data = records(hello(server_name(b"a.b")), 1)
    assert read_hello(data) == Hello(Name.parse("a.b"), len(data))


@pytest.mark.parametrize(
    ("message", "name"),
    [
        pytest.param(hello(), None, id="no extensions"),
        pytest.param(hello(all_extensions=b"\0\0"), None, id="an empty list of extensions"),
        pytest.param(hello(GREASE, SNI, extension(0x1A1A, b"\0")), NAME, id="GREASE around it"),
        pytest.param(hello(ECH_OUTER, SNI), NAME, id="ECH: the outer name counts"),
        pytest.param(hello(SNI, session=b"s" * 32), NAME, id="a session"),
        pytest.param(hello(SNI, suites=b"\x0a\x0a\x13\x01"), NAME, id="GREASE among the suites"),
        pytest.param(hello(server_name(b"API.Example.COM")), NAME, id="upper case"),
        pytest.param(hello(server_name(b"api.example.com.")), NAME, id="a dot at its end"),
        pytest.param(hello(SNI, extension(21, bytes(12000))), NAME, id="a long one"),
    ],
)
def test_what_clients_send_is_read(message: bytes, name: Name | None) -> None:
    data = records(message)
    assert read_hello(data) == Hello(name, len(data))


_LONG_SNI = SNI[:2] + b"\x00\x20" + SNI[4:]
_BODY = hello(SNI)[4:]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(records(hello(server_name(b"a.com", b"b.com"))), id="two names in one list"),
        pytest.param(records(hello(SNI, server_name(b"b.com"))), id="two lists of names"),
        pytest.param(records(hello(SNI, GREASE, GREASE)), id="two extensions of another kind"),
        pytest.param(records(hello(server_name(b"a.com\0.b.com"))), id="NUL in the name"),
        pytest.param(records(hello(server_name("ä.com".encode()))), id="a name that is no ASCII"),
        pytest.param(records(hello(server_name(b"1.2.3.4"))), id="an address for a name"),
        pytest.param(records(hello(server_name(b"*.example.com"))), id="a wildcard for a name"),
        pytest.param(records(hello(server_name(b""))), id="an empty name"),
        pytest.param(records(hello(server_name())), id="an empty list of names"),
        pytest.param(records(hello(extension(0, b""))), id="no list of names"),
        pytest.param(records(hello(server_name(b"a.com", kind=1))), id="a name of another kind"),
        pytest.param(
            records(hello(extension(0, SNI[4:] + b"\0"))), id="an octet behind the list of names"
        ),
        pytest.param(records(hello(_LONG_SNI)), id="an extension longer than all of them"),
        pytest.param(
            records(hello(all_extensions=b"\x00\x02" + SNI)), id="fewer extensions than there are"
        ),
        pytest.param(
            records(hello(all_extensions=b"\x7f\xff" + SNI)), id="more extensions than there are"
        ),
        pytest.param(records(hello(all_extensions=b"\0\1\0")), id="half an extension"),
        pytest.param(records(hello(SNI, suites=b"\x13\x01\x13")), id="half a cipher suite"),
        pytest.param(records(handshake(1, _BODY + b"\0")), id="an octet behind the message"),
        pytest.param(records(handshake(1, _BODY[:20])), id="shorter than its fields"),
        pytest.param(records(handshake(2, _BODY)), id="another message"),
        pytest.param(records(hello(SNI) + hello(SNI)), id="two messages in a record"),
        pytest.param(records(hello(SNI), version=0x0201), id="an unknown version"),
        pytest.param(b"\x16\x03\x01\x00\x00" + records(hello(SNI)), id="an empty record"),
        pytest.param(b"\x16\x03\x01\x40\x01", id="a record too long"),
        pytest.param(b"\x16\x03\x01\x00\x04\x01\x00\x40\x01", id="a message too long"),
        pytest.param(
            records(hello(SNI)[:9], 9) + CHANGE_CIPHER + records(hello(SNI)[9:]),
            id="something else in between",
        ),
        pytest.param(b"\x80\x2e\x01\x03\x01", id="a ClientHello of SSL 2"),
        pytest.param(b"GET / HTTP/1.1\r\n", id="HTTP"),
    ],
)
def test_what_could_be_read_in_two_ways_is_no_hello(data: bytes) -> None:
    assert isinstance(read_hello(data), Broken)


def test_what_follows_the_record_of_a_hello_is_not_part_of_it() -> None:
    data = hello_for("api.example.com")
    assert read_hello(data + CHANGE_CIPHER) == Hello(NAME, len(data))
    assert read_hello(data + data) == Hello(NAME, len(data))


def test_a_hello_without_end_ends_at_a_bound() -> None:
    endless = records(handshake(1, _BODY[:34] + b"\0\xff\xfe" + bytes(16000)))
    assert isinstance(read_hello(endless[:-200]), More)
    assert isinstance(read_hello(endless + records(bytes(400))), Broken)
    assert isinstance(read_hello(records(hello(extension(21, bytes(LONGEST))))[:LONGEST]), Broken)


def test_more_extensions_than_any_client_has_are_not_read() -> None:
    """Each costs time, again for every segment: a box must not keep the reader from others."""
    most = [extension(0x4000 + number, b"") for number in range(MOST_EXTENSIONS)]
    assert isinstance(read_hello(records(hello(*most))), Hello)
    assert isinstance(read_hello(records(hello(*most, GREASE))), Broken)


def test_more_records_than_any_client_needs_are_not_read() -> None:
    message = hello(SNI, extension(21, bytes(MOST_RECORDS * 16)))
    assert isinstance(read_hello(records(message, len(message) // MOST_RECORDS + 1)), Hello)
    assert isinstance(read_hello(records(message, 8)), Broken)
