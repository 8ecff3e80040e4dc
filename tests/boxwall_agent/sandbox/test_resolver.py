"""resolv.conf inside."""

import pytest

from boxwall_agent.sandbox.resolver import loopback_resolvers, usable_inside

STUB = "# stub\nsearch a.test\noptions edns0\nnameserver 127.0.0.53\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nameserver 10.0.0.2\n", []),
        (STUB, ["127.0.0.53"]),
        ("nameserver ::1\nnameserver 9.9.9.9", ["::1"]),
        ("nameserver 0.0.0.0", ["0.0.0.0"]),
        ("nameserver\n#nameserver 127.0.0.1\nnameserver nonsense", []),
        ("", []),
    ],
)
def test_resolvers_on_loopback_are_found(text: str, expected: list[str]) -> None:
    assert loopback_resolvers(text) == expected


def test_the_servers_behind_the_stub_are_named_inside() -> None:
    text, servers = usable_inside(STUB, "nameserver 192.0.2.1\nnameserver fe80::1%eth0\n", "g")
    assert servers == ["192.0.2.1", "fe80::1%eth0"]
    assert text.splitlines()[1:] == [
        "search a.test",
        "options edns0",
        "nameserver 192.0.2.1",
        "nameserver fe80::1%eth0",
    ]


def test_without_any_the_gateway_stands_in() -> None:
    assert usable_inside(STUB, STUB, "100.64.0.1")[1] == ["100.64.0.1"]
