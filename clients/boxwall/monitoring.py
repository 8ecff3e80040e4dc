"""Metrics and health over HTTP, for Prometheus and for container health checks."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_PLAIN: Final = [("Content-Type", "text/plain; charset=utf-8")]


class CannotListen(Exception):
    """The address cannot be had; the text says why and what to do."""


@contextmanager
def serve_monitoring(
    host: str, port: int, registry: CollectorRegistry, is_healthy: Callable[[], bool]
) -> Iterator[int]:
    """Serve `/metrics` and `/healthz` in a thread for as long as the context lasts.

    Yields the port. Raises CannotListen.
    """
    try:
        server = make_server(
            host,
            port,
            monitoring_app(registry, is_healthy),
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
    registry: CollectorRegistry, is_healthy: Callable[[], bool]
) -> "WSGIApplication":
    """Return the application, which can be asked without a socket."""
    serve_metrics = make_wsgi_app(registry)

    def app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        match environ.get("PATH_INFO"):
            case "/metrics":
                body: Iterable[bytes] = serve_metrics(environ, start_response)
                return body
            case "/healthz":
                healthy = is_healthy()
                status = "200 OK" if healthy else "503 Service Unavailable"
                start_response(status, _PLAIN)
                return [b"serving\n" if healthy else b"not serving\n"]
            case _:
                start_response("404 Not Found", _PLAIN)
                return [b"there are /metrics and /healthz\n"]

    return app


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = 10
    """Seconds that a client may take for its request."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # named by the base
        """Say nothing: scrapes are not news."""
