"""What must hold for any bytes that a box or an upstream may send. Each raises where it does not.

`tests/boxwall_agent/dns/test_readers.py` feeds them from Hypothesis; a fuzzer may do so too.
"""

from typing import Final

import dns.message
import dns.name

from boxwall_agent.dns.answer import LONGEST_TTL, MOST_ALIASES, MOST_RECORDS, answer_of, shortened
from boxwall_agent.dns.question import AAAA, ANY, CNAME, HTTPS, TXT, A, Malformed, read_query
from boxwall_agent.dns.replies import (
    BLOCKED,
    OUR_PAYLOAD,
    ExtendedError,
    reply,
    reply_to_malformed,
)

ASKED: Final = dns.name.from_text("api.example.com.")
_HEADER: Final = 12
_SMALLEST: Final = 512


def fuzz_one_query(data: bytes) -> None:
    """A message from a box is read or refused; what is answered, others can read."""
    asked = read_query(data)
    if isinstance(asked, Malformed):
        said = reply_to_malformed(asked)
        if said is not None:
            assert said[:2] == data[:2]
            assert len(said) <= max(len(data), _HEADER + 11), "larger than what was asked"
            dns.message.from_wire(said)
        return
    assert data[_HEADER:].startswith(asked.raw)
    if asked.name is not None:
        on_wire = dns.name.from_text(asked.name.text + ".").to_wire()
        assert on_wire == asked.raw[:-4].lower(), "judged by one name, asked for another"
    error = ExtendedError(BLOCKED, asked.text * 4)
    made = reply(asked, 3, error=error)
    assert len(made) <= max(_SMALLEST, min(asked.payload or 0, OUR_PAYLOAD))
    read = dns.message.from_wire(made)
    assert read.id == asked.id
    assert made[_HEADER:].startswith(asked.raw)


def fuzz_one_answer(data: bytes) -> None:
    """A message from an upstream is refused by the library, or what is kept of it is bounded and
    belongs to the name that was asked for.
    """
    try:
        message = dns.message.from_wire(shortened(data))
    except Exception:  # noqa: BLE001  # whatever the library says of it: no answer
        return
    for kind in (A, AAAA, CNAME, TXT, HTTPS, ANY):
        answer = answer_of(message, ASKED, kind)
        assert len(answer.records) <= MOST_RECORDS + MOST_ALIASES
        assert 0 <= answer.ttl <= LONGEST_TTL
        owner = ASKED.to_wire()
        for record in answer.records:
            assert record.owner == owner, "of another name"
            assert 0 <= record.ttl <= LONGEST_TTL
            if record.type == CNAME and kind != CNAME:
                owner = record.data.lower()
            else:
                assert kind in (record.type, ANY)
