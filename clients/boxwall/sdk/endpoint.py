"""Where a client connects, how, and as whom: settings parsed once into a frozen value. Pure.

Settings come from arguments, else from `BOXWALL_SERVER`, `BOXWALL_TOKEN` or `BOXWALL_TOKEN_FILE`,
`BOXWALL_CA`, `BOXWALL_TLS_CERT` and `BOXWALL_TLS_KEY`.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from boxwall.sdk.errors import BadConfig
from boxwall.unix_sockets import path_problem

DEFAULT_SERVER: Final = "localhost:50051"
SYSTEM_ROOTS: Final = "system"
"""As CA: the certificate authorities that this machine trusts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One server or several alike, and the credentials for it. Its repr does not show the token."""

    target: str
    """As gRPC takes it: "host:port", "unix:/path", or "ipv4:" and several addresses."""
    may_be_several: bool = False
    """Whether the target may be several servers: calls and streams take turns among them."""
    is_local: bool
    """Whether nothing leaves this machine: a unix socket or a loopback address."""
    ca: str | None = None
    """File of trusted certificates, SYSTEM_ROOTS, or None for plaintext."""
    cert: str | None = None
    """File of the client's own certificate, for servers that ask for one; with `key`."""
    key: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file: str | None = None
    """File that holds the token, read for each call; never with `token`."""
    tenant: str | None = None
    """For administrators: whose boxes and nodes are meant. None: those of the caller's tenant."""

    @property
    def uses_tls(self) -> bool:
        """Whether the connection is encrypted, and the server proves who it is."""
        return self.ca is not None

    def __str__(self) -> str:
        return self.target


def endpoint(
    server: str | None = None,
    token: str | None = None,
    ca: str | None = None,
    *,
    cert: str | None = None,
    key: str | None = None,
    token_file: str | None = None,
    tenant: str | None = None,
    environ: Mapping[str, str],
) -> Endpoint:
    """Combine arguments with the environment. An empty setting counts as absent.

    Raises BadConfig for what cannot be, and for a token that would travel in clear.
    """
    server = server or environ.get("BOXWALL_SERVER") or DEFAULT_SERVER
    token, token_file = _one_token(token, token_file, environ)
    ca = ca or environ.get("BOXWALL_CA") or None
    cert = cert or environ.get("BOXWALL_TLS_CERT") or None
    key = key or environ.get("BOXWALL_TLS_KEY") or None
    target, is_local = _read_targets(server, encrypted=ca is not None)
    _check_pair(cert, key, ca)
    tenant = tenant or environ.get("BOXWALL_TENANT") or None
    if tenant is not None and not _can_be_sent(tenant):
        raise BadConfig(f"{tenant[:80]!a} cannot be the name of a tenant")
    if token is not None:
        check_token(token)
    if (token or token_file) and ca is None and not is_local:
        raise BadConfig(
            f"the token would be sent to {target} in clear, where others can read it; name the "
            f'certificates to trust with BOXWALL_CA (a PEM file, or "{SYSTEM_ROOTS}"), or connect '
            "over a unix socket or a tunnel to localhost"
        )
    return Endpoint(
        target=target,
        may_be_several=_may_be_several(target),
        is_local=is_local,
        ca=ca,
        cert=cert,
        key=key,
        token=token,
        token_file=token_file,
        tenant=tenant,
    )


def _read_targets(server: str, *, encrypted: bool) -> tuple[str, bool]:
    """Read one server, or several: "10.0.0.1:50051,10.0.0.2:50051"."""
    if "," not in server or server.startswith("unix:"):
        return _read_target(server)
    if encrypted:
        raise BadConfig(
            "a certificate proves one name: with TLS, give the servers one name in DNS with all "
            "their addresses, and connect to that"
        )
    targets = [_read_target(one.strip()) for one in server.split(",")]
    families = {_family(target) for target, _ in targets}
    if len(families) != 1 or None in families:
        raise BadConfig(
            "several servers are IP addresses of one family, such as "
            "10.0.0.1:50051,10.0.0.2:50051; or one name in DNS with all their addresses"
        )
    joined = ",".join(target for target, _ in targets)
    return f"{families.pop()}:{joined}", all(is_local for _, is_local in targets)


def _family(target: str) -> str | None:
    """Return how gRPC calls the family of an address. None: it is a name."""
    host = target.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return f"ipv{ipaddress.ip_address(host).version}"
    except ValueError:
        return None


def _may_be_several(target: str) -> bool:
    """Whether there are several addresses, or DNS may know several; of localhost it does not."""
    if target.startswith("unix:"):
        return False
    is_name = _family(target) is None and target.rpartition(":")[0].lower() != "localhost"
    return "," in target or is_name


def _one_token(
    token: str | None, token_file: str | None, environ: Mapping[str, str]
) -> tuple[str | None, str | None]:
    """Return the token, or the file that holds it, or neither: arguments before the environment."""
    if not token and not token_file:
        token, token_file = environ.get("BOXWALL_TOKEN"), environ.get("BOXWALL_TOKEN_FILE")
    if token and token_file:
        raise BadConfig("give a token, or the file that holds it, not both")
    return token or None, token_file or None


def _read_target(server: str) -> tuple[str, bool]:
    if server.startswith("unix:"):
        path = server.removeprefix("unix:")
        path = path.removeprefix("//") if path.startswith("///") else path
        problem = path_problem(path)
        if problem is not None:
            raise BadConfig(problem)
        return f"unix:{path}", True
    host, port = _split(server)
    bare = host.removeprefix("[").removesuffix("]")
    shown = f"[{bare}]" if ":" in bare else bare
    return f"{shown}:{port}", _is_loopback(bare)


def _split(server: str) -> tuple[str, int]:
    host, colon, port = server.rpartition(":")
    well_formed = (
        colon
        and host
        and "/" not in host
        and not any(c.isspace() or not c.isprintable() for c in server)
        and (":" not in host or (host.startswith("[") and host.endswith("]")))
        and port.isascii()
        and port.isdecimal()
        and 1 <= int(port) <= 65535
    )
    if not well_formed:
        raise BadConfig(
            f"{server[:80]!a} is not an address of a server; write HOST:PORT (such as "
            f"{DEFAULT_SERVER} or [::1]:50051) or unix:PATH"
        )
    return host, int(port)


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_pair(cert: str | None, key: str | None, ca: str | None) -> None:
    if (cert is None) != (key is None):
        raise BadConfig("a certificate and its key belong together; give both or neither")
    if cert is not None and ca is None:
        raise BadConfig(
            "a certificate of this client is for encrypted connections; name the certificates to "
            f'trust too, with BOXWALL_CA (a PEM file, or "{SYSTEM_ROOTS}")'
        )


def check_token(token: str) -> None:
    """Raise BadConfig for what cannot be a token."""
    # gRPC would refuse it too, with the token in the error.
    if not _can_be_sent(token):
        raise BadConfig(
            "the token has characters that cannot be in a token (only printable ASCII without "
            "spaces can); check for a line end at its end"
        )


def _can_be_sent(text: str) -> bool:
    return all("!" <= character <= "~" for character in text)
