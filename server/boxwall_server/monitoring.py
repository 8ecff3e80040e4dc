"""Metrics and health over HTTP, for Prometheus and for container health checks."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from boxwall_server.config import BadConfig, TcpAddress
from boxwall_server.metrics import Metrics

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_PLAIN: Final = [("Content-Type", "text/plain; charset=utf-8")]


@contextmanager
def serve_monitoring(
    address: TcpAddress, metrics: Metrics, is_healthy: Callable[[], bool]
) -> Iterator[int]:
    """Serve `/metrics` and `/healthz` in a thread for as long as the context lasts.

    Yields the port. Raises BadConfig if the address cannot be had.
    """
    try:
        server = make_server(
            address.host,
            address.port,
            monitoring_app(metrics, is_healthy),
            server_class=_Server,
            handler_class=_Handler,
        )
    except OSError as exc:
        raise BadConfig(
            f"cannot serve metrics on {address}: {exc.strerror}; "
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


def monitoring_app(metrics: Metrics, is_healthy: Callable[[], bool]) -> "WSGIApplication":
    """Return the application, which can be asked without a socket."""
    serve_metrics = make_wsgi_app(metrics.registry)

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
