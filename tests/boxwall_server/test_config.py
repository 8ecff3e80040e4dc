"""What an operator can set, and what is refused with the way out."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from boxwall.policy import Mode
from boxwall_server import config
from boxwall_server.config import (
    BadConfig,
    ServerConfig,
    TcpAddress,
    UnixAddress,
    parse_listen,
    parse_store,
)

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


@pytest.mark.parametrize("text", ["postgresql://db/boxwall", "postgres:x"])
def test_a_store_of_a_later_version_is_refused_as_such(text: str) -> None:
    with pytest.raises(BadConfig, match="SQLite only; use sqlite:PATH"):
        parse_store(text)


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
