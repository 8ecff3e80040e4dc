"""The internet's name server: it knows what a test tells it, and remembers every question."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from lab.namespaces import Namespace, inside

RESOLVER: Final = "9.9.9.9"
"""Where the agent asks: every address outside is the internet's."""


class NameServer:
    """Answers on port 53 of every address, UDP and TCP.

    `zone` is names to addresses, or to another name. `*.x` stands for all names below x. What is
    not there does not exist.
    """

    def __init__(self, place: Namespace) -> None:
        self.zone: dict[str, list[str]] = {}
        self.questions: list[str] = []
        self.ttl = 60
        self.craft: Callable[[dns.message.Message, dns.message.Message], bytes | None] | None = None
        """Makes another answer of a query and the honest one; None: silence."""
        self._selector = selectors.DefaultSelector()
        self._stop, stopped = socket.socketpair()
        self._selector.register(stopped, selectors.EVENT_READ, None)
        with inside(place.name):
            udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            udp.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            udp.bind(("::", 53))
            tcp = socket.create_server(("::", 53), family=socket.AF_INET6, dualstack_ipv6=True)
        self._sockets = (udp, tcp, stopped)
        self._selector.register(udp, selectors.EVENT_READ, lambda: self._answer_udp(udp))
        self._selector.register(tcp, selectors.EVENT_READ, lambda: self._answer_tcp(tcp))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def asked(self, name: str) -> int:
        """How often somebody asked for a name, of whatever type."""
        return sum(one == name for one in self.questions)

    def close(self) -> None:
        """Stop."""
        self._stop.close()
        self._thread.join()
        for one in self._sockets:
            one.close()
        self._selector.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                with contextlib.suppress(OSError, dns.exception.DNSException):
                    key.data()

    def _answer_udp(self, udp: socket.socket) -> None:
        data, ancillary, _, client = udp.recvmsg(65536, 256)
        answer = self._answer(data)
        if answer is not None:
            udp.sendmsg(
                [answer], [one for one in ancillary if one[1] == socket.IPV6_PKTINFO], 0, client
            )

    def _answer_tcp(self, tcp: socket.socket) -> None:
        connection, _ = tcp.accept()
        with connection:
            connection.settimeout(2)
            size = int.from_bytes(connection.recv(2, socket.MSG_WAITALL), "big")
            answer = self._answer(connection.recv(size, socket.MSG_WAITALL))
            if answer is not None:
                connection.sendall(len(answer).to_bytes(2, "big") + answer)

    def _answer(self, data: bytes) -> bytes | None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        self.questions.append(question.name.to_text(omit_final_dot=True).lower())
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        self._fill(answer, question.name.to_text(omit_final_dot=True).lower(), question.rdtype)
        if self.craft is not None:
            return self.craft(query, answer)
        return answer.to_wire(max_size=65535)

    def _fill(self, answer: dns.message.Message, name: str, kind: dns.rdatatype.RdataType) -> None:
        found = self._find(name)
        if found is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
            return
        for value in found:
            is_address = value[0].isdigit() or ":" in value
            if not is_address:
                answer.answer.append(
                    dns.rrset.from_text(f"{name}.", self.ttl, "IN", "CNAME", f"{value}.")
                )
                self._fill(answer, value, kind)
            elif kind == (dns.rdatatype.AAAA if ":" in value else dns.rdatatype.A):
                made = dns.rrset.from_text(f"{name}.", self.ttl, "IN", kind.name, value)
                answer.answer.append(made)

    def _find(self, name: str) -> list[str] | None:
        if name in self.zone:
            return self.zone[name]
        while "." in name:
            name = name.partition(".")[2]
            if f"*.{name}" in self.zone:
                return self.zone[f"*.{name}"]
        return None


_IP_PKTINFO: Final = 8
