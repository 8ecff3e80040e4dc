from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AttachRequest(_message.Message):
    __slots__ = ("box_id", "interface", "netns", "addresses", "masquerade")
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    NETNS_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    MASQUERADE_FIELD_NUMBER: _ClassVar[int]
    box_id: str
    interface: str
    netns: str
    addresses: _containers.RepeatedScalarFieldContainer[str]
    masquerade: bool
    def __init__(self, box_id: _Optional[str] = ..., interface: _Optional[str] = ..., netns: _Optional[str] = ..., addresses: _Optional[_Iterable[str]] = ..., masquerade: _Optional[bool] = ...) -> None: ...

class AttachedBox(_message.Message):
    __slots__ = ("box_id", "interface", "addresses", "state", "policy_revision", "mode", "message", "packets_refused")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[AttachedBox.State]
        STATE_ENFORCED: _ClassVar[AttachedBox.State]
        STATE_CLOSED: _ClassVar[AttachedBox.State]
        STATE_INTERFACE_GONE: _ClassVar[AttachedBox.State]
    STATE_UNSPECIFIED: AttachedBox.State
    STATE_ENFORCED: AttachedBox.State
    STATE_CLOSED: AttachedBox.State
    STATE_INTERFACE_GONE: AttachedBox.State
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    POLICY_REVISION_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PACKETS_REFUSED_FIELD_NUMBER: _ClassVar[int]
    box_id: str
    interface: str
    addresses: _containers.RepeatedScalarFieldContainer[str]
    state: AttachedBox.State
    policy_revision: int
    mode: str
    message: str
    packets_refused: int
    def __init__(self, box_id: _Optional[str] = ..., interface: _Optional[str] = ..., addresses: _Optional[_Iterable[str]] = ..., state: _Optional[_Union[AttachedBox.State, str]] = ..., policy_revision: _Optional[int] = ..., mode: _Optional[str] = ..., message: _Optional[str] = ..., packets_refused: _Optional[int] = ...) -> None: ...

class DetachRequest(_message.Message):
    __slots__ = ("box_id",)
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    box_id: str
    def __init__(self, box_id: _Optional[str] = ...) -> None: ...

class DetachResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListAttachedRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListAttachedResponse(_message.Message):
    __slots__ = ("boxes", "node_id", "connected")
    BOXES_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    boxes: _containers.RepeatedCompositeFieldContainer[AttachedBox]
    node_id: str
    connected: bool
    def __init__(self, boxes: _Optional[_Iterable[_Union[AttachedBox, _Mapping]]] = ..., node_id: _Optional[str] = ..., connected: _Optional[bool] = ...) -> None: ...
