"""Metrics and health over HTTP."""

import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from boxwall import monitoring
from boxwall.monitoring import MAX_AT_ONCE, CannotListen, monitoring_app, serve_monitoring
from boxwall_server.metrics import Metrics

NAMES = [
    "boxwall_request_seconds",
    "boxwall_commit_seconds",
    "boxwall_acknowledge_seconds",
    "boxwall_streams",
    "boxwall_streams_ended",
    "boxwall_streams_deferred",
    "boxwall_node_lag_revisions",
    "boxwall_refusals",
    "boxwall_refusals_dropped",
    "boxwall_revision",
    "boxwall_boxes_expired",
    "boxwall_store_away",
]


def ask(
    path: str, *, healthy: bool = True, ready: bool = True, metrics: Metrics | None = None
) -> tuple[str, str]:
    """Ask the application without a socket; return status and body."""
    environ: dict[str, Any] = {"PATH_INFO": path}
    setup_testing_defaults(environ)
    answered: list[str] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        answered.append(status)

    app = monitoring_app((metrics or Metrics()).registry, lambda: healthy, lambda: ready)
    body = app(environ, start_response)
    return answered[0], b"".join(body).decode()


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_is_there_with_its_help(name: str) -> None:
    status, body = ask("/metrics")
    assert status == "200 OK"
    assert f"# HELP {name}" in body


def test_metrics_carry_what_was_counted() -> None:
    metrics = Metrics()
    metrics.expired.inc(3)
    metrics.request_observer("s", "m")("OK", 0.002)
    metrics.request_observer("s", "m")("OK", 0.002)
    _, body = ask("/metrics", metrics=metrics)
    assert "boxwall_boxes_expired_total 3.0" in body
    assert 'boxwall_request_seconds_count{code="OK",method="m",service="s"} 2.0' in body


def test_two_servers_in_one_process_have_metrics_of_their_own() -> None:
    first, second = Metrics(), Metrics()
    first.revision.set(7)
    assert second.registry.get_sample_value("boxwall_revision") == 0


@pytest.mark.parametrize(
    ("healthy", "answer"),
    [(True, ("200 OK", "serving\n")), (False, ("503 Service Unavailable", "not serving\n"))],
)
def test_health_is_told_as_it_is_now(healthy: bool, answer: tuple[str, str]) -> None:
    assert ask("/healthz", healthy=healthy) == answer


@pytest.mark.parametrize(
    ("ready", "answer"),
    [(True, ("200 OK", "ready\n")), (False, ("503 Service Unavailable", "not ready\n"))],
)
def test_whether_it_is_ready_is_told_apart_from_health(
    ready: bool, answer: tuple[str, str]
) -> None:
    assert ask("/readyz", ready=ready) == answer
    assert ask("/healthz", ready=ready) == ("200 OK", "serving\n")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/admin", ""])
def test_another_path_says_what_there_is(path: str) -> None:
    assert ask(path) == ("404 Not Found", "there are /metrics, /healthz and /readyz\n")


@contextmanager
def connected(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        yield connection
    finally:
        connection.close()


def test_it_is_served_for_as_long_as_it_is_wanted() -> None:
    with (
        serve_monitoring("127.0.0.1", 0, Metrics().registry, lambda: True) as port,
        connected(port) as connection,
    ):
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b"serving\n"
    with pytest.raises(OSError), connected(port) as connection:  # noqa: PT011  # refused
        connection.request("GET", "/healthz")


def test_a_client_that_says_nothing_does_not_keep_others_from_asking() -> None:
    with (
        serve_monitoring("127.0.0.1", 0, Metrics().registry, lambda: True) as port,
        socket.create_connection(("127.0.0.1", port)),
        connected(port) as connection,
    ):
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200


def test_only_so_many_connections_are_served_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        serve_monitoring("127.0.0.1", 0, Metrics().registry, lambda: True) as port,
        ExitStack() as stack,
    ):
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            for _ in range(MAX_AT_ONCE)
        ]
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as more:
                assert more.recv(1) == b""
        silent[0].close()
        deadline = time.monotonic() + 5
        while not _is_answered(port):
            assert time.monotonic() < deadline


def _is_answered(port: int) -> bool:
    """Ask; a slot that was given back is free when its thread has ended."""
    try:
        with connected(port) as connection:
            connection.request("GET", "/healthz")
            return connection.getresponse().read() == b"serving\n"
    except (http.client.HTTPException, OSError):
        return False


def test_a_client_that_speaks_ever_so_slowly_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "LONGEST", 0.2)
    with (
        serve_monitoring("127.0.0.1", 0, Metrics().registry, lambda: True) as port,
        socket.create_connection(("127.0.0.1", port), timeout=5) as slow,
    ):
        slow.sendall(b"GET /healthz HTTP/1.1\r\n")
        with pytest.raises(OSError):  # noqa: PT011  # reset, or a broken pipe
            _say_for_seconds(slow, 5)


def _say_for_seconds(client: socket.socket, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        client.sendall(b"X")
        time.sleep(0.01)


def test_an_address_that_is_taken_is_refused_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(CannotListen, match="choose another with --metrics-listen"),
            serve_monitoring("127.0.0.1", port, Metrics().registry, lambda: True),
        ):
            pass
