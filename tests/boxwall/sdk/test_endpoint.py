"""Where a client connects, and that a token never travels in clear."""

import pytest

from boxwall.sdk.endpoint import endpoint
from boxwall.sdk.errors import BadConfig


@pytest.mark.parametrize(
    ("server", "target", "is_local"),
    [
        pytest.param(None, "localhost:50051", True, id="default"),
        pytest.param("127.0.0.1:1", "127.0.0.1:1", True, id="loopback"),
        pytest.param("127.9.9.9:1", "127.9.9.9:1", True, id="all of 127/8"),
        pytest.param("[::1]:50051", "[::1]:50051", True, id="IPv6 loopback"),
        pytest.param("LOCALHOST:7", "LOCALHOST:7", True, id="localhost in capitals"),
        pytest.param("unix:/run/x.sock", "unix:/run/x.sock", True, id="unix socket"),
        pytest.param("unix:///run/x.sock", "unix:/run/x.sock", True, id="unix socket as a URL"),
        pytest.param("10.0.0.1:50051", "10.0.0.1:50051", False, id="another machine"),
        pytest.param("box.example:443", "box.example:443", False, id="a name"),
        pytest.param("localhost.evil.test:1", "localhost.evil.test:1", False, id="not localhost"),
        pytest.param("0.0.0.0:1", "0.0.0.0:1", False, id="any address"),
    ],
)
def test_an_address_is_read(server: str | None, target: str, is_local: bool) -> None:
    found = endpoint(server, environ={})

    assert (found.target, found.is_local, found.uses_tls) == (target, is_local, False)


@pytest.mark.parametrize(
    "server",
    [
        "localhost",
        ":50051",
        "host:",
        "host:0",
        "host:65536",
        "host:port",
        "::1:50051",
        "http://host:1",
        "ho st:1",
        "host\x1b:1",
        "unix:",
        "host:١",
    ],
)
def test_what_is_no_address_is_refused_with_the_form(server: str) -> None:
    with pytest.raises(BadConfig, match=r"HOST:PORT|such as /run"):
        endpoint(server, environ={})


SEVERAL = {
    "two addresses": ("10.0.0.1:1,10.0.0.2:2", "ipv4:10.0.0.1:1,10.0.0.2:2", False, True),
    "with spaces": ("10.0.0.1:1, 10.0.0.2:2", "ipv4:10.0.0.1:1,10.0.0.2:2", False, True),
    "of this machine": ("127.0.0.1:1,127.0.0.1:2", "ipv4:127.0.0.1:1,127.0.0.1:2", True, True),
    "IPv6": ("[::1]:1,[2001:db8::1]:2", "ipv6:[::1]:1,[2001:db8::1]:2", False, True),
    "a name of DNS": ("box.example:443", "box.example:443", False, True),
    "one address": ("10.0.0.1:1", "10.0.0.1:1", False, False),
    "localhost": ("localhost:1", "localhost:1", True, False),
    "a socket with a comma": ("unix:/run/a,b", "unix:/run/a,b", True, False),
}


@pytest.mark.parametrize(
    ("server", "target", "is_local", "may_be_several"), SEVERAL.values(), ids=SEVERAL
)
def test_several_servers_take_turns(
    server: str, target: str, is_local: bool, may_be_several: bool
) -> None:
    found = endpoint(server, environ={})
    assert (found.target, found.is_local, found.may_be_several) == (
        target,
        is_local,
        may_be_several,
    )


@pytest.mark.parametrize(
    "server",
    ["10.0.0.1:1,[::1]:2", "a.example:1,b.example:2", "10.0.0.1:1,localhost:2", "10.0.0.1:1,"],
)
def test_several_servers_that_gRPC_cannot_take_together_are_refused(server: str) -> None:
    with pytest.raises(BadConfig):
        endpoint(server, environ={})


def test_several_servers_with_tls_are_one_name() -> None:
    with pytest.raises(BadConfig, match="one name in DNS"):
        endpoint("10.0.0.1:1,10.0.0.2:1", ca="/ca.pem", environ={})


def test_a_token_is_not_sent_in_clear_to_several_servers_of_which_one_is_elsewhere() -> None:
    with pytest.raises(BadConfig, match="in clear"):
        endpoint("127.0.0.1:1,10.0.0.1:1", "s3cret", environ={})


