"""Requests as ready bytes: the client must cost little, or it is what gets measured.

A template is encoded once, with digits of fixed width where requests differ; each request replaces
them. No two policies of one run are equal, so nothing can be served from a cache.
"""

from google.protobuf.duration_pb2 import Duration

from boxwall.v1 import box_pb2, box_service_pb2, policy_pb2
from boxwall.wire.frames import changes_frame, entry_to_bytes
from boxwall_server.changes.revision import NO_COMMIT, Cursor, Epoch, Revision, cursor_to_token

UPDATE = "/boxwall.v1.BoxService/UpdateNetworkPolicy"
CREATE = "/boxwall.v1.BoxService/CreateBox"
DELETE = "/boxwall.v1.BoxService/DeleteBox"
GET = "/boxwall.v1.BoxService/GetBox"
LIST = "/boxwall.v1.BoxService/ListBoxes"
STREAM = "/boxwall.v1.EnforcementService/StreamPolicies"
CAN = "/bench.Baseline/Can"
"""Tells a baseline what to answer: method, NUL, ready response."""

PAGE_SIZE = 100
STREAMS_PER_CONNECTION = 100

BOX = b"box-99999999"
"""In a template: where the id of a box goes."""

_NUMBER = b"88888888"
_OCTETS = b".155.166."
"""Of a network. With its dots, which no number in a name has around it."""


def box_id(number: int) -> str:
    """Return the id of a box by its number."""
    return f"box-{number:08d}"


def five_entries() -> policy_pb2.NetworkPolicy:
    """Return the policy of five entries that every request carries, with places to fill."""
    number, octets = _NUMBER.decode(), _OCTETS.decode()
    custom = policy_pb2.CustomPolicy(
        allowed_domains=[
            f"api-{number}.example.com",
            f"*.cdn-{number}.example.net",
            f"files-{number}.example.org",
        ],
        allowed_cidrs=[f"104{octets}0/24"],
        denied_cidrs=[f"203{octets}0/25"],
    )
    return policy_pb2.NetworkPolicy(custom=custom)


def so_many_entries(count: int) -> policy_pb2.CustomPolicy:
    """Return a policy of `count` entries, with places to fill: six of ten are names, of which one
    is a wildcard; the networks are allowed and denied in turn.
    """
    number = _NUMBER.decode()
    custom = policy_pb2.CustomPolicy()
    for entry in range(count):
        ten, one = divmod(entry, 10)
        if one < 5:
            custom.allowed_domains.append(f"api-{entry}-{number}.example.com")
        elif one == 5:
            custom.allowed_domains.append(f"*.cdn-{entry}-{number}.example.net")
        elif one % 2:
            custom.denied_cidrs.append(f"104.{ten}.{one}.0/25")
        else:
            custom.allowed_cidrs.append(f"104.{ten}.{one}.0/24")
    return custom


class Template:
    """A request with places for a box and for a number that makes its policy unlike any other."""

    def __init__(self, request: bytes) -> None:
        self._request = request

    def __call__(self, box: int, number: int) -> bytes:
        """Return the request for a box."""
        octets = b".1%02d.1%02d." % (number // 100 % 100, number % 100)
        return (
            self._request.replace(_OCTETS, octets)
            .replace(BOX, b"box-%08d" % box)
            .replace(_NUMBER, b"%08d" % (number % 100_000_000))
        )


def update(wait: float = 0.0, custom: policy_pb2.CustomPolicy | None = None) -> Template:
    """Return UpdateNetworkPolicy, with `wait` seconds of wait_timeout unless 0.

    `custom`: the policy, else one of five entries.
    """
    policy = five_entries() if custom is None else policy_pb2.NetworkPolicy(custom=custom)
    request = box_service_pb2.UpdateNetworkPolicyRequest(box_id=BOX.decode(), network_policy=policy)
    if wait:
        request.wait_timeout.CopyFrom(Duration(seconds=round(wait)))
    return Template(request.SerializeToString())


def create() -> Template:
    """Return CreateBox."""
    box = box_pb2.Box(name="a box", labels={"team": "search"}, network_policy=five_entries())
    request = box_service_pb2.CreateBoxRequest(box=box, box_id=BOX.decode())
    return Template(request.SerializeToString())


def get() -> Template:
    """Return GetBox."""
    request = box_service_pb2.GetBoxRequest(box_id=BOX.decode())
    return Template(request.SerializeToString())


def delete() -> Template:
    """Return DeleteBox."""
    request = box_service_pb2.DeleteBoxRequest(box_id=BOX.decode())
    return Template(request.SerializeToString())


def list_page() -> Template:
    """Return ListBoxes: one page from the beginning."""
    return Template(box_service_pb2.ListBoxesRequest(page_size=PAGE_SIZE).SerializeToString())


TEMPLATES = {UPDATE: update, CREATE: create, DELETE: delete, GET: get, LIST: list_page}


def policy_bytes(number: int) -> bytes:
    """Return a stored policy of five entries."""
    return Template(five_entries().SerializeToString())(0, number)


def change_frame(box: int, revision: int) -> bytes:
    """Return what a stream carries for one change of a box, as long as Boxwall's own frame."""
    policy = policy_bytes(revision)
    uid = "0b6a0a1c-0000-4000-8000-000000000000"
    entry = entry_to_bytes(box_id(box), uid, revision, policy=policy)
    cursor = Cursor(epoch=Epoch(bytes(16)), revision=Revision(revision), commit_id=NO_COMMIT)
    return changes_frame(cursor_to_token(cursor, "default"), [entry])
