"""Runs in the box: tries targets, and downloads. It knows nothing of Boxwall.

    stdin   {"try": [{"name": ..., "address": ..., "port": ...}, ...]}
    stdout  {"tried": N, "reached": true, "milliseconds": 4.1}, {"downloads": {NAME: OCTETS}}

    stdin   {"download": NAME}
    stdout  {"ended": NAME, "last": SECONDS, "octets": N}

What came of each target is told in order, and then how far the downloads are. Seconds are those of
the machine's monotonic clock, which the other side of this pipe reads too.
"""

import contextlib
import json
import socket
import ssl
import sys
import threading
import time

PATIENCE = 3.0
SLOWLY = 0.001
CHUNK = 8192
BUFFER = 16384
"""Little, so that what is read came just now."""

octets: dict[str, int] = {}
lock = threading.Lock()


def say(**event: object) -> None:
    """One line."""
    with lock:
        print(json.dumps(event), flush=True)


def opened(name: str, address: str, port: int) -> socket.socket:
    """A connection, with TLS but on port 80."""
    made = socket.create_connection((address or name, port), PATIENCE)
    if port == 80:
        return made
    context = ssl.create_default_context(cafile=sys.argv[1])
    if address:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(made, server_hostname=name or None)


def is_reached(name: str, address: str, port: int) -> bool:
    """Whether the server there answers."""
    try:
        with opened(name, address, port) as made:
            made.sendall(f"GET / HTTP/1.1\r\nHost: {name or address}\r\n\r\n".encode())
            return made.recv(CHUNK).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def download(name: str) -> None:
    """Without end, until it is cut."""
    last = 0.0
    with contextlib.suppress(OSError), opened(name, "", 443) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        made.sendall(f"GET /bytes/{1 << 40} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
        while data := made.recv(CHUNK):
            last = time.monotonic()
            octets[name] += len(data)
            time.sleep(SLOWLY)
    say(ended=name, last=last, octets=octets.pop(name))


def main() -> None:
    """Until stdin ends."""
    for line in sys.stdin:
        asked = json.loads(line)
        if "download" in asked:
            octets[asked["download"]] = 0
            threading.Thread(target=download, args=(asked["download"],), daemon=True).start()
            continue
        for number, target in enumerate(asked["try"]):
            began = time.monotonic()
            reached = is_reached(**target)
            took = (time.monotonic() - began) * 1000
            say(tried=number, reached=reached, milliseconds=took)
        say(downloads=dict(octets))


if __name__ == "__main__":
    main()
