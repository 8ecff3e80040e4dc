"""The options of the control plane that keep strangers out, and tenants within bounds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from boxwall_server.config import Bounds, Security
from boxwall_server.identity.certificates import DEFAULT_TRUST_DOMAIN

_FILE: Final = click.Path(path_type=Path, dir_okay=False)

SECURITY_OPTIONS: Final = (
    click.option(
        "--tls-cert",
        type=_FILE,
        envvar="BOXWALL_TLS_CERT",
        help="Certificate of the server, with its chain (PEM). Read again when it changes.",
    ),
    click.option("--tls-key", type=_FILE, envvar="BOXWALL_TLS_KEY", help="Its private key (PEM)."),
    click.option(
        "--tls-client-ca",
        type=_FILE,
        envvar="BOXWALL_TLS_CLIENT_CA",
        help="Who signs the certificates that every client must have then (PEM).",
    ),
    click.option(
        "--tokens",
        type=_FILE,
        envvar="BOXWALL_TOKENS",
        help="TOML file of hashed tokens; see boxwall tokens new. Read again when it changes.",
    ),
    click.option(
        "--trust-domain",
        default=DEFAULT_TRUST_DOMAIN,
        show_default=True,
        envvar="BOXWALL_TRUST_DOMAIN",
        help="First part of the SPIFFE ids in certificates of nodes.",
    ),
    click.option(
        "--max-boxes",
        type=click.IntRange(1),
        envvar="BOXWALL_MAX_BOXES",
        help="Boxes of one tenant.  [default: any number]",
    ),
    click.option(
        "--max-writes",
        type=click.FloatRange(0.1),
        envvar="BOXWALL_MAX_WRITES",
        help="Writes of one tenant in a second; twice as many at once.  [default: any number]",
    ),
    click.option(
        "--caller-calls",
        type=click.IntRange(1),
        default=Bounds().calls_of_caller,
        show_default=True,
        envvar="BOXWALL_CALLER_CALLS",
        help="Calls of one identity in progress, those that wait for enforcement included.",
    ),
    click.option(
        "--caller-streams",
        type=click.IntRange(1),
        default=Bounds().streams_of_caller,
        show_default=True,
        envvar="BOXWALL_CALLER_STREAMS",
        help="Open streams of one identity.",
    ),
)


def security_of(settings: Mapping[str, Any]) -> Security:
    """Return the settings as a value. Raises BadConfig."""
    return Security(
        tls_cert=settings["tls_cert"],
        tls_key=settings["tls_key"],
        client_ca=settings["tls_client_ca"],
        tokens=settings["tokens"],
        trust_domain=settings["trust_domain"],
    )


def bounds_of(settings: Mapping[str, Any]) -> Bounds:
    """Return the settings as a value."""
    return Bounds(
        calls_of_caller=settings["caller_calls"], streams_of_caller=settings["caller_streams"]
    )
