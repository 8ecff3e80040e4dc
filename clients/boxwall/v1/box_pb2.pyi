import datetime

from boxwall.v1 import policy_pb2 as _policy_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Box(_message.Message):
    __slots__ = ("id", "uid", "name", "node_id", "labels", "runtime", "network_policy", "policy_revision", "enforcement", "expire_time", "ttl", "source_snapshot", "create_time", "update_time", "etag", "warnings")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    NETWORK_POLICY_FIELD_NUMBER: _ClassVar[int]
    POLICY_REVISION_FIELD_NUMBER: _ClassVar[int]
    ENFORCEMENT_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    SOURCE_SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    id: str
    uid: str
    name: str
    node_id: str
    labels: _containers.ScalarMap[str, str]
    runtime: str
    network_policy: _policy_pb2.NetworkPolicy
    policy_revision: int
    enforcement: Enforcement
    expire_time: _timestamp_pb2.Timestamp
    ttl: _duration_pb2.Duration
    source_snapshot: str
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    etag: str
    warnings: _containers.RepeatedCompositeFieldContainer[_policy_pb2.PolicyWarning]
    def __init__(self, id: _Optional[str] = ..., uid: _Optional[str] = ..., name: _Optional[str] = ..., node_id: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., runtime: _Optional[str] = ..., network_policy: _Optional[_Union[_policy_pb2.NetworkPolicy, _Mapping]] = ..., policy_revision: _Optional[int] = ..., enforcement: _Optional[_Union[Enforcement, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., source_snapshot: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ..., warnings: _Optional[_Iterable[_Union[_policy_pb2.PolicyWarning, _Mapping]]] = ...) -> None: ...

class Enforcement(_message.Message):
    __slots__ = ("state", "applied_revision", "nodes")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Enforcement.State]
        STATE_NOT_ATTACHED: _ClassVar[Enforcement.State]
        STATE_PENDING: _ClassVar[Enforcement.State]
        STATE_ENFORCED: _ClassVar[Enforcement.State]
        STATE_FAILED: _ClassVar[Enforcement.State]
        STATE_STALE: _ClassVar[Enforcement.State]
    STATE_UNSPECIFIED: Enforcement.State
    STATE_NOT_ATTACHED: Enforcement.State
    STATE_PENDING: Enforcement.State
    STATE_ENFORCED: Enforcement.State
    STATE_FAILED: Enforcement.State
    STATE_STALE: Enforcement.State
    STATE_FIELD_NUMBER: _ClassVar[int]
    APPLIED_REVISION_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    state: Enforcement.State
    applied_revision: int
    nodes: _containers.RepeatedCompositeFieldContainer[NodeEnforcement]
    def __init__(self, state: _Optional[_Union[Enforcement.State, str]] = ..., applied_revision: _Optional[int] = ..., nodes: _Optional[_Iterable[_Union[NodeEnforcement, _Mapping]]] = ...) -> None: ...

class NodeEnforcement(_message.Message):
    __slots__ = ("node_id", "state", "applied_revision", "apply_time", "message", "connections_kept", "connections_cut")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    APPLIED_REVISION_FIELD_NUMBER: _ClassVar[int]
    APPLY_TIME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_KEPT_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_CUT_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    state: Enforcement.State
    applied_revision: int
    apply_time: _timestamp_pb2.Timestamp
    message: str
    connections_kept: int
    connections_cut: int
    def __init__(self, node_id: _Optional[str] = ..., state: _Optional[_Union[Enforcement.State, str]] = ..., applied_revision: _Optional[int] = ..., apply_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., message: _Optional[str] = ..., connections_kept: _Optional[int] = ..., connections_cut: _Optional[int] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("id", "box_id", "network_policy", "create_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    NETWORK_POLICY_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    box_id: str
    network_policy: _policy_pb2.NetworkPolicy
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., box_id: _Optional[str] = ..., network_policy: _Optional[_Union[_policy_pb2.NetworkPolicy, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PolicyRevision(_message.Message):
    __slots__ = ("revision", "network_policy", "create_time", "author", "request_id")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    NETWORK_POLICY_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    revision: int
    network_policy: _policy_pb2.NetworkPolicy
    create_time: _timestamp_pb2.Timestamp
    author: str
    request_id: str
    def __init__(self, revision: _Optional[int] = ..., network_policy: _Optional[_Union[_policy_pb2.NetworkPolicy, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., author: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...
