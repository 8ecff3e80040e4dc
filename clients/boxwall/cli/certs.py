"""`boxwall certs`: a private CA and certificates, for installations without one of their own."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from boxwall.cli.files import replace_file
from boxwall.cli.render.documents import Document
from boxwall.cli.session import current_session
from boxwall.cli.settings import client_options
from boxwall.issuing import (
    DEFAULT_TRUST_DOMAIN,
    Authority,
    CannotIssue,
    Issued,
    new_authority,
    read_authority,
)
from boxwall.sdk.errors import BadConfig

F = TypeVar("F", bound=Callable[..., Any])

_CA: Final = "ca"
_MAX_DAYS: Final = 3650


@click.group()
def certs() -> None:
    """Make a private CA and certificates for small installations.

    Keep DIR/ca.key where no server or node can read it: whoever has it can be any of them.
    """


def _folder_option(command: F) -> F:
    return click.option(
        "--dir",
        "folder",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("certs"),
        show_default=True,
        help="Where the CA is and certificates go.",
    )(command)


def _days_option(days: int) -> Callable[[F], F]:
    return click.option(
        "--days",
        type=click.IntRange(1, _MAX_DAYS),
        default=days,
        show_default=True,
        help="How long it is valid.",
    )


_tenant_option = click.option("--tenant", default="default", show_default=True)
_replace_option = click.option(
    "--replace", is_flag=True, help="Replace what is there: certificates are to be renewed."
)


@certs.command()
@_folder_option
@click.option("--trust-domain", default=DEFAULT_TRUST_DOMAIN, show_default=True)
@_days_option(_MAX_DAYS)
@client_options
def init(folder: Path, trust_domain: str, days: int) -> None:
    """Make the CA: DIR/ca.pem, for everyone, and DIR/ca.key, for nobody else."""
    try:
        made = new_authority(trust_domain, _now(), timedelta(days=days))
    except CannotIssue as exc:
        raise BadConfig(str(exc)) from exc
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(folder, _CA, made, replace=False)


@certs.command()
@click.argument("hosts", metavar="HOST...", nargs=-1, required=True)
@click.option("--name", default="server", show_default=True, help="Of the files.")
@_folder_option
@_days_option(365)
@_replace_option
@client_options
def server(hosts: tuple[str, ...], name: str, folder: Path, days: int, replace: bool) -> None:
    """Make a certificate for a control plane that clients call by HOST (names or addresses)."""
    if name == _CA:
        raise BadConfig(f"{_CA}.pem and {_CA}.key are the CA itself; choose another --name")
    _issue(folder, name, replace, lambda ca: ca.server(hosts, _now(), timedelta(days=days)))


@certs.command()
@click.argument("node_id", metavar="NODE")
@_tenant_option
@_folder_option
@_days_option(365)
@_replace_option
@client_options
def node(node_id: str, tenant: str, folder: Path, days: int, replace: bool) -> None:
    """Make a certificate that says which node an agent is."""
    name = _name_of("node", tenant, node_id)
    _issue(folder, name, replace, lambda ca: ca.node(tenant, node_id, _now(), timedelta(days=days)))


@certs.command()
@click.argument("name")
@_tenant_option
@_folder_option
@_days_option(365)
@_replace_option
@client_options
def client(name: str, tenant: str, folder: Path, days: int, replace: bool) -> None:
    """Make a certificate with which a service connects; what it may do, its token says."""
    of_file = _name_of("client", tenant, name)
    _issue(
        folder, of_file, replace, lambda ca: ca.client(tenant, name, _now(), timedelta(days=days))
    )


def _issue(folder: Path, name: str, replace: bool, make: Callable[[Authority], Issued]) -> None:
    try:
        authority = read_authority(
            (folder / f"{_CA}.pem").read_bytes(), (folder / f"{_CA}.key").read_bytes()
        )
        made = make(authority)
    except OSError as exc:
        raise BadConfig(
            f"{exc.filename} cannot be read: {exc.strerror}; make a CA with: boxwall certs init "
            f"--dir {folder}"
        ) from exc
    except CannotIssue as exc:
        raise BadConfig(str(exc)) from exc
    _write(folder, name, made, replace=replace)


def _write(folder: Path, name: str, made: Issued, *, replace: bool) -> None:
    if "/" in name or name.startswith("."):
        raise BadConfig(f"{name!a} cannot be the name of a file")
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    there = [path for path in (certificate, key) if path.exists()]
    if there and not replace:
        way_out = "" if name == _CA else "; to renew it: --replace"
        raise BadConfig(f"{there[0]} is there already; nothing was changed{way_out}")
    try:
        replace_file(key, made.key, 0o600)
        replace_file(certificate, made.certificate, 0o644)
    except OSError as exc:
        raise BadConfig(f"{exc.filename} cannot be written: {exc.strerror}") from exc
    session = current_session()
    if session.wants_json:
        session.done("", _document(certificate, key, made))
    else:
        click.echo(f"wrote {certificate} and {key}")
        click.echo(f"for {', '.join(made.names)}, until {made.expires:%Y-%m-%d}")
        click.echo(f"SHA-256 {made.fingerprint}")


def _document(certificate: Path, key: Path, made: Issued) -> Document:
    return {
        "certificate": str(certificate),
        "key": str(key),
        "names": list(made.names),
        "expire_time": made.expires.isoformat(),
        "sha256": made.fingerprint,
    }


def _name_of(kind: str, tenant: str, name: str) -> str:
    return f"{kind}-{name}" if tenant == "default" else f"{kind}-{tenant}-{name}"


def _now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)
