"""What an operator can set, read once into a frozen value.

Flags, then `BOXWALL_…` variables, then the TOML file of `--config`, then the defaults; click does
the reading (see `main`), this module says what the values must be.
"""

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from boxwall.policy import Limits, Mode
from boxwall.unix_sockets import path_problem
from boxwall_server.identity.certificates import DEFAULT_TRUST_DOMAIN, is_trust_domain
from boxwall_server.store.postgres_url import BadUrl, PostgresUrl

DEFAULT_LISTEN: Final = "127.0.0.1:50051"
DEFAULT_METRICS_LISTEN: Final = "127.0.0.1:9464"


class BadConfig(ValueError):
    """A setting cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """Where to listen, or to connect."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "host:port" or "[v6]:port". Port 0 means any free one."""
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isascii() or not port.isdecimal():
            raise BadConfig(f"{text!a} is not HOST:PORT")
        if int(port) > 65535:
            raise BadConfig(f"{text!a}: the port must be at most 65535")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. Names other than localhost count as public."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A socket in the file system."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


Address = TcpAddress | UnixAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """How the server proves who it is, and how callers do. The zero value: neither."""

    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    """With it, every connection needs a certificate of these authorities."""
    tokens: Path | None = None
    trust_domain: str = DEFAULT_TRUST_DOMAIN

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise BadConfig("--tls-cert and --tls-key belong together; give both")
        if self.client_ca is not None and not self.is_encrypted:
            raise BadConfig("--tls-client-ca needs --tls-cert and --tls-key")
        if not is_trust_domain(self.trust_domain):
            raise BadConfig(f"{self.trust_domain!a} is not a trust domain, such as boxwall or a.b")

    @property
    def is_encrypted(self) -> bool:
        """Whether the server speaks TLS."""
        return self.tls_cert is not None

    @property
    def needs_identity(self) -> bool:
        """Whether callers have to say who they are."""
        return self.tokens is not None or self.client_ca is not None


def parse_listen(text: str, security: Security = Security()) -> Address:
    """Read `--listen`. Raises BadConfig, also for what would be open to anyone."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        problem = path_problem(path)
        if problem is not None:
            raise BadConfig(problem)
        if security.is_encrypted:
            raise BadConfig("TLS is for HOST:PORT; leave --tls-cert and --tls-key out for unix:")
        return UnixAddress(Path(path))
    address = TcpAddress.parse(text)
    lacking = _lacking(security)
    if not address.is_loopback and lacking:
        raise BadConfig(
            f"{text} can be reached from other machines, and this server has {lacking}: others "
            "could read or change policies. Listen on 127.0.0.1 or on unix:PATH; or give "
            "--tls-cert and --tls-key, and --tokens or --tls-client-ca: boxwall certs init and "
            "boxwall tokens new make them (docs/security.md)"
        )
    return address


def _lacking(security: Security) -> str:
    """Return what a server that others can reach must have, and this has not."""
    if not security.is_encrypted:
        return "no TLS" if security.needs_identity else "neither TLS nor authentication"
    return "" if security.needs_identity else "no authentication"


def parse_metrics_listen(text: str, *, public: bool = False) -> TcpAddress | None:
    """Read `--metrics-listen`; None: "off". Raises BadConfig, also for what others could read.

    `public`: the operator knows that they can.
    """
    if text == "off":
        return None
    address = TcpAddress.parse(text)
    if not address.is_loopback and not public:
        raise BadConfig(
            f"{text} can be reached from other machines: metrics name tenants and nodes, and go in "
            "clear to whoever asks. Serve them on 127.0.0.1; or, where only your monitoring can "
            "connect, give --metrics-public too"
        )
    return address


def parse_store(text: str) -> Path | PostgresUrl:
    """Read `--store`. Raises BadConfig, which never shows a password."""
    kind, colon, rest = text.partition(":")
    if kind == "sqlite" and colon and rest:
        return Path(rest).expanduser()
    if kind in ("postgresql", "postgres"):
        try:
            return PostgresUrl.parse(text)
        except BadUrl as exc:
            raise BadConfig(str(exc)) from None
    shown = "that" if "@" in text else f"{text!a}"
    raise BadConfig(f"{shown} is not a store; use sqlite:PATH or postgresql://USER@HOST/DATABASE")


def default_state_dir() -> Path:
    """Return where state is kept unless told otherwise."""
    if os.geteuid() == 0:
        return Path("/var/lib/boxwall")
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "boxwall"


def default_store() -> str:
    """Return the default of `--store`."""
    return f"sqlite:{default_state_dir() / 'boxwall.db'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one server takes on at once.

    Without identities everybody is one caller, and only the totals count.
    """

    calls: int = 20_000
    """Those that wait for enforcement included."""
    calls_of_caller: int = 5_000
    streams: int = 20_000
    streams_of_caller: int = 1_000
    observers_rate: float = 50.0
    """Streams of observers that one caller may begin in a second, once the burst is used up."""
    observers_burst: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Everything a server needs to know."""

    listen: Address
    database: Path | PostgresUrl
    metrics_listen: TcpAddress | None
    """None: no metrics are served."""
    default_mode: Mode = Mode.ALLOW_ALL
    """Of a box that is made without a policy."""
    limits: Limits = field(default_factory=Limits)
    max_request_bytes: int = 256 * 1024
    max_labels: int = 64
    """Of a box."""
    stream_rate: float = 500.0
    """Streams that may begin each second, once the burst is used up."""
    stream_burst: int = 1_000
    retain: int = 100_000
    """Revisions that the change log keeps."""
    only_placed: bool = False
    """Whether a node can attach only boxes that are placed on it; with identities it always is."""
    security: Security = Security()
    bounds: Bounds = Bounds()
    max_boxes: int | None = None
    """Of one tenant. None: any number."""
    max_writes: float | None = None
    """Of one tenant, in a second. None: any number."""
    grace: float = 10.0
    """Seconds that calls in progress get when the server stops."""

    @property
    def places_every_box(self) -> bool:
        """Whether only the node that a box is placed on may host it."""
        return self.only_placed or self.security.needs_identity

    def __post_init__(self) -> None:
        if self.default_mode is Mode.CUSTOM:
            raise BadConfig("the default mode is allow-all or deny-all")
