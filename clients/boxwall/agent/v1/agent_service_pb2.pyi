import datetime

from boxwall.v1 import policy_pb2 as _policy_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
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

class ExplainRequest(_message.Message):
    __slots__ = ("box_id", "destinations")
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    DESTINATIONS_FIELD_NUMBER: _ClassVar[int]
    box_id: str
    destinations: _containers.RepeatedCompositeFieldContainer[_policy_pb2.Destination]
    def __init__(self, box_id: _Optional[str] = ..., destinations: _Optional[_Iterable[_Union[_policy_pb2.Destination, _Mapping]]] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("box", "explanations")
    BOX_FIELD_NUMBER: _ClassVar[int]
    EXPLANATIONS_FIELD_NUMBER: _ClassVar[int]
    box: AttachedBox
    explanations: _containers.RepeatedCompositeFieldContainer[Explanation]
    def __init__(self, box: _Optional[_Union[AttachedBox, _Mapping]] = ..., explanations: _Optional[_Iterable[_Union[Explanation, _Mapping]]] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("destination", "outcome", "verdict", "names", "carriers", "leases", "kernel", "agrees", "summary")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[Explanation.Outcome]
        OUTCOME_REFUSED: _ClassVar[Explanation.Outcome]
        OUTCOME_PASSES: _ClassVar[Explanation.Outcome]
        OUTCOME_PASSES_IF_NAMED: _ClassVar[Explanation.Outcome]
        OUTCOME_RESOLVES: _ClassVar[Explanation.Outcome]
        OUTCOME_ANSWERED_HERE: _ClassVar[Explanation.Outcome]
    OUTCOME_UNSPECIFIED: Explanation.Outcome
    OUTCOME_REFUSED: Explanation.Outcome
    OUTCOME_PASSES: Explanation.Outcome
    OUTCOME_PASSES_IF_NAMED: Explanation.Outcome
    OUTCOME_RESOLVES: Explanation.Outcome
    OUTCOME_ANSWERED_HERE: Explanation.Outcome
    class Carrier(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CARRIER_UNSPECIFIED: _ClassVar[Explanation.Carrier]
        CARRIER_TLS_SNI: _ClassVar[Explanation.Carrier]
        CARRIER_HTTP_HOST: _ClassVar[Explanation.Carrier]
        CARRIER_ADDRESS: _ClassVar[Explanation.Carrier]
    CARRIER_UNSPECIFIED: Explanation.Carrier
    CARRIER_TLS_SNI: Explanation.Carrier
    CARRIER_HTTP_HOST: Explanation.Carrier
    CARRIER_ADDRESS: Explanation.Carrier
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    CARRIERS_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    AGREES_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    destination: _policy_pb2.Destination
    outcome: Explanation.Outcome
    verdict: _policy_pb2.Verdict
    names: _containers.RepeatedScalarFieldContainer[str]
    carriers: _containers.RepeatedScalarFieldContainer[Explanation.Carrier]
    leases: _containers.RepeatedCompositeFieldContainer[LeasedName]
    kernel: _containers.RepeatedCompositeFieldContainer[KernelEntry]
    agrees: bool
    summary: str
    def __init__(self, destination: _Optional[_Union[_policy_pb2.Destination, _Mapping]] = ..., outcome: _Optional[_Union[Explanation.Outcome, str]] = ..., verdict: _Optional[_Union[_policy_pb2.Verdict, _Mapping]] = ..., names: _Optional[_Iterable[str]] = ..., carriers: _Optional[_Iterable[_Union[Explanation.Carrier, str]]] = ..., leases: _Optional[_Iterable[_Union[LeasedName, _Mapping]]] = ..., kernel: _Optional[_Iterable[_Union[KernelEntry, _Mapping]]] = ..., agrees: _Optional[bool] = ..., summary: _Optional[str] = ...) -> None: ...

class LeasedName(_message.Message):
    __slots__ = ("name", "address", "grant", "expire_time", "end_time", "live", "connections")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    GRANT_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    address: str
    grant: int
    expire_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    live: bool
    connections: int
    def __init__(self, name: _Optional[str] = ..., address: _Optional[str] = ..., grant: _Optional[int] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., live: _Optional[bool] = ..., connections: _Optional[int] = ...) -> None: ...

class KernelEntry(_message.Message):
    __slots__ = ("interface", "address", "kind", "set", "element", "grant", "live", "agrees", "problem", "connections")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[KernelEntry.Kind]
        KIND_NOTHING: _ClassVar[KernelEntry.Kind]
        KIND_NOT_POLICED: _ClassVar[KernelEntry.Kind]
        KIND_BLOCKED: _ClassVar[KernelEntry.Kind]
        KIND_DENIED: _ClassVar[KernelEntry.Kind]
        KIND_ALL: _ClassVar[KernelEntry.Kind]
        KIND_ALLOWED: _ClassVar[KernelEntry.Kind]
        KIND_LEASED: _ClassVar[KernelEntry.Kind]
        KIND_UNKNOWN: _ClassVar[KernelEntry.Kind]
    KIND_UNSPECIFIED: KernelEntry.Kind
    KIND_NOTHING: KernelEntry.Kind
    KIND_NOT_POLICED: KernelEntry.Kind
    KIND_BLOCKED: KernelEntry.Kind
    KIND_DENIED: KernelEntry.Kind
    KIND_ALL: KernelEntry.Kind
    KIND_ALLOWED: KernelEntry.Kind
    KIND_LEASED: KernelEntry.Kind
    KIND_UNKNOWN: KernelEntry.Kind
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_FIELD_NUMBER: _ClassVar[int]
    GRANT_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    AGREES_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    interface: str
    address: str
    kind: KernelEntry.Kind
    set: str
    element: str
    grant: int
    live: bool
    agrees: bool
    problem: str
    connections: int
    def __init__(self, interface: _Optional[str] = ..., address: _Optional[str] = ..., kind: _Optional[_Union[KernelEntry.Kind, str]] = ..., set: _Optional[str] = ..., element: _Optional[str] = ..., grant: _Optional[int] = ..., live: _Optional[bool] = ..., agrees: _Optional[bool] = ..., problem: _Optional[str] = ..., connections: _Optional[int] = ...) -> None: ...
