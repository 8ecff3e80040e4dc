"""`boxwall server` and `backup`: from the command line to a running server."""

import asyncio
import gc
import json
import resource
import signal
import sqlite3
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click
import structlog

from boxwall.logs import LEVELS, configure_logs
from boxwall.policy import Limits, Mode
from boxwall_server.app import running
from boxwall_server.config import (
    DEFAULT_LISTEN,
    DEFAULT_METRICS_LISTEN,
    BadConfig,
    ServerConfig,
    default_store,
    parse_listen,
    parse_metrics_listen,
    parse_store,
)
from boxwall_server.security_options import SECURITY_OPTIONS, bounds_of, security_of
from boxwall_server.store.errors import StoreError
from boxwall_server.store.sqlite_file import backup_file

USAGE_ERROR: Final = 2
_CANNOT_START: Final = 1

_CLIENT_KEYS: Final = {"server", "token", "token_file", "tls_ca", "as_tenant", "output", "timeout"}
_AGENT_KEYS: Final = {
    *("node_id", "state_dir", "agent_socket", "blocked_cidr", "node_address", "inbound_from"),
    *("max_stale", "new_connections", "dns_upstream", "dns_refuse_with", "dns_queries"),
    *("shortest_lease", "longest_lease", "leases_per_name", "leases_per_box", "lease_grace"),
    *("http_port", "connections"),
}
"""Keys of client commands and, in `boxwall up`, of the agent: one file can serve them and the
server."""

_OUTPUT_IN_FILE: Final = "boxwall.output-in-file"

_log = structlog.get_logger()
C = TypeVar("C", bound=Callable[..., Any])


def _read_config(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Take the values of a TOML file as defaults, below flags and environment."""
    of_root = _given_to_root(context, "config")
    path = path or (None if of_root is None else Path(of_root))
    if path is None:
        return
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise click.BadParameter(f"{path}: {exc}") from exc
    values = {key.replace("-", "_"): value for key, value in values.items()}
    known = {parameter.name for parameter in context.command.params}
    unknown = sorted(values.keys() - known - _CLIENT_KEYS - _AGENT_KEYS - _server_keys())
    if unknown:
        raise click.BadParameter(f"{path}: unknown keys: {', '.join(unknown)}")
    context.meta[_OUTPUT_IN_FILE] = values.pop("output", None)
    mine = {key: value for key, value in values.items() if key in known}
    context.default_map = {**(context.default_map or {}), **mine}


def _given_to_root(context: click.Context, name: str) -> str | None:
    """The value of an option that stands before the verb: the root keeps it for all verbs."""
    layers = context.find_root().meta.get("boxwall.settings")
    value: str | None = None if layers is None else layers.get(name)
    return value


_CONFIG_OPTION: Final = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=_read_config,
    is_eager=True,
    expose_value=False,
    envvar="BOXWALL_CONFIG",
    help="TOML file with these settings; keys are the names of the flags.",
)

_OPTIONS: Final = (
    _CONFIG_OPTION,
    click.option(
        "--listen",
        default=DEFAULT_LISTEN,
        show_default=True,
        envvar="BOXWALL_LISTEN",
        help="HOST:PORT or unix:PATH.",
    ),
    *SECURITY_OPTIONS,
    click.option(
        "--store",
        default=default_store,
        show_default="sqlite: in the state directory",
        envvar="BOXWALL_STORE",
        help="sqlite:PATH, or postgresql://USER:PASSWORD@HOST:PORT/DATABASE for several servers "
        "on one database. The environment keeps a password out of the list of processes.",
    ),
    click.option(
        "--metrics-listen",
        default=DEFAULT_METRICS_LISTEN,
        show_default=True,
        envvar="BOXWALL_METRICS_LISTEN",
        help="HOST:PORT for /metrics, /healthz and /readyz over HTTP, or off.",
    ),
    click.option(
        "--metrics-public/--metrics-local",
        default=False,
        show_default=True,
        envvar="BOXWALL_METRICS_PUBLIC",
        help="Whether --metrics-listen may be where other machines can connect.",
    ),
    click.option(
        "--default-mode",
        type=click.Choice([Mode.ALLOW_ALL.value, Mode.DENY_ALL.value]),
        default=Mode.ALLOW_ALL.value,
        show_default=True,
        envvar="BOXWALL_DEFAULT_MODE",
        help="Policy of a box that is made without one.",
    ),
    click.option(
        "--only-placed/--any-placement",
        default=False,
        show_default=True,
        envvar="BOXWALL_ONLY_PLACED",
        help="Whether a node can attach only boxes whose node_id names it.",
    ),
    click.option(
        "--max-entries",
        type=click.IntRange(1, 100_000),
        default=1_000,
        show_default=True,
        envvar="BOXWALL_MAX_ENTRIES",
        help="Entries in each list of a policy.",
    ),
    click.option(
        "--max-labels",
        type=click.IntRange(1, 1_000),
        default=64,
        show_default=True,
        envvar="BOXWALL_MAX_LABELS",
        help="Labels of a box.",
    ),
    click.option(
        "--max-request-bytes",
        type=click.IntRange(1024, 4 * 1024 * 1024),
        default=256 * 1024,
        show_default=True,
        envvar="BOXWALL_MAX_REQUEST_BYTES",
        help="Size of one request.",
    ),
    click.option(
        "--retain",
        type=click.IntRange(1),
        default=100_000,
        show_default=True,
        envvar="BOXWALL_RETAIN",
        help="Revisions kept in the change log, for clients that come back.",
    ),
    click.option(
        "--log-level",
        type=click.Choice(LEVELS),
        default="info",
        show_default=True,
        envvar="BOXWALL_LOG_LEVEL",
        help="Least severe event that is logged.",
    ),
    click.option(
        "--log-format",
        type=click.Choice(["auto", "json", "text"]),
        default="auto",
        show_default=True,
        envvar="BOXWALL_LOG_FORMAT",
        help="auto: text on a terminal, else JSON.",
    ),
)


def _server_keys() -> set[str]:
    """The settings of a server: `boxwall backup` reads the same file, and needs one of them."""
    return {str(parameter.name) for parameter in server.params}


def server_options(command: C) -> C:
    """Give a command the options of the control plane."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@server_options
def server(**settings: Any) -> None:
    """Run the control plane until interrupted."""
    start_logs(settings)
    try:
        asyncio.run(_serve(server_config(settings)))
    except BadConfig as exc:
        fail(exc, USAGE_ERROR)
    except StoreError as exc:
        fail(exc, _CANNOT_START)


@click.command()
@_CONFIG_OPTION
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--store",
    default=default_store,
    show_default="sqlite: in the state directory",
    envvar="BOXWALL_STORE",
    help="sqlite:PATH to copy from; a server may be using it.",
)
@click.option("--output", "-o", type=click.Choice(["text", "json"]), help="How to answer.")
@click.pass_context
def backup(context: click.Context, file: Path, store: str, output: str | None) -> None:
    """Write a consistent copy of the state to FILE, which must not exist.

    Serve from the copy with --store sqlite:FILE. It begins a new history, so nodes fetch everything
    anew.
    """
    try:
        database = parse_store(store)
        if not isinstance(database, Path):
            raise BadConfig(f"back up {database} with pg_dump; see docs/operating.md")
        backup_file(database, file)
    except BadConfig as exc:
        fail(exc, USAGE_ERROR, output)
    except (StoreError, OSError, sqlite3.Error) as exc:
        fail(exc, _CANNOT_START, output)
    done = json.dumps({"backup": str(file)})
    click.echo(done if _wants_json(context, output) else f"wrote {file}")


