"""What the kernel knows of a process: memory and CPU time. Linux only."""

from pathlib import Path

KIB = 1024


def memory_bytes(pid: int) -> int:
    """Return the resident memory of a process now."""
    return _status(pid, "VmRSS") * KIB


def peak_memory_bytes(pid: int) -> int:
    """Return the most resident memory a process ever had."""
    return _status(pid, "VmHWM") * KIB


def threads(pid: int) -> int:
    """Return how many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def open_files(pid: int) -> int:
    """Return how many file descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def cpu_seconds(pid: int) -> float:
    """Return the CPU time all threads of a process have used, to the nanosecond where possible.

    Threads that have ended are not counted: servers keep theirs.
    """
    tasks = Path(f"/proc/{pid}/task")
    try:
        texts = [(task / "schedstat").read_text() for task in tasks.iterdir()]
    except FileNotFoundError:
        return _cpu_ticks(pid)
    return sum(int(text.split()[0]) for text in texts) / 1e9


def _cpu_ticks(pid: int) -> float:
    """As `cpu_seconds`, in steps of 10 ms, where the kernel keeps no scheduler statistics."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise ProcessLookupError(f"process {pid} has no {name}: it has ended")
