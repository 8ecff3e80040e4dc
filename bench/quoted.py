"""The figures that README.md and docs/performance.md quote: written from results.json. Pure.

Between two markers; a test compares what stands there with results.json, and a whole run of
`make bench` writes it anew.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.figures import human
from bench.svg import ratio_plot

Results = Mapping[str, Mapping[str, object]]

BEGIN = "<!-- written by make bench from bench/results.json -->"
END = "<!-- end of what make bench writes -->"
_BETWEEN = re.compile(f"(?<={re.escape(BEGIN)}\n).*?(?={re.escape(END)})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Quote:
    """A row of results.json, in the README's words."""

    key: str
    what: str
    beside: str
    inverse: bool = False
    """Whether the ratio is one of times: the README has speeds."""
    over: str = ""
    """The row whose figure is beside this one's, if it is not in the same row."""


RATIOS = (
    Quote("updates_64_callers", "durable updates, 64 callers", "an empty gRPC handler"),
    Quote("etcd_writes_64_callers", "durable updates, 64 callers", "puts to etcd"),
    Quote("fanout_5000_watchers", "one change to 5,000 watchers", "raw stream writes"),
    Quote("etcd_change_p50_1_watchers", "update to watcher", "etcd's put to event"),
    Quote("etcd_change_p50_1000_watchers", "one change to 1,000 watchers", "etcd"),
    Quote("change_all_5000_boxes", "5,000 boxes changed", "a bare relay", inverse=True),
    Quote("kernel_apply_update_libnftables_1000_boxes", "change in the kernel", "libnftables"),
    Quote("kernel_apply_update_nft_1000_boxes", "change in the kernel", "the nft program"),
    Quote(
        "kernel_apply_update_libnftables_per_box_1000_boxes",
        "change in the kernel",
        "a chain per box, libnftables",
    ),
    Quote("forwarding_tcp_1000_boxes", "established TCP", "bare forwarding"),
    Quote("forwarding_udp_1000_boxes", "established small UDP", "bare forwarding"),
    Quote("forwarding_new_1000_boxes", "new connections", "bare forwarding"),
    Quote("tls_download_by_name_100_boxes_100_domains", "TLS download by name", "bare forwarding"),
    Quote(
        "tls_download_by_name_100_boxes_100_domains",
        "TLS download by name",
        "an SNI proxy",
        over="tls_download_proxy_100_boxes_100_domains",
    ),
    Quote("dns_per_core_cached_100_boxes_100_domains", "DNS answers per core, cached", "dnsmasq"),
    Quote("decide_100_entries", "verdicts, 100 entries", "a linear scan"),
)

FIGURES = (
    Quote("enforced_idle_p50_1000_boxes", "update, in force in the kernel, answered: p50", ""),
    Quote("enforced_idle_p99_1000_boxes", "the same, p99", ""),
    Quote("enforced_loaded_p99_1000_boxes", "the same under 500 updates/s, p99", ""),
    Quote("change_all_5000_boxes", "5,000 boxes on 1,000 nodes changed, all acknowledged", ""),
    Quote("reconnect_5000_nodes", "5,000 nodes in sync again after a crash", ""),
    Quote("memory_per_node_of_5000", "memory for each connected node", ""),
    Quote("memory_per_box_of_1000000", "memory for each of 1,000,000 boxes", ""),
    Quote("start_with_100000_boxes", "start of the server with 100,000 boxes", ""),
    Quote("tls_added_p50_by_name_100_boxes_100_domains", "added to the first byte of TLS: p50", ""),
    Quote("dns_added_cached_p50_100_boxes_100_domains", "added to a DNS answer, cached: p50", ""),
)


def readme_block(results: Results) -> str:
    """Return the README's figures: those that results.json has."""
    rows = [
        f"| {quote.what} | {_figure(results, quote.key)} | {quote.beside}: "
        f"{_beside(results, quote)} | {human(ratio)} |"
        for quote, ratio in _ratios(results)
    ]
    figures = [
        f"| {quote.what} | {_figure(results, quote.key)} | {_target(results, quote.key)} |"
        for quote in FIGURES
        if _measured(results, quote.key)
    ]
    return "\n".join(
        [
            "",
            "| | Boxwall | beside it | speed beside it |",
            "|---|---|---|---|",
            *rows,
            "",
            "![Speed beside it](bench/ratios.svg)",
            "",
            "| | figure | promised |",
            "|---|---|---|",
            *figures,
            "",
            "",
        ]
    )


def missed_block(results: Results) -> str:
    """Return the targets that are missed, and how many are met."""
    judged = {key: entry for key, entry in results.items() if entry["met"] is not None}
    missed = [key for key, entry in judged.items() if not entry["met"]]
    lines = [
        f"| {key} | {_figure(results, key)} | {_ratio_text(results, key)} "
        f"| {results[key]['target']} |"
        for key in missed
    ]
    head = f"{len(judged) - len(missed)} of {len(judged)} targets are met."
    if missed:
        head += " Not met:"
        lines = ["", "| question | figure | ratio | target |", "|---|---|---|---|", *lines]
    return "\n".join(["", head, *lines, "", ""])


def ratios_svg(results: Results) -> str:
    """Return the plot of the README's ratios."""
    ratios = {f"{quote.what}, beside {quote.beside}": ratio for quote, ratio in _ratios(results)}
    return ratio_plot("Speed beside it", "1: as fast as what is beside; 2: twice as fast", ratios)


def renewed(text: str, block: str) -> str:
    """Put the block between the markers of a document. Raises ValueError when it has none."""
    found, count = _BETWEEN.subn(lambda _: block, text)
    if count != 1:
        raise ValueError(f"{count} places between markers, not one")
    return found


def quoted(text: str) -> str:
    """Return what stands between the markers of a document."""
    found = _BETWEEN.findall(text)
    if len(found) != 1:
        raise ValueError(f"{len(found)} places between markers, not one")
    return str(found[0])


def _ratios(results: Results) -> Sequence[tuple[Quote, float]]:
    found = []
    for quote in RATIOS:
        ratio = _ratio(results, quote)
        if ratio is not None:
            found.append((quote, 1 / ratio if quote.inverse else ratio))
    return found


def _ratio(results: Results, quote: Quote) -> float | None:
    if not quote.over:
        return _value(results, quote.key, "ratio")
    ours, theirs = (_value(results, key, "figure") for key in (quote.key, quote.over))
    return None if ours is None or theirs is None else ours / theirs


def _value(results: Results, key: str, field: str) -> float | None:
    value = results.get(key, {}).get(field)
    return value if isinstance(value, float) else None


def _measured(results: Results, key: str) -> bool:
    return _value(results, key, "figure") is not None


def _figure(results: Results, key: str) -> str:
    return f"{_number(results[key]['figure'])} {results[key]['unit']}"


def _beside(results: Results, quote: Quote) -> str:
    if quote.over:
        return _number(results[quote.over]["figure"])
    return _number(results[quote.key]["beside"])


def _ratio_text(results: Results, key: str) -> str:
    return _number(results[key]["ratio"])


def _target(results: Results, key: str) -> str:
    target = results[key]["target"]
    if target is None:
        return ""
    bound = str(target).partition(" ")[2]
    return f"{bound} {results[key]['unit']}" + ("" if results[key]["met"] else ": missed")


def _number(value: object) -> str:
    return human(value) if isinstance(value, float) else ""
