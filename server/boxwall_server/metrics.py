"""What operators can see: Prometheus metrics, in one place, with their names and units."""

import contextlib
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The metrics of one server, in a registry of their own so that tests can have many."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Histogram(
            "boxwall_request_seconds",
            "Time to answer a call; of a stream, its life.",
            ["service", "method", "code"],
            buckets=_FAST,
            registry=self.registry,
        )
        self.commit_seconds = Histogram(
            "boxwall_commit_seconds",
            "Time to check, write and sync one batch of writes.",
            buckets=_FAST,
            registry=self.registry,
        )
        self.acknowledge_seconds = Histogram(
            "boxwall_acknowledge_seconds",
            "Time from sending a frame to a node until the node acknowledges it.",
            buckets=_FAST,
            registry=self.registry,
        )
        self.streams = Gauge(
            "boxwall_streams", "Open streams, by kind.", ["kind"], registry=self.registry
        )
        self.streams_ended = Counter(
            "boxwall_streams_ended",
            "Streams that the server ended, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self.streams_deferred = Counter(
            "boxwall_streams_deferred",
            "Subscriptions that were asked to come back later.",
            registry=self.registry,
        )
        self.shed = Counter(
            "boxwall_shed_calls",
            "Calls and streams that were turned away because there was too much to do.",
            registry=self.registry,
        )
        self.node_lag = Gauge(
            "boxwall_node_lag_revisions",
            "How many revisions the store is ahead of what a node has acknowledged.",
            ["tenant", "node"],
            registry=self.registry,
        )
        self.refusals = Counter(
            "boxwall_refusals",
            "Connections that nodes refused, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self.refusals_dropped = Counter(
            "boxwall_refusals_dropped",
            "Refusals that were not shown: a watcher was too slow, or the box detached meanwhile.",
            registry=self.registry,
        )
        self.refused_callers = Counter(
            "boxwall_refused_callers",
            "Calls that were refused for who made them, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self.store_away = Gauge(
            "boxwall_store_away",
            "1 while the store does not answer.",
            registry=self.registry,
        )
        self.stale_files = Gauge(
            "boxwall_stale_file",
            "1 while a file was changed into one that cannot be used; the last good one holds.",
            ["file"],
            registry=self.registry,
        )
        self.certificate_expires = Gauge(
            "boxwall_certificate_expire_time_seconds",
            "When the server's certificate expires, in seconds since 1970.",
            registry=self.registry,
        )
        self.revision = Gauge(
            "boxwall_revision", "The newest revision of the store.", registry=self.registry
        )
        self.expired = Counter(
            "boxwall_boxes_expired",
            "Boxes deleted because their time was up.",
            registry=self.registry,
        )

    def forget_node(self, tenant: str, node_id: str) -> None:
        """Show no lag of a node that is gone: nodes come and go, and metrics must not pile up."""
        with contextlib.suppress(KeyError):
            self.node_lag.remove(tenant, node_id)

    def request_observer(self, service: str, method: str) -> Callable[[str, float], None]:
        """Return what records a call of one method: (status name, seconds)."""
        children: dict[str, Histogram] = {}

        def observe(code: str, seconds: float) -> None:
            child = children.get(code)
            if child is None:
                child = children[code] = self._requests.labels(service, method, code)
            child.observe(seconds)

        return observe
