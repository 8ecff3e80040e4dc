"""What an operator can set, and what is refused with the way out."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from boxwall.policy import Mode
from boxwall_server import config
from boxwall_server.config import (
    BadConfig,
    Security,
    ServerConfig,
    TcpAddress,
    UnixAddress,
    parse_listen,
    parse_metrics_listen,
    parse_store,
)
from boxwall_server.store.postgres_url import PostgresUrl

LISTEN = {
    "127.0.0.1:50051": TcpAddress("127.0.0.1", 50051),
    "127.9.9.9:1": TcpAddress("127.9.9.9", 1),
    "localhost:0": TcpAddress("localhost", 0),
    "[::1]:65535": TcpAddress("::1", 65535),
    "unix:/run/boxwall/server.sock": UnixAddress(Path("/run/boxwall/server.sock")),
    "unix:relative.sock": UnixAddress(Path("relative.sock")),
}


@pytest.mark.parametrize(("text", "address"), LISTEN.items(), ids=LISTEN)
def test_an_address_on_this_machine_is_taken_and_printed_as_it_was(
    text: str, address: TcpAddress | UnixAddress
) -> None:
    assert parse_listen(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["0.0.0.0:50051", "[::]:50051", "192.168.1.2:80", "example.test:80", "[2606:4700::1]:80",
     "[::ffff:10.0.0.1]:80", "localhost.example.test:80", "LOCALHOST.:80"],
)  # fmt: skip
def test_an_address_that_others_can_reach_is_refused_with_the_way_out(text: str) -> None:
    with pytest.raises(BadConfig, match="can be reached from other machines") as caught:
        parse_listen(text)
    assert "Listen on 127.0.0.1 or on unix:PATH" in str(caught.value)


C, K, CA, T = (Path(name) for name in ("cert.pem", "cert.key", "ca.pem", "tokens.toml"))
ENOUGH = {
    "TLS and tokens": Security(tls_cert=C, tls_key=K, tokens=T),
    "mutual TLS": Security(tls_cert=C, tls_key=K, client_ca=CA),
    "both": Security(tls_cert=C, tls_key=K, client_ca=CA, tokens=T),
}
TOO_LITTLE = {
    "neither": (Security(), "neither TLS nor authentication"),
    "tokens in clear": (Security(tokens=T), "no TLS"),
    "TLS for anyone": (Security(tls_cert=C, tls_key=K), "no authentication"),
}


@pytest.mark.parametrize("security", ENOUGH.values(), ids=ENOUGH)
def test_with_tls_and_authentication_others_may_reach_it(security: Security) -> None:
    assert parse_listen("0.0.0.0:50051", security) == TcpAddress("0.0.0.0", 50051)


@pytest.mark.parametrize(("security", "lacking"), TOO_LITTLE.values(), ids=TOO_LITTLE)
def test_with_less_only_this_machine_reaches_it(security: Security, lacking: str) -> None:
    assert parse_listen("127.0.0.1:50051", security) == TcpAddress("127.0.0.1", 50051)
    with pytest.raises(BadConfig, match=f"this server has {lacking}.*boxwall certs init"):
        parse_listen("0.0.0.0:50051", security)


def test_metrics_are_for_this_machine_unless_that_is_said() -> None:
    for text in ("127.0.0.1:9464", "localhost:9464", "[::1]:9464"):
        assert parse_metrics_listen(text) == TcpAddress.parse(text)
    assert parse_metrics_listen("off") is None
    for text in ("0.0.0.0:9464", "[::]:9464", "10.0.0.1:9464", "metrics.example:9464"):
        with pytest.raises(BadConfig, match=r"name tenants and nodes.*--metrics-public"):
            parse_metrics_listen(text)
        assert parse_metrics_listen(text, public=True) == TcpAddress.parse(text)


INCOMPLETE: dict[str, dict[str, Path | str]] = {
    "a certificate without its key": {"tls_cert": C},
    "a key without its certificate": {"tls_key": K},
    "certificates of clients without TLS": {"client_ca": CA},
    "no trust domain": {"trust_domain": ""},
    "a trust domain that cannot be": {"trust_domain": "spiffe://boxwall"},
}


@pytest.mark.parametrize("given", INCOMPLETE.values(), ids=INCOMPLETE)
def test_what_does_not_fit_together_is_refused(given: dict[str, Path | str]) -> None:
    with pytest.raises(BadConfig):
        Security(**given)  # type: ignore[arg-type]  # a table of keywords


def test_a_unix_socket_speaks_no_tls() -> None:
    with pytest.raises(BadConfig, match="TLS is for HOST:PORT"):
        parse_listen("unix:/x", ENOUGH["both"])
    assert parse_listen("unix:/x", Security(tokens=T)) == UnixAddress(Path("/x"))


def test_identities_are_needed_as_soon_as_there_are_any() -> None:
    assert not Security().needs_identity
    assert not Security(tls_cert=C, tls_key=K).needs_identity
    assert all(security.needs_identity for security in ENOUGH.values())


BAD = {
    "nothing": "",
    "no port": "127.0.0.1",
    "no host": ":50051",
    "an empty port": "127.0.0.1:",
    "a port by name": "127.0.0.1:grpc",
    "a negative port": "127.0.0.1:-1",
    "a port too high": "127.0.0.1:65536",
    "a port in other digits": "127.0.0.1:٣",
    "a port of superscripts": "127.0.0.1:²",
    "a socket without a path": "unix:",
    "a socket whose path is too long": "unix:/" + "x" * 107,
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BadConfig):
        parse_listen(text)


def test_a_store_is_a_file_of_sqlite() -> None:
    assert parse_store("sqlite:/var/lib/x.db") == Path("/var/lib/x.db")
    assert parse_store("sqlite:~/x.db") == Path("~/x.db").expanduser()
    assert parse_store("sqlite:a:b.db") == Path("a:b.db")


@pytest.mark.parametrize("text", ["", "sqlite", "sqlite:", "mysql:x", "/var/lib/x.db"])
def test_what_is_no_store_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(BadConfig, match="use sqlite:PATH"):
        parse_store(text)


POSTGRES = {
    "postgresql://db/boxwall": "postgresql://db/boxwall",
    "postgres://ann:secret@db:5433/boxwall": "postgresql://ann@db:5433/boxwall",
    "postgresql://ann:s%2Fecret@[::1]:5433/boxwall": "postgresql://ann@[::1]:5433/boxwall",
    "postgresql://ann:sec@ret@a:1,b:2/boxwall": "postgresql://ann@a:1,b:2/boxwall",
    "postgresql://ann:secret@db/boxwall?sslmode=verify-full": "postgresql://ann@db/boxwall",
    "postgresql:///boxwall?host=/run/postgresql": "postgresql:///boxwall",
}


@pytest.mark.parametrize(("text", "shown"), POSTGRES.items())
def test_a_store_of_postgresql_is_shown_without_its_password(text: str, shown: str) -> None:
    store = parse_store(text)
    assert isinstance(store, PostgresUrl)
    assert (store.text, str(store)) == (text, shown)
    assert "secret" not in repr(store)


UNREADABLE = {
    "a slash in the password": "postgresql://ann:1234/secret@db/boxwall",
    "a hash in the password": "postgresql://ann:1234#secret@db/boxwall",
    "a question mark in the password": "postgresql://ann:1234?secret@db/boxwall",
    "text for a port": "postgresql://ann:secret@db:secret/boxwall",
    "a password among the parameters": "postgresql://ann@db/boxwall?password=secret",
    "brackets that do not close": "postgresql://ann:[secret@db/boxwall",
    "no slashes": "postgres:secret@db",
    "another scheme": "postgress://ann:secret@db/boxwall",
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
def test_a_store_that_cannot_be_read_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(BadConfig) as refused:
        parse_store(text)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


STATE: dict[str, tuple[int, dict[str, str], str]] = {
    "root": (0, {}, "/var/lib/boxwall"),
    "a user": (1000, {"HOME": "/home/ann"}, "/home/ann/.local/state/boxwall"),
    "a user with XDG": (1000, {"XDG_STATE_HOME": "/s"}, "/s/boxwall"),
    "a user with an empty XDG": (
        1000,
        {"HOME": "/home/ann", "XDG_STATE_HOME": ""},
        "/home/ann/.local/state/boxwall",
    ),
}


@pytest.mark.parametrize(("uid", "environment", "folder"), STATE.values(), ids=STATE)
def test_where_state_is_kept_depends_on_who_runs_the_server(
    monkeypatch: pytest.MonkeyPatch, uid: int, environment: dict[str, str], folder: str
) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert config.default_state_dir() == Path(folder)
    assert config.default_store() == f"sqlite:{folder}/boxwall.db"


def made(mode: Mode) -> Callable[[], ServerConfig]:
    return lambda: ServerConfig(
        listen=parse_listen(config.DEFAULT_LISTEN),
        database=Path("x.db"),
        metrics_listen=TcpAddress.parse(config.DEFAULT_METRICS_LISTEN),
        default_mode=mode,
    )


def test_a_box_cannot_be_custom_by_default() -> None:
    assert made(Mode.DENY_ALL)().default_mode is Mode.DENY_ALL
    with pytest.raises(BadConfig, match="allow-all or deny-all"):
        made(Mode.CUSTOM)()
