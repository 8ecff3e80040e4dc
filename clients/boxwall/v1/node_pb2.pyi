import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Node(_message.Message):
    __slots__ = ("id", "state", "connect_time", "last_contact_time", "agent_version", "attached_boxes", "applied_revision", "lag", "rejections", "fence_reason")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Node.State]
        STATE_CONNECTED: _ClassVar[Node.State]
        STATE_DISCONNECTED: _ClassVar[Node.State]
        STATE_FENCED: _ClassVar[Node.State]
    STATE_UNSPECIFIED: Node.State
    STATE_CONNECTED: Node.State
    STATE_DISCONNECTED: Node.State
    STATE_FENCED: Node.State
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CONNECT_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_CONTACT_TIME_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    ATTACHED_BOXES_FIELD_NUMBER: _ClassVar[int]
    APPLIED_REVISION_FIELD_NUMBER: _ClassVar[int]
    LAG_FIELD_NUMBER: _ClassVar[int]
    REJECTIONS_FIELD_NUMBER: _ClassVar[int]
    FENCE_REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    state: Node.State
    connect_time: _timestamp_pb2.Timestamp
    last_contact_time: _timestamp_pb2.Timestamp
    agent_version: str
    attached_boxes: int
    applied_revision: int
    lag: int
    rejections: int
    fence_reason: str
    def __init__(self, id: _Optional[str] = ..., state: _Optional[_Union[Node.State, str]] = ..., connect_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_contact_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., agent_version: _Optional[str] = ..., attached_boxes: _Optional[int] = ..., applied_revision: _Optional[int] = ..., lag: _Optional[int] = ..., rejections: _Optional[int] = ..., fence_reason: _Optional[str] = ...) -> None: ...