def test_arguments_win_over_the_environment() -> None:
    environ = {"BOXWALL_SERVER": "127.0.0.1:2", "BOXWALL_TOKEN": "env", "BOXWALL_CA": "/env.pem"}

    by_environ = endpoint(environ=environ)
    by_argument = endpoint("127.0.0.1:3", "arg", "/arg.pem", environ=environ)

    assert (by_environ.target, by_environ.token, by_environ.ca) == (
        "127.0.0.1:2",
        "env",
        "/env.pem",
    )
    assert (by_argument.target, by_argument.token, by_argument.ca) == (
        "127.0.0.1:3",
        "arg",
        "/arg.pem",
    )


@pytest.mark.parametrize("server", ["10.0.0.1:50051", "control.example:443", "[2001:db8::1]:1"])
def test_a_token_is_never_sent_in_clear_to_another_machine(server: str) -> None:
    with pytest.raises(BadConfig, match="in clear") as caught:
        endpoint(server, "s3cret", environ={})

    assert "BOXWALL_CA" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("server", ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/x"])
def test_a_token_may_stay_on_this_machine(server: str) -> None:
    assert endpoint(server, "s3cret", environ={}).token == "s3cret"


def test_a_token_may_travel_encrypted() -> None:
    assert endpoint("control.example:443", "s3cret", "system", environ={}).uses_tls


def test_a_token_is_not_in_the_repr() -> None:
    assert "s3cret" not in repr(endpoint("localhost:1", "s3cret", environ={}))


@pytest.mark.parametrize("token", ["s3cret\n", "s3 cret", "s3cretß", "s3cret\0"])
def test_a_token_that_cannot_be_one_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(BadConfig, match="line end") as caught:
        endpoint("localhost:1", token, environ={})

    assert "s3cret" not in str(caught.value)


FILES: dict[str, tuple[dict[str, str], dict[str, str], tuple[str | None, str | None]]] = {
    "given": ({"token_file": "/f"}, {}, (None, "/f")),
    "in the environment": ({}, {"BOXWALL_TOKEN_FILE": "/f"}, (None, "/f")),
    "given, over a token around": ({"token_file": "/f"}, {"BOXWALL_TOKEN": "t"}, (None, "/f")),
    "a token given, over a file around": (
        {"token": "t"},
        {"BOXWALL_TOKEN_FILE": "/f"},
        ("t", None),
    ),
    "empty": ({"token_file": ""}, {"BOXWALL_TOKEN_FILE": ""}, (None, None)),
}


@pytest.mark.parametrize(("given", "environ", "found"), FILES.values(), ids=FILES)
def test_a_token_can_be_in_a_file(
    given: dict[str, str], environ: dict[str, str], found: tuple[str | None, str | None]
) -> None:
    made = endpoint("localhost:1", environ=environ, **given)
    assert (made.token, made.token_file) == found


def test_a_token_and_a_file_of_one_are_two_answers_to_one_question() -> None:
    with pytest.raises(BadConfig, match="not both"):
        endpoint("localhost:1", "t", token_file="/f", environ={})
    with pytest.raises(BadConfig, match="not both"):
        endpoint("localhost:1", environ={"BOXWALL_TOKEN": "t", "BOXWALL_TOKEN_FILE": "/f"})


def test_what_is_in_a_file_is_not_sent_in_clear_either() -> None:
    with pytest.raises(BadConfig, match="in clear"):
        endpoint("10.0.0.1:50051", token_file="/f", environ={})


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        pytest.param({"cert": "/c.pem", "ca": "/ca.pem"}, "belong together", id="no key"),
        pytest.param({"key": "/c.key", "ca": "/ca.pem"}, "belong together", id="no certificate"),
        pytest.param({"cert": "/c.pem", "key": "/c.key"}, "encrypted", id="in clear"),
    ],
)
def test_a_certificate_goes_with_its_key_over_tls(given: dict[str, str], complaint: str) -> None:
    ca = given.pop("ca", None)
    with pytest.raises(BadConfig, match=complaint):
        endpoint("localhost:1", None, ca, environ={}, **given)


def test_a_certificate_comes_from_the_environment_too() -> None:
    environ = {"BOXWALL_CA": "/ca", "BOXWALL_TLS_CERT": "/c", "BOXWALL_TLS_KEY": "/k"}

    found = endpoint("localhost:1", environ=environ)

    assert (found.ca, found.cert, found.key) == ("/ca", "/c", "/k")
