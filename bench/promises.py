"""What the report promises to show: a figure for each target, and for all that stands beside.

`question` is the name of the question that answers; `key` is its row in results.json. The names of
the rows are those of a full run.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Promise:
    """One row that must be there."""

    question: str
    key: str
    text: str


PROMISES = (
    Promise("decide", "decide_100_entries", "verdicts on a policy of 100 entries"),
    Promise("decide", "decide_growth", "how `decide` grows with the entries"),
    Promise("updates", "updates_64_callers", "durable updates from 64 callers"),
    Promise("growth", "updates_in_1000000_boxes", "durable updates among 1,000,000 boxes"),
    Promise("growth", "updates_of_1000_entries", "durable updates of policies of 1,000 entries"),
    Promise("fanout", "fanout_1000_watchers", "fan-out to 1,000 watchers"),
    Promise("fanout", "fanout_5000_watchers", "fan-out to 5,000 watchers"),
    Promise("etcd", "etcd_writes_64_callers", "durable writes beside etcd"),
    Promise("etcd", "etcd_change_p50_1_watchers", "update to change beside etcd's put to event"),
    Promise("etcd", "etcd_change_p50_1000_watchers", "1,000 watchers beside etcd"),
    Promise("propagation", "propagation_idle_p50_1000_boxes", "update to acknowledgement, idle"),
    Promise("propagation", "propagation_loaded_p99_1000_boxes", "the same under load"),
    Promise("everything", "change_all_5000_boxes", "one change of each of 5,000 boxes"),
    Promise("reconnect", "reconnect_5000_nodes", "5,000 nodes come back"),
    Promise("memory", "memory_per_node_of_5000", "memory for each of 5,000 nodes"),
    Promise("memory", "memory_per_box_of_1000000", "memory for each of 1,000,000 boxes"),
    Promise("startup", "start_with_100000_boxes", "start with 100,000 boxes"),
    Promise("startup", "start_with_1000000_boxes", "start with 1,000,000 boxes"),
    Promise("reads", "get_box_of_1000000", "reads among 1,000,000 boxes"),
    Promise("kernel_apply", "kernel_apply_update_p50_1000_boxes", "a change in the kernel"),
    Promise("kernel_apply", "kernel_apply_update_libnftables_1000_boxes", "beside libnftables"),
    Promise("kernel_apply", "kernel_apply_update_nft_1000_boxes", "beside the nft program"),
    Promise("kernel_apply", "kernel_apply_growth", "how it grows up to 10,000 boxes"),
    Promise("kernel_entries", "kernel_apply_one_of_1000_entries", "one of 1,000 entries changed"),
    Promise("enforced", "enforced_idle_p50_1000_boxes", "update to the kernel and back, p50"),
    Promise("enforced", "enforced_idle_p99_1000_boxes", "update to the kernel and back, p99"),
    Promise("enforced", "enforced_loaded_p99_1000_boxes", "the same under 500 updates/s"),
    Promise("enforced", "enforced_idle_p50_10000_boxes", "the same with 10,000 boxes attached"),
    Promise("forwarding", "forwarding_tcp_1000_boxes", "established TCP beside bare forwarding"),
    Promise("forwarding", "forwarding_udp_1000_boxes", "established UDP beside bare forwarding"),
    Promise("forwarding", "forwarding_new_1000_boxes", "new flows beside bare forwarding"),
    Promise("names", "tls_added_p50_by_name_100_boxes_100_domains", "time to the first byte"),
    Promise("names", "tls_download_by_name_100_boxes_100_domains", "TLS download beside bare"),
    Promise("names", "tls_download_proxy_100_boxes_100_domains", "a user-space SNI proxy"),
    Promise("dns", "dns_added_cached_p50_100_boxes_100_domains", "DNS, in the cache"),
    Promise("dns", "dns_added_new_p50_100_boxes_100_domains", "DNS, not in the cache"),
    Promise("dns", "dns_per_core_cached_100_boxes_100_domains", "DNS beside dnsmasq"),
    Promise(
        "dns", "dns_per_core_cached_100_boxes_100_domains_beside_unbound", "DNS beside unbound"
    ),
    Promise("soak", "soak_errors", "mixed load for a long time"),
)
