"""TLS on a port on which clear HTTP is relayed: passed on as it is, once it is sure whom it names.

A server may ask for another ClientHello, and some take another name from it. So nothing of the box
is passed on behind its first one until the server has answered, and the second must carry the same
name.
"""

from typing import Final

from boxwall.policy import Name, Reason
from boxwall_agent.firstbytes.hello import Broken, Hello, More, read_hello
from boxwall_agent.firstbytes.tls import Answer, next_handshake, read_answer
from boxwall_agent.judging import Refusal
from boxwall_agent.relay.streams import CHUNK, Stream

_CHANGE_CIPHER: Final = b"\x14\x03\x03\0\1\1"
_MISMATCH: Final = Refusal(Reason.NAME_MISMATCH)
_UNRECOGNISED: Final = Refusal(Reason.UNRECOGNISED_PROTOCOL)


async def shake_hands(
    box: Stream, server: Stream, name: Name, hello: bytes, behind: bytes
) -> Refusal | None:
    """Pass on `hello`, which carries `name`, and what follows until the server goes on with it.

    `behind`: what the box has sent after it. Returns why the connection must end; None: all that
    follows may pass, and nothing of it has been read.
    """
    at = next_handshake(behind)
    if at is None or at < len(behind):
        return _MISMATCH
    await server.send(hello + behind)
    match await _answer(box, server):
        case Answer.FINAL | Answer.INCOMPLETE:
            return None
        case Answer.STRANGE:
            return _UNRECOGNISED
        case Answer.RETRY:
            again = await _second_hello(box, name, behind)
            if isinstance(again, Refusal):
                return again
            await server.send(again)
            final = await _answer(box, server)
            return None if final in (Answer.FINAL, Answer.INCOMPLETE) else _UNRECOGNISED


async def _answer(box: Stream, server: Stream) -> Answer:
    """How the server answers; the box has all of it. INCOMPLETE: the server has ended."""
    said = b""
    while (answer := _read(said)) is Answer.INCOMPLETE:
        more = await server.reader.read(CHUNK)
        if not more:
            break
        said += more
        await box.send(more)
    return answer


def _read(said: bytes) -> Answer:
    """A change of cipher, which for old middleboxes' sake follows what asks again, says nothing."""
    while said.startswith(_CHANGE_CIPHER):
        said = said[len(_CHANGE_CIPHER) :]
    return Answer.INCOMPLETE if _CHANGE_CIPHER.startswith(said) else read_answer(said)


async def _second_hello(box: Stream, name: Name, behind: bytes) -> bytes | Refusal:
    """All that the box sends up to the end of its second hello, and with it."""
    passed = len(behind)
    while True:
        more = await box.reader.read(CHUNK)
        if not more:
            return _UNRECOGNISED
        behind += more
        at = next_handshake(behind)
        if at is None:
            return _MISMATCH
        if at >= len(behind):
            continue
        match read_hello(behind[at:]):
            case Hello(name=carried):
                return behind[passed:] if carried == name else _MISMATCH
            case Broken():
                return _UNRECOGNISED
            case More():
                pass
