"""etcd, on which many would build this: one member, started here, its data on the same disk.

It listens on the loopback interface, as the control plane beside it does. A put is answered when
etcd has synced its log, which is its default and is left as it is.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from bench.callers import Callers
from bench.fleet import Watchers
from bench.harness import Bench, free_port
from bench.messages import BOX, Template, five_entries
from bench.processes import Child

PUT = "/etcdserverpb.KV/Put"
WATCH = "/etcdserverpb.Watch/Watch"
_PLACES = ":/usr/sbin:/usr/local/sbin:/usr/local/bin"

rpc: Any = grpc.protos("bench/etcd_rpc.proto")


def missing() -> str:
    """Return why etcd cannot be measured here. Empty: it can."""
    return "" if _program() else "etcd not found (tools/bench-packages.sh)"


@dataclass(frozen=True, slots=True)
class Etcd:
    """One member that is alone."""

    child: Child
    target: str


async def start(bench: Bench) -> Etcd:
    """Start it, on a directory of its own. It may not accept connections yet."""
    program = _program()
    assert program is not None
    target, peers = (f"127.0.0.1:{free_port()}" for _ in range(2))
    argv = [
        *(program, "--name", "bench", "--data-dir", str(bench.fresh("etcd"))),
        *(
            "--listen-client-urls",
            f"http://{target}",
            "--advertise-client-urls",
            f"http://{target}",
        ),
        *("--listen-peer-urls", f"http://{peers}"),
        *("--initial-advertise-peer-urls", f"http://{peers}"),
        *("--initial-cluster", f"bench=http://{peers}"),
        *("--logger", "zap", "--log-level", "error"),
    ]
    return Etcd(await bench.processes.spawn("etcd", argv), target)


def put() -> Template:
    """Return Put of a box's policy, with the same five entries as an update has."""
    value = five_entries().SerializeToString()
    return Template(rpc.PutRequest(key=BOX, value=value).SerializeToString())


class EtcdCallers(Callers):
    """Callers of etcd."""

    templates: Mapping[str, Callable[[], Template]] = {PUT: put}


class EtcdWatchers(Watchers):
    """Watchers of every key of etcd."""

    method = WATCH

    def _subscribe(self, number: int) -> bytes:
        every = rpc.WatchCreateRequest(key=b"\0", range_end=b"\0")
        request: bytes = rpc.WatchRequest(create_request=every).SerializeToString()
        return request

    def _has_change(self, frame: bytes) -> bool:
        return bool(rpc.WatchResponse.FromString(frame).events)


def _program() -> str | None:
    return shutil.which("etcd", path=os.environ.get("PATH", "") + _PLACES)
