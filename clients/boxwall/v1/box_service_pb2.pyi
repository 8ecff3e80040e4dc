import datetime

from boxwall.v1 import box_pb2 as _box_pb2
from boxwall.v1 import policy_pb2 as _policy_pb2
from boxwall.v1 import stream_pb2 as _stream_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BoxFilter(_message.Message):
    __slots__ = ("labels", "node_id", "name_prefix", "mode")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LABELS_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_PREFIX_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.ScalarMap[str, str]
    node_id: str
    name_prefix: str
    mode: _policy_pb2.Mode
    def __init__(self, labels: _Optional[_Mapping[str, str]] = ..., node_id: _Optional[str] = ..., name_prefix: _Optional[str] = ..., mode: _Optional[_Union[_policy_pb2.Mode, str]] = ...) -> None: ...

class CreateBoxRequest(_message.Message):
    __slots__ = ("box", "box_id", "request_id", "validate_only")
    BOX_FIELD_NUMBER: _ClassVar[int]
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    box: _box_pb2.Box
    box_id: str
    request_id: str
    validate_only: bool
    def __init__(self, box: _Optional[_Union[_box_pb2.Box, _Mapping]] = ..., box_id: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class GetBoxRequest(_message.Message):
    __slots__ = ("box_id", "at_least_revision")
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_REVISION_FIELD_NUMBER: _ClassVar[int]
    box_id: str
    at_least_revision: int
    def __init__(self, box_id: _Optional[str] = ..., at_least_revision: _Optional[int] = ...) -> None: ...

class ListBoxesRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "filter", "at_least_revision")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_REVISION_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    filter: BoxFilter
    at_least_revision: int
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[_Union[BoxFilter, _Mapping]] = ..., at_least_revision: _Optional[int] = ...) -> None: ...

