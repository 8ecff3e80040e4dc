import datetime

from boxwall.v1 import policy_pb2 as _policy_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Subscribe(_message.Message):
    __slots__ = ("node_id", "agent_version", "all_boxes", "boxes", "cursor")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    ALL_BOXES_FIELD_NUMBER: _ClassVar[int]
    BOXES_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    agent_version: str
    all_boxes: bool
    boxes: _containers.RepeatedCompositeFieldContainer[HostedBox]
    cursor: str
    def __init__(self, node_id: _Optional[str] = ..., agent_version: _Optional[str] = ..., all_boxes: _Optional[bool] = ..., boxes: _Optional[_Iterable[_Union[HostedBox, _Mapping]]] = ..., cursor: _Optional[str] = ...) -> None: ...

class HostedBox(_message.Message):
    __slots__ = ("box_id", "uid", "policy_revision")
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    POLICY_REVISION_FIELD_NUMBER: _ClassVar[int]
    box_id: str
    uid: str
    policy_revision: int
    def __init__(self, box_id: _Optional[str] = ..., uid: _Optional[str] = ..., policy_revision: _Optional[int] = ...) -> None: ...

class Attach(_message.Message):
    __slots__ = ("box_ids",)
    BOX_IDS_FIELD_NUMBER: _ClassVar[int]
    box_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, box_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Detach(_message.Message):
    __slots__ = ("box_ids",)
    BOX_IDS_FIELD_NUMBER: _ClassVar[int]
    box_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, box_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("cursor", "results")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    results: _containers.RepeatedCompositeFieldContainer[AckResult]
    def __init__(self, cursor: _Optional[str] = ..., results: _Optional[_Iterable[_Union[AckResult, _Mapping]]] = ...) -> None: ...

class AckResult(_message.Message):
    __slots__ = ("box_id", "policy_revision", "failure", "connections_kept", "connections_cut", "note")
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_REVISION_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_KEPT_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_CUT_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    box_id: str
    policy_revision: int
    failure: str
    connections_kept: int
    connections_cut: int
    note: str
    def __init__(self, box_id: _Optional[str] = ..., policy_revision: _Optional[int] = ..., failure: _Optional[str] = ..., connections_kept: _Optional[int] = ..., connections_cut: _Optional[int] = ..., note: _Optional[str] = ...) -> None: ...

class Refusals(_message.Message):
    __slots__ = ("refusals", "dropped")
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    refusals: _containers.RepeatedCompositeFieldContainer[_policy_pb2.Refusal]
    dropped: int
    def __init__(self, refusals: _Optional[_Iterable[_Union[_policy_pb2.Refusal, _Mapping]]] = ..., dropped: _Optional[int] = ...) -> None: ...

class PolicyEntry(_message.Message):
    __slots__ = ("box_id", "uid", "policy_revision", "network_policy", "tombstone", "refused")
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    POLICY_REVISION_FIELD_NUMBER: _ClassVar[int]
    NETWORK_POLICY_FIELD_NUMBER: _ClassVar[int]
    TOMBSTONE_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    box_id: str
    uid: str
    policy_revision: int
    network_policy: _policy_pb2.NetworkPolicy
    tombstone: Tombstone
    refused: AttachRefusal
    def __init__(self, box_id: _Optional[str] = ..., uid: _Optional[str] = ..., policy_revision: _Optional[int] = ..., network_policy: _Optional[_Union[_policy_pb2.NetworkPolicy, _Mapping]] = ..., tombstone: _Optional[_Union[Tombstone, _Mapping]] = ..., refused: _Optional[_Union[AttachRefusal, _Mapping]] = ...) -> None: ...

class Tombstone(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AttachRefusal(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: str
    def __init__(self, message: _Optional[str] = ...) -> None: ...

class Reset(_message.Message):
    __slots__ = ("boxes", "last")
    BOXES_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    boxes: _containers.RepeatedCompositeFieldContainer[PolicyEntry]
    last: bool
    def __init__(self, boxes: _Optional[_Iterable[_Union[PolicyEntry, _Mapping]]] = ..., last: _Optional[bool] = ...) -> None: ...

class Changes(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[PolicyEntry]
    def __init__(self, entries: _Optional[_Iterable[_Union[PolicyEntry, _Mapping]]] = ...) -> None: ...

class Bookmark(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GoAway(_message.Message):
    __slots__ = ("reconnect_after",)
    RECONNECT_AFTER_FIELD_NUMBER: _ClassVar[int]
    reconnect_after: _duration_pb2.Duration
    def __init__(self, reconnect_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Fenced(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