def start_logs(settings: dict[str, Any]) -> None:
    """Set up logging as the options say."""
    as_json = settings["log_format"] == "json" or (
        settings["log_format"] == "auto" and not sys.stderr.isatty()
    )
    configure_logs(settings["log_level"], as_json=as_json)


def server_config(settings: dict[str, Any]) -> ServerConfig:
    """Return the settings as a value. Raises BadConfig."""
    security = security_of(settings)
    return ServerConfig(
        listen=parse_listen(settings["listen"], security),
        database=parse_store(settings["store"]),
        metrics_listen=parse_metrics_listen(
            settings["metrics_listen"], public=settings["metrics_public"]
        ),
        default_mode=Mode(settings["default_mode"]),
        limits=Limits(entries_per_list=settings["max_entries"]),
        max_request_bytes=settings["max_request_bytes"],
        max_labels=settings["max_labels"],
        retain=settings["retain"],
        only_placed=settings["only_placed"],
        security=security,
        bounds=bounds_of(settings),
        max_boxes=settings["max_boxes"],
        max_writes=settings["max_writes"],
    )


async def _serve(config: ServerConfig) -> None:
    """Serve until SIGINT or SIGTERM, then stop in good order."""
    stop = stop_signal()
    async with running(config) as app:
        tune_process()
        _log.info("serving", address=str(app.address), store=str(config.database))
        click.echo(f"boxwall serves on {app.address}")
        await stop.wait()
        _log.info("stopping")
    _log.info("stopped")


def stop_signal() -> asyncio.Event:
    """Return what SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


def tune_process() -> None:
    """Make a process that has started ready for many connections."""
    _calm_collector()
    # Each connection is a file; 1,024 is usual, and the most that the system lets us have is more.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _calm_collector() -> None:
    """Let the garbage collector look less often, and never again at what was made at start.

    Calls make many objects and hardly a cycle; with thousands of open streams, looking at all of
    them again and again cost more than half of a fan-out (see docs/performance.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1_000)


def fail(error: Exception, status: int, output: str | None = None) -> NoReturn:
    """Say what is wrong, in JSON as all commands do if that is asked for, and exit."""
    document = {
        "error": type(error).__name__,
        "message": str(error),
        "status": status,
        "next": "",
        "violations": [],
    }
    as_json = _wants_json(click.get_current_context(), output)
    click.echo(json.dumps(document) if as_json else f"boxwall: {error}", err=True)
    sys.exit(status)


def _wants_json(context: click.Context, output: str | None) -> bool:
    output = output or _given_to_root(context, "output") or context.meta.get(_OUTPUT_IN_FILE)
    return output == "json"
