"""Metrics and health over HTTP, for Prometheus and for container health checks."""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

MAX_AT_ONCE: Final = 16
"""Connections; more are closed at once."""

LONGEST: Final = 15.0
"""Seconds that one connection lasts, however slowly its client speaks."""

_PLAIN: Final = [("Content-Type", "text/plain; charset=utf-8")]


class CannotListen(Exception):
    """The address cannot be had; the text says why and what to do."""


@contextmanager
def serve_monitoring(
    host: str,
    port: int,
    registry: CollectorRegistry,
    is_healthy: Callable[[], bool],
    *,
    is_ready: Callable[[], bool] | None = None,
) -> Iterator[int]:
    """Serve `/metrics`, `/healthz` and `/readyz` in a thread for as long as the context lasts.

    What is healthy is ready, unless `is_ready` says more. Yields the port. Raises CannotListen.
    """
    try:
        server = make_server(
            host,
            port,
            monitoring_app(registry, is_healthy, is_ready or is_healthy),
            server_class=_Server,
            handler_class=_Handler,
        )
    except OSError as exc:
        raise CannotListen(
            f"cannot serve metrics on {host}:{port}: {exc.strerror}; "
            "choose another with --metrics-listen, or none with --metrics-listen off"
        ) from exc
    thread = threading.Thread(target=server.serve_forever, name="monitoring", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def monitoring_app(
    registry: CollectorRegistry, is_healthy: Callable[[], bool], is_ready: Callable[[], bool]
) -> "WSGIApplication":
    """Return the application, which can be asked without a socket."""
    serve_metrics = make_wsgi_app(registry)

    def app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        match environ.get("PATH_INFO"):
            case "/metrics":
                body: Iterable[bytes] = serve_metrics(environ, start_response)
                return body
            case "/healthz":
                return _said(start_response, is_healthy(), "serving")
            case "/readyz":
                return _said(start_response, is_ready(), "ready")
            case _:
                start_response("404 Not Found", _PLAIN)
                return [b"there are /metrics, /healthz and /readyz\n"]

    return app


def _said(start_response: "StartResponse", is_so: bool, what: str) -> list[bytes]:
    start_response("200 OK" if is_so else "503 Service Unavailable", _PLAIN)
    return [f"{'' if is_so else 'not '}{what}\n".encode()]


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each connection, of which there are few, and none for long."""

    daemon_threads = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._slots = threading.BoundedSemaphore(MAX_AT_ONCE)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin to serve a connection, in a thread of its own."""
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._slots.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end."""
        limit = threading.Timer(LONGEST, _cut, [request])
        limit.daemon = True
        limit.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            limit.cancel()
            self._slots.release()


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):  # it has ended by itself
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(WSGIRequestHandler):
    timeout = 10
    """Seconds that a client may be silent."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # named by the base
        """Say nothing: scrapes are not news."""