class ListBoxesResponse(_message.Message):
    __slots__ = ("boxes", "next_page_token")
    BOXES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    boxes: _containers.RepeatedCompositeFieldContainer[_box_pb2.Box]
    next_page_token: str
    def __init__(self, boxes: _Optional[_Iterable[_Union[_box_pb2.Box, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateBoxRequest(_message.Message):
    __slots__ = ("box", "update_mask", "etag")
    BOX_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    box: _box_pb2.Box
    update_mask: _field_mask_pb2.FieldMask
    etag: str
    def __init__(self, box: _Optional[_Union[_box_pb2.Box, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., etag: _Optional[str] = ...) -> None: ...

class DeleteBoxRequest(_message.Message):
    __slots__ = ("box_id", "etag", "wait_timeout")
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    WAIT_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    box_id: str
    etag: str
    wait_timeout: _duration_pb2.Duration
    def __init__(self, box_id: _Optional[str] = ..., etag: _Optional[str] = ..., wait_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class DeleteBoxResponse(_message.Message):
    __slots__ = ("revision", "enforcement")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ENFORCEMENT_FIELD_NUMBER: _ClassVar[int]
    revision: int
    enforcement: _box_pb2.Enforcement
    def __init__(self, revision: _Optional[int] = ..., enforcement: _Optional[_Union[_box_pb2.Enforcement, _Mapping]] = ...) -> None: ...

class UpdateNetworkPolicyRequest(_message.Message):
    __slots__ = ("box_id", "network_policy", "etag", "request_id", "validate_only", "wait_timeout")
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    NETWORK_POLICY_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    WAIT_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    box_id: str
    network_policy: _policy_pb2.NetworkPolicy
    etag: str
    request_id: str
    validate_only: bool
    wait_timeout: _duration_pb2.Duration
    def __init__(self, box_id: _Optional[str] = ..., network_policy: _Optional[_Union[_policy_pb2.NetworkPolicy, _Mapping]] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ..., wait_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WaitEnforcedRequest(_message.Message):
    __slots__ = ("box_id", "policy_revision", "timeout")
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_REVISION_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    box_id: str
    policy_revision: int
    timeout: _duration_pb2.Duration
    def __init__(self, box_id: _Optional[str] = ..., policy_revision: _Optional[int] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class CheckEgressRequest(_message.Message):
    __slots__ = ("box_id", "network_policy", "destinations", "at_least_revision")
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    NETWORK_POLICY_FIELD_NUMBER: _ClassVar[int]
    DESTINATIONS_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_REVISION_FIELD_NUMBER: _ClassVar[int]
    box_id: str
    network_policy: _policy_pb2.NetworkPolicy
    destinations: _containers.RepeatedCompositeFieldContainer[_policy_pb2.Destination]
    at_least_revision: int
    def __init__(self, box_id: _Optional[str] = ..., network_policy: _Optional[_Union[_policy_pb2.NetworkPolicy, _Mapping]] = ..., destinations: _Optional[_Iterable[_Union[_policy_pb2.Destination, _Mapping]]] = ..., at_least_revision: _Optional[int] = ...) -> None: ...

class CheckEgressResponse(_message.Message):
    __slots__ = ("verdicts",)
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    verdicts: _containers.RepeatedCompositeFieldContainer[_policy_pb2.Verdict]
    def __init__(self, verdicts: _Optional[_Iterable[_Union[_policy_pb2.Verdict, _Mapping]]] = ...) -> None: ...

class WatchRefusalsRequest(_message.Message):
    __slots__ = ("box_id", "labels", "recent")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    RECENT_FIELD_NUMBER: _ClassVar[int]
    box_id: str
    labels: _containers.ScalarMap[str, str]
    recent: int
    def __init__(self, box_id: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., recent: _Optional[int] = ...) -> None: ...

class WatchRefusalsResponse(_message.Message):
    __slots__ = ("refusals", "dropped")
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    refusals: _containers.RepeatedCompositeFieldContainer[_policy_pb2.Refusal]
    dropped: int
    def __init__(self, refusals: _Optional[_Iterable[_Union[_policy_pb2.Refusal, _Mapping]]] = ..., dropped: _Optional[int] = ...) -> None: ...

class ListPolicyRevisionsRequest(_message.Message):
    __slots__ = ("box_id", "page_size", "page_token")
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    box_id: str
    page_size: int
    page_token: str
    def __init__(self, box_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPolicyRevisionsResponse(_message.Message):
    __slots__ = ("revisions", "next_page_token")
    REVISIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    revisions: _containers.RepeatedCompositeFieldContainer[_box_pb2.PolicyRevision]
    next_page_token: str
    def __init__(self, revisions: _Optional[_Iterable[_Union[_box_pb2.PolicyRevision, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchBoxesRequest(_message.Message):
    __slots__ = ("filter", "cursor")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    filter: BoxFilter
    cursor: str
    def __init__(self, filter: _Optional[_Union[BoxFilter, _Mapping]] = ..., cursor: _Optional[str] = ...) -> None: ...

class WatchBoxesResponse(_message.Message):
    __slots__ = ("cursor", "reset", "changes", "bookmark", "go_away")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    BOOKMARK_FIELD_NUMBER: _ClassVar[int]
    GO_AWAY_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    reset: BoxReset
    changes: BoxChanges
    bookmark: _stream_pb2.Bookmark
    go_away: _stream_pb2.GoAway
    def __init__(self, cursor: _Optional[str] = ..., reset: _Optional[_Union[BoxReset, _Mapping]] = ..., changes: _Optional[_Union[BoxChanges, _Mapping]] = ..., bookmark: _Optional[_Union[_stream_pb2.Bookmark, _Mapping]] = ..., go_away: _Optional[_Union[_stream_pb2.GoAway, _Mapping]] = ...) -> None: ...

class BoxReset(_message.Message):
    __slots__ = ("boxes", "last")
    BOXES_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    boxes: _containers.RepeatedCompositeFieldContainer[_box_pb2.Box]
    last: bool
    def __init__(self, boxes: _Optional[_Iterable[_Union[_box_pb2.Box, _Mapping]]] = ..., last: _Optional[bool] = ...) -> None: ...

class BoxChanges(_message.Message):
    __slots__ = ("changes",)
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[BoxChange]
    def __init__(self, changes: _Optional[_Iterable[_Union[BoxChange, _Mapping]]] = ...) -> None: ...

class BoxChange(_message.Message):
    __slots__ = ("box_id", "box", "gone")
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    box_id: str
    box: _box_pb2.Box
    gone: _stream_pb2.Tombstone
    def __init__(self, box_id: _Optional[str] = ..., box: _Optional[_Union[_box_pb2.Box, _Mapping]] = ..., gone: _Optional[_Union[_stream_pb2.Tombstone, _Mapping]] = ...) -> None: ...

class CreateSnapshotRequest(_message.Message):
    __slots__ = ("box_id", "snapshot_id", "request_id")
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    box_id: str
    snapshot_id: str
    request_id: str
    def __init__(self, box_id: _Optional[str] = ..., snapshot_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class GetSnapshotRequest(_message.Message):
    __slots__ = ("snapshot_id",)
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    def __init__(self, snapshot_id: _Optional[str] = ...) -> None: ...

class ListSnapshotsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "box_id")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    BOX_ID_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    box_id: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., box_id: _Optional[str] = ...) -> None: ...

class ListSnapshotsResponse(_message.Message):
    __slots__ = ("snapshots", "next_page_token")
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    snapshots: _containers.RepeatedCompositeFieldContainer[_box_pb2.Snapshot]
    next_page_token: str
    def __init__(self, snapshots: _Optional[_Iterable[_Union[_box_pb2.Snapshot, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteSnapshotRequest(_message.Message):
    __slots__ = ("snapshot_id",)
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    def __init__(self, snapshot_id: _Optional[str] = ...) -> None: ...

class DeleteSnapshotResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
