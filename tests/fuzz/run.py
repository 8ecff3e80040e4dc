"""Feed the readers of untrusted bytes from a fuzzer that follows what they do: `make fuzz`.

    python tests/fuzz/run.py [--seconds N] [TARGET ...]

Each target runs in a process of its own, and keeps what it has found interesting in `.fuzz/TARGET`.
An input that breaks a law is kept too; its path is printed, and the command fails. To run it again:
`python tests/fuzz/run.py --again PATH TARGET`.
"""

import argparse
import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = [str(ROOT / folder) for folder in ("clients", "server", "tests")]
KEPT: Final = ROOT / ".fuzz"
LONGEST: Final = 4096
"""Octets of an input."""

_TOO_LONG: Final = 10
"""Seconds for one input; a box must not hold up the others."""

_WATCHED: Final = ["boxwall", "boxwall_agent", "h11", "dns", "fuzz", "fakes.tcp_talk"]
"""Whose branches guide the fuzzer."""

TARGETS: Final = {
    "query": ("fuzz.dns_readers", "fuzz_one_query"),
    "answer": ("fuzz.dns_readers", "fuzz_one_answer"),
    "hello": ("fuzz.first_bytes", "fuzz_one_hello"),
    "opening": ("fuzz.first_bytes", "fuzz_one_opening"),
    "segment": ("fuzz.first_bytes", "fuzz_one_segment"),
    "flow": ("fuzz.first_bytes", "fuzz_one_flow"),
    "relay": ("fuzz.http_relay", "fuzz_one_relayed"),
    "relay-answers": ("fuzz.http_relay", "fuzz_one_relayed_badly"),
}


def main() -> int:
    """Run the targets, one after the other; 1 if one has failed."""
    sys.path[:0] = SOURCES
    parser = argparse.ArgumentParser(description="Feed the readers of untrusted bytes.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--again", metavar="PATH", help="run one input again")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    unknown = set(arguments.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if arguments.again is not None or arguments.one:
        (target,) = arguments.targets or parser.error("name one target")
        return _feed(target, arguments.seconds, arguments.again)
    failed = [one for one in arguments.targets or TARGETS if not _run(one, arguments.seconds)]
    print(f"failed: {', '.join(failed)}" if failed else "no target failed")
    return 1 if failed else 0


def _run(target: str, seconds: int) -> bool:
    """In a process of its own; say where the input is that ends it."""
    folder = KEPT / target
    folder.mkdir(parents=True, exist_ok=True)
    _plant(folder)
    before = set(folder.parent.glob(f"{target}-*"))
    print(f"{target}: {seconds} s, {len(list(folder.iterdir()))} inputs to begin with", flush=True)
    command = [sys.executable, __file__, "--one", "--seconds", str(seconds), target]
    done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
    tail = done.stderr.splitlines()
    print("\n".join(tail[-3:] if done.returncode == 0 else tail[-60:]), flush=True)
    for path in sorted(set(folder.parent.glob(f"{target}-*")) - before):
        print(f"{target} FAILED, by the input {path}")
    return done.returncode == 0


def _plant(folder: Path) -> None:
    """Messages as they should be, to begin with."""
    from fakes.dns_messages import query_for
    from fakes.tls_messages import real_hello
    from fuzz.first_bytes import STREAMS

    seeds = {
        "query": [query_for("api.example.com")],
        "answer": [query_for("api.example.com")],
        "hello": [real_hello("a.com"), *STREAMS],
        "opening": [real_hello("a.com"), *STREAMS, b"EHLO box\r\nSTARTTLS\r\n"],
        "flow": [
            b"\0\0\xff\xff\xfd",
            b"\0\1\xff\xff\xfc\x10\0\xff\xfd",
            b"\0\0\xff\xff\xfe\x30\xff\xff",
        ],
    }
    request = b"POST / HTTP/1.1\r\nHost: a.com\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    for number, seed in enumerate(seeds.get(folder.name, [request, b"\0" + request])):
        (folder / f"seed-{number}").write_bytes(seed)


def _feed(target: str, seconds: int, again: str | None) -> int:
    """The fuzzer itself, which does not return, or one input."""
    module, name = TARGETS[target]
    if again is not None:
        _function(module, name)(Path(again).read_bytes())
        return 0
    import atheris

    with atheris.instrument_imports(include=_WATCHED):
        function = _function(module, name)
    options = [
        *(f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-timeout={_TOO_LONG}"),
        *(f"-artifact_prefix={KEPT / target}-", "-print_final_stats=1", str(KEPT / target)),
    ]
    atheris.Setup([sys.argv[0], *options], function)
    atheris.Fuzz()
    return 0


def _function(module: str, name: str) -> Callable[[bytes], None]:
    found: Callable[[bytes], None] = getattr(importlib.import_module(module), name)
    return found


if __name__ == "__main__":
    sys.exit(main())
