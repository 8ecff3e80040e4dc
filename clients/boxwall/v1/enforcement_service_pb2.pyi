from boxwall.v1 import stream_pb2 as _stream_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StreamPoliciesRequest(_message.Message):
    __slots__ = ("subscribe", "attach", "detach", "ack", "refusals")
    SUBSCRIBE_FIELD_NUMBER: _ClassVar[int]
    ATTACH_FIELD_NUMBER: _ClassVar[int]
    DETACH_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    subscribe: _stream_pb2.Subscribe
    attach: _stream_pb2.Attach
    detach: _stream_pb2.Detach
    ack: _stream_pb2.Ack
    refusals: _stream_pb2.Refusals
    def __init__(self, subscribe: _Optional[_Union[_stream_pb2.Subscribe, _Mapping]] = ..., attach: _Optional[_Union[_stream_pb2.Attach, _Mapping]] = ..., detach: _Optional[_Union[_stream_pb2.Detach, _Mapping]] = ..., ack: _Optional[_Union[_stream_pb2.Ack, _Mapping]] = ..., refusals: _Optional[_Union[_stream_pb2.Refusals, _Mapping]] = ...) -> None: ...

class StreamPoliciesResponse(_message.Message):
    __slots__ = ("cursor", "reset", "changes", "bookmark", "go_away", "fenced")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    BOOKMARK_FIELD_NUMBER: _ClassVar[int]
    GO_AWAY_FIELD_NUMBER: _ClassVar[int]
    FENCED_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    reset: _stream_pb2.Reset
    changes: _stream_pb2.Changes
    bookmark: _stream_pb2.Bookmark
    go_away: _stream_pb2.GoAway
    fenced: _stream_pb2.Fenced
    def __init__(self, cursor: _Optional[str] = ..., reset: _Optional[_Union[_stream_pb2.Reset, _Mapping]] = ..., changes: _Optional[_Union[_stream_pb2.Changes, _Mapping]] = ..., bookmark: _Optional[_Union[_stream_pb2.Bookmark, _Mapping]] = ..., go_away: _Optional[_Union[_stream_pb2.GoAway, _Mapping]] = ..., fenced: _Optional[_Union[_stream_pb2.Fenced, _Mapping]] = ...) -> None: ...
