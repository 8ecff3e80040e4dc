"""The options that every verb has: where to connect, as whom, and how to answer.

Each may stand before or after the verb; what stands later counts. Below the command line come
`BOXWALL_…` variables, then the TOML file of `--config`, then the defaults.
"""

import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar

import click
from click.core import ParameterSource

from boxwall.cli.duration import parse_duration

F = TypeVar("F", bound=Callable[..., Any])

_META: Final = "boxwall.settings"
_VERB: Final = "boxwall.verb"
DEFAULT_TIMEOUT: Final = "10s"


class Rank(IntEnum):
    """Which of two values for a setting counts."""

    FILE = 1
    ENVIRONMENT = 2
    COMMAND_LINE = 3


@dataclass(slots=True)
class Layers:
    """The values given so far, by the name of the option."""

    _values: dict[str, tuple[Rank, str]] = field(default_factory=dict)

    def put(self, name: str, value: str, rank: Rank) -> None:
        """Take a value, unless one of a higher rank is there."""
        if name not in self._values or rank >= self._values[name][0]:
            self._values[name] = rank, value

    def get(self, name: str) -> str | None:
        """Return the value that counts. None: nothing was given."""
        return self._values[name][1] if name in self._values else None

    def one_of(self, first: str, second: str) -> tuple[str | None, str | None]:
        """Return two values of which one can count: that of the higher rank. Raises UsageError."""
        one, other = self._values.get(first), self._values.get(second)
        if one and other and one[0] == other[0]:
            raise click.UsageError(f"Give --{first} or --{second}, not both.")
        if one and other:
            one, other = (one, None) if one[0] > other[0] else (None, other)
        return one and one[1], other and other[1]

    def is_from_command_line(self, name: str) -> bool:
        """Return whether the value that counts was typed for this very command."""
        return name in self._values and self._values[name][0] is Rank.COMMAND_LINE


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a verb needs to know. Its repr does not show the token."""

    server: str | None
    token: str | None = field(repr=False)
    token_file: str | None
    tls_ca: str | None
    tls_cert: str | None
    tls_key: str | None
    tenant: str | None
    output: Literal["text", "json"]
    timeout: float
    """Seconds."""

    def without_credentials(self, server: str) -> Self:
        """Return these settings for another server, which must not get what is for the first."""
        return replace(
            self,
            server=server,
            token=None,
            token_file=None,
            tls_ca=None,
            tls_cert=None,
            tls_key=None,
            tenant=None,
        )


@dataclass(frozen=True, slots=True)
class _Option:
    flags: tuple[str, ...]
    metavar: str
    help: str
    environ: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.flags[0].removeprefix("--")


_OPTIONS: Final = (
    _Option(
        ("--server",),
        "ADDRESS",
        "HOST:PORT, IP:PORT,IP:PORT or unix:PATH of the control plane. [default: localhost:50051]",
        ("BOXWALL_SERVER",),
    ),
    _Option(
        ("--token",),
        "TOKEN",
        "Who is calling. Better in BOXWALL_TOKEN: others can see the command line.",
        ("BOXWALL_TOKEN",),
    ),
    _Option(
        ("--token-file",),
        "FILE",
        "File that holds the token, instead of --token; read for each call.",
        ("BOXWALL_TOKEN_FILE",),
    ),
    _Option(
        ("--tls-ca",),
        "FILE",
        'Encrypt, and trust these certificates (PEM), or those of this machine: "system".',
        ("BOXWALL_TLS_CA", "BOXWALL_CA"),
    ),
    _Option(
        ("--tls-cert",),
        "FILE",
        "Certificate of this client (PEM), if the server asks for one.",
        ("BOXWALL_TLS_CERT",),
    ),
    _Option(("--tls-key",), "FILE", "Its private key (PEM).", ("BOXWALL_TLS_KEY",)),
    _Option(
        ("--as-tenant",),
        "TENANT",
        "Act in this tenant; needs the scope admin.",
        ("BOXWALL_TENANT",),
    ),
    _Option(("--output", "-o"), "text|json", "How to answer. [default: text]", ("BOXWALL_OUTPUT",)),
    _Option(
        ("--timeout",),
        "DURATION",
        f"How long to try to get an answer. [default: {DEFAULT_TIMEOUT}]",
        ("BOXWALL_TIMEOUT",),
    ),
    _Option(("--config",), "FILE", "TOML file with these settings as keys.", ("BOXWALL_CONFIG",)),
)
_KEYS: Final = tuple(option.name for option in _OPTIONS if option.name != "config")


def client_options(command: F) -> F:
    """Give a verb the options of the clients."""
    return _with_options(command, reads_environment=False)


def root_options(command: F) -> F:
    """Give them to the root, which reads the environment too: once, and below every flag."""
    return _with_options(command, reads_environment=True)


def settings_of(context: click.Context) -> Settings:
    """Return what counts for the verb that runs. Raises click.UsageError."""
    layers = _layers(context)
    _read_file(layers)
    output = layers.get("output") or "text"
    if output not in ("text", "json"):
        raise click.BadParameter(f"{output!a} is neither text nor json", param_hint="--output")
    try:
        timeout = parse_duration(layers.get("timeout") or DEFAULT_TIMEOUT)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--timeout") from exc
    token, token_file = layers.one_of("token", "token-file")
    return Settings(
        server=layers.get("server"),
        token=token,
        token_file=token_file,
        tls_ca=layers.get("tls-ca"),
        tls_cert=layers.get("tls-cert"),
        tls_key=layers.get("tls-key"),
        tenant=layers.get("as-tenant"),
        output="json" if output == "json" else "text",
        timeout=timeout,
    )


def asks_for_json(context: click.Context) -> bool:
    """Whether answers, so also errors, are to be JSON, as far as the settings can be read."""
    layers = _layers(context)
    with suppress(click.UsageError):
        _read_file(layers)
    return layers.get("output") == "json"


def verb_of(context: click.Context) -> str:
    """Return the command that was called, such as "boxwall box list", also once it has ended."""
    verb: str = context.meta.get(_VERB, context.command_path)
    return verb


def _with_options(command: F, *, reads_environment: bool) -> F:
    for option in reversed(_OPTIONS):
        command = click.option(
            *option.flags,
            metavar=option.metavar,
            help=option.help,
            envvar=option.environ if reads_environment else None,
            show_envvar=reads_environment,
            expose_value=False,
            callback=_keep,
        )(command)
    return command


def _keep(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    context.meta[_VERB] = context.command_path  # the last to read its options is the one that runs
    if not value or parameter.name is None:
        return
    source = context.get_parameter_source(parameter.name)
    rank = Rank.ENVIRONMENT if source is ParameterSource.ENVIRONMENT else Rank.COMMAND_LINE
    _layers(context).put(parameter.name.replace("_", "-"), value, rank)


def _layers(context: click.Context) -> Layers:
    """Return what was given on this command line; click shares `meta` between nested contexts."""
    layers: Layers = context.meta.setdefault(_META, Layers())
    return layers


def _read_file(layers: Layers) -> None:
    path = layers.get("config")
    if path is None:
        return
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise click.BadParameter(f"{path}: {exc}", param_hint="--config") from exc
    values = {key.replace("_", "-"): value for key, value in values.items()}
    unknown = sorted(values.keys() - set(_KEYS))
    # BOXWALL_CONFIG may name the file of a server on the same machine; a file that was named for
    # this command has to be understood as a whole.
    if unknown and layers.is_from_command_line("config"):
        known = ", ".join(_KEYS)
        raise click.BadParameter(
            f"{path}: unknown keys: {', '.join(unknown)}; known are {known}",
            param_hint="--config",
        )
    for key in _KEYS:
        # In the file of a server these are the server's own.
        is_of_server = key in ("tls-cert", "tls-key") and "tls-ca" not in values
        if key in values and not is_of_server:
            layers.put(key, str(values[key]), Rank.FILE)
