"""On what was it measured?"""

import os
import platform
import sqlite3
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

SYNCS = 50


def describe(directory: Path) -> dict[str, str]:
    """Return what a reader needs to judge the figures; nothing that names the machine."""
    load = os.getloadavg()[0]
    return {
        "processor": f"{_processor()}, {_cores()} usable cores",
        "load when it began": f"{load:.2f} (other work on the machine makes figures worse)",
        "kernel": platform.release().split("-")[0],
        "file system of the stores": f"{_file_system(directory)}; 4 KiB append and fsync: "
        f"{_sync_seconds(directory) * 1e3:.2f} ms (median of {SYNCS})",
        "Python": platform.python_version(),
        "grpcio": version("grpcio"),
        "protobuf": version("protobuf"),
        "SQLite": sqlite3.sqlite_version,
    }


def _processor() -> str:
    known = Path("/proc/cpuinfo")
    for line in known.read_text().splitlines() if known.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _file_system(directory: Path) -> str:
    """Return the type of the file system a directory is on: the longest mount point above it."""
    found, kind = "", "unknown"
    mounts = Path("/proc/self/mounts")
    for line in mounts.read_text().splitlines() if mounts.exists() else ():
        _, point, this_kind, *_ = line.split()
        if directory.is_relative_to(point) and len(point) >= len(found):
            found, kind = point, this_kind
    return kind


def _sync_seconds(directory: Path) -> float:
    times = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(SYNCS):
            begin = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - begin)
    return median(times)
