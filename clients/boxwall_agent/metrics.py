"""What operators of a node can see: Prometheus metrics, with their names and units."""

from collections.abc import Callable, Iterator, Sequence
from threading import Lock

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from boxwall_agent.counts import COUNTERS, Totals
from boxwall_agent.errors import KernelError
from boxwall_agent.hosted import Hosted, Standing
from boxwall_agent.nft.kernel import Nftables

_FAST = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)


class Metrics:
    """The metrics of one agent, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.apply_seconds = Histogram(
            "boxwall_agent_apply_seconds",
            "Time from a message of the control plane until the kernel enforces it.",
            buckets=_FAST,
            registry=self.registry,
        )
        self.in_contact = Gauge(
            "boxwall_agent_in_contact",
            "Whether the control plane is in contact.",
            registry=self.registry,
        )
        self.repairs = Counter(
            "boxwall_agent_repairs",
            "How often the table was put back because somebody had changed it.",
            registry=self.registry,
        )
        self.refusals = Counter(
            "boxwall_agent_recorded_refusals",
            "Refused packets that were recorded, by reason. A sample: see refused_packets.",
            ["reason"],
            registry=self.registry,
        )
        self.connections = Counter(
            "boxwall_agent_connections",
            "Open connections at changes of their box's policy, by outcome.",
            ["outcome"],
            registry=self.registry,
        )


class NodeCollector(Collector):
    """What is asked of the node at each scrape. Scrapes come in threads of their own."""

    def __init__(
        self,
        nft: Nftables,
        hosted: Callable[[], Sequence[Hosted]],
        unread: Callable[[], int | None],
    ) -> None:
        """`nft`: a socket of its own. `unread`: packets that were for the agent to read, and did
        not fit into its queue; None: nobody counts them.
        """
        self._nft = nft
        self._hosted = hosted
        self._unread = unread
        self._totals = Totals()
        self._lock = Lock()

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Yield what is so now."""
        boxes = GaugeMetricFamily(
            "boxwall_agent_boxes", "Boxes attached, by what is done for them.", labels=["standing"]
        )
        standings = [hosted.standing for hosted in self._hosted()]
        for standing in Standing:
            boxes.add_metric([standing.value], standings.count(standing))
        yield boxes
        yield self._refused_packets()
        unread = self._unread()
        if unread is not None:
            yield CounterMetricFamily(
                "boxwall_agent_unread_packets",
                "Packets for the agent to read that were dropped, because too many waited.",
                value=unread,
            )

    def _refused_packets(self) -> CounterMetricFamily:
        refused = CounterMetricFamily(
            "boxwall_agent_refused_packets",
            "Packets refused, exactly, by the chain that refused them.",
            labels=["chain"],
        )
        with self._lock:
            for name in COUNTERS:
                try:
                    counted = self._nft.counters(name)
                except KernelError:
                    continue
                packets = {key: one.packets for key, one in counted.items()}
                refused.add_metric([name], self._totals.after(name, packets))
        return refused
