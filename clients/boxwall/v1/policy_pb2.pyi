import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Unlisted(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNLISTED_UNSPECIFIED: _ClassVar[Unlisted]
    UNLISTED_DENY: _ClassVar[Unlisted]
    UNLISTED_ALLOW: _ClassVar[Unlisted]

class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODE_UNSPECIFIED: _ClassVar[Mode]
    MODE_ALLOW_ALL: _ClassVar[Mode]
    MODE_DENY_ALL: _ClassVar[Mode]
    MODE_CUSTOM: _ClassVar[Mode]

class Protocol(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROTOCOL_UNSPECIFIED: _ClassVar[Protocol]
    PROTOCOL_TCP: _ClassVar[Protocol]
    PROTOCOL_UDP: _ClassVar[Protocol]
    PROTOCOL_ICMP: _ClassVar[Protocol]
    PROTOCOL_SCTP: _ClassVar[Protocol]
    PROTOCOL_OTHER: _ClassVar[Protocol]

class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASON_UNSPECIFIED: _ClassVar[Reason]
    REASON_SPOOFED_SOURCE: _ClassVar[Reason]
    REASON_RESERVED_ADDRESS: _ClassVar[Reason]
    REASON_DENY_ALL: _ClassVar[Reason]
    REASON_ALLOW_ALL: _ClassVar[Reason]
    REASON_DENIED_CIDR: _ClassVar[Reason]
    REASON_ALLOWED_CIDR: _ClassVar[Reason]
    REASON_ALLOWED_DOMAIN: _ClassVar[Reason]
    REASON_NAME_MISMATCH: _ClassVar[Reason]
    REASON_NOT_DENIED: _ClassVar[Reason]
    REASON_NO_RULE: _ClassVar[Reason]
    REASON_NEEDS_NAME: _ClassVar[Reason]
    REASON_UNRECOGNISED_PROTOCOL: _ClassVar[Reason]
    REASON_QUIC_BY_NAME: _ClassVar[Reason]
    REASON_CLEAR_HTTP_PORT: _ClassVar[Reason]
    REASON_NAME_NOT_ALLOWED: _ClassVar[Reason]
    REASON_ANSWER_FILTERED: _ClassVar[Reason]
    REASON_NO_POLICY: _ClassVar[Reason]
    REASON_RATE_LIMITED: _ClassVar[Reason]
UNLISTED_UNSPECIFIED: Unlisted
UNLISTED_DENY: Unlisted
UNLISTED_ALLOW: Unlisted
MODE_UNSPECIFIED: Mode
MODE_ALLOW_ALL: Mode
MODE_DENY_ALL: Mode
MODE_CUSTOM: Mode
PROTOCOL_UNSPECIFIED: Protocol
PROTOCOL_TCP: Protocol
PROTOCOL_UDP: Protocol
PROTOCOL_ICMP: Protocol
PROTOCOL_SCTP: Protocol
PROTOCOL_OTHER: Protocol
REASON_UNSPECIFIED: Reason
REASON_SPOOFED_SOURCE: Reason
REASON_RESERVED_ADDRESS: Reason
REASON_DENY_ALL: Reason
REASON_ALLOW_ALL: Reason
REASON_DENIED_CIDR: Reason
REASON_ALLOWED_CIDR: Reason
REASON_ALLOWED_DOMAIN: Reason
REASON_NAME_MISMATCH: Reason
REASON_NOT_DENIED: Reason
REASON_NO_RULE: Reason
REASON_NEEDS_NAME: Reason
REASON_UNRECOGNISED_PROTOCOL: Reason
REASON_QUIC_BY_NAME: Reason
REASON_CLEAR_HTTP_PORT: Reason
REASON_NAME_NOT_ALLOWED: Reason
REASON_ANSWER_FILTERED: Reason
REASON_NO_POLICY: Reason
REASON_RATE_LIMITED: Reason

class NetworkPolicy(_message.Message):
    __slots__ = ("allow_all", "deny_all", "custom")
    ALLOW_ALL_FIELD_NUMBER: _ClassVar[int]
    DENY_ALL_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_FIELD_NUMBER: _ClassVar[int]
    allow_all: AllowAll
    deny_all: DenyAll
    custom: CustomPolicy
    def __init__(self, allow_all: _Optional[_Union[AllowAll, _Mapping]] = ..., deny_all: _Optional[_Union[DenyAll, _Mapping]] = ..., custom: _Optional[_Union[CustomPolicy, _Mapping]] = ...) -> None: ...

class AllowAll(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DenyAll(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CustomPolicy(_message.Message):
    __slots__ = ("allowed_domains", "allowed_cidrs", "denied_cidrs", "unlisted")
    ALLOWED_DOMAINS_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_CIDRS_FIELD_NUMBER: _ClassVar[int]
    DENIED_CIDRS_FIELD_NUMBER: _ClassVar[int]
    UNLISTED_FIELD_NUMBER: _ClassVar[int]
    allowed_domains: _containers.RepeatedScalarFieldContainer[str]
    allowed_cidrs: _containers.RepeatedScalarFieldContainer[str]
    denied_cidrs: _containers.RepeatedScalarFieldContainer[str]
    unlisted: Unlisted
    def __init__(self, allowed_domains: _Optional[_Iterable[str]] = ..., allowed_cidrs: _Optional[_Iterable[str]] = ..., denied_cidrs: _Optional[_Iterable[str]] = ..., unlisted: _Optional[_Union[Unlisted, str]] = ...) -> None: ...

class Destination(_message.Message):
    __slots__ = ("domain", "address", "port", "protocol")
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    domain: str
    address: str
    port: int
    protocol: Protocol
    def __init__(self, domain: _Optional[str] = ..., address: _Optional[str] = ..., port: _Optional[int] = ..., protocol: _Optional[_Union[Protocol, str]] = ...) -> None: ...

class Rule(_message.Message):
    __slots__ = ("list", "text")
    class List(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        LIST_UNSPECIFIED: _ClassVar[Rule.List]
        LIST_ALLOWED_DOMAINS: _ClassVar[Rule.List]
        LIST_ALLOWED_CIDRS: _ClassVar[Rule.List]
        LIST_DENIED_CIDRS: _ClassVar[Rule.List]
        LIST_ALWAYS_BLOCKED: _ClassVar[Rule.List]
        LIST_MODE: _ClassVar[Rule.List]
        LIST_UNLISTED: _ClassVar[Rule.List]
    LIST_UNSPECIFIED: Rule.List
    LIST_ALLOWED_DOMAINS: Rule.List
    LIST_ALLOWED_CIDRS: Rule.List
    LIST_DENIED_CIDRS: Rule.List
    LIST_ALWAYS_BLOCKED: Rule.List
    LIST_MODE: Rule.List
    LIST_UNLISTED: Rule.List
    LIST_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    list: Rule.List
    text: str
    def __init__(self, list: _Optional[_Union[Rule.List, str]] = ..., text: _Optional[str] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("allowed", "reason", "rule", "explanation", "policy_revision")
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    POLICY_REVISION_FIELD_NUMBER: _ClassVar[int]
    allowed: bool
    reason: Reason
    rule: Rule
    explanation: str
    policy_revision: int
    def __init__(self, allowed: _Optional[bool] = ..., reason: _Optional[_Union[Reason, str]] = ..., rule: _Optional[_Union[Rule, _Mapping]] = ..., explanation: _Optional[str] = ..., policy_revision: _Optional[int] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("box", "destination", "reason", "rule", "policy_revision", "first_time", "last_time", "count")
    BOX_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    POLICY_REVISION_FIELD_NUMBER: _ClassVar[int]
    FIRST_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_TIME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    box: str
    destination: Destination
    reason: Reason
    rule: Rule
    policy_revision: int
    first_time: _timestamp_pb2.Timestamp
    last_time: _timestamp_pb2.Timestamp
    count: int
    def __init__(self, box: _Optional[str] = ..., destination: _Optional[_Union[Destination, _Mapping]] = ..., reason: _Optional[_Union[Reason, str]] = ..., rule: _Optional[_Union[Rule, _Mapping]] = ..., policy_revision: _Optional[int] = ..., first_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., count: _Optional[int] = ...) -> None: ...

class PolicyWarning(_message.Message):
    __slots__ = ("code", "field", "message")
    class Code(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CODE_UNSPECIFIED: _ClassVar[PolicyWarning.Code]
        CODE_PRIVATE_CIDR_STAYS_BLOCKED: _ClassVar[PolicyWarning.Code]
        CODE_EMPTY_CUSTOM_DENIES_ALL: _ClassVar[PolicyWarning.Code]
        CODE_DENY_LIST_ALLOWS_THE_REST: _ClassVar[PolicyWarning.Code]
        CODE_FORM_CHANGED: _ClassVar[PolicyWarning.Code]
        CODE_NO_NAMES_RESOLVE: _ClassVar[PolicyWarning.Code]
        CODE_WILDCARD_WITHOUT_APEX: _ClassVar[PolicyWarning.Code]
        CODE_PUBLIC_SUFFIX_WILDCARD: _ClassVar[PolicyWarning.Code]
        CODE_SHADOWED_BY_DENY: _ClassVar[PolicyWarning.Code]
        CODE_DUPLICATE_ENTRY: _ClassVar[PolicyWarning.Code]
    CODE_UNSPECIFIED: PolicyWarning.Code
    CODE_PRIVATE_CIDR_STAYS_BLOCKED: PolicyWarning.Code
    CODE_EMPTY_CUSTOM_DENIES_ALL: PolicyWarning.Code
    CODE_DENY_LIST_ALLOWS_THE_REST: PolicyWarning.Code
    CODE_FORM_CHANGED: PolicyWarning.Code
    CODE_NO_NAMES_RESOLVE: PolicyWarning.Code
    CODE_WILDCARD_WITHOUT_APEX: PolicyWarning.Code
    CODE_PUBLIC_SUFFIX_WILDCARD: PolicyWarning.Code
    CODE_SHADOWED_BY_DENY: PolicyWarning.Code
    CODE_DUPLICATE_ENTRY: PolicyWarning.Code
    CODE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: PolicyWarning.Code
    field: str
    message: str
    def __init__(self, code: _Optional[_Union[PolicyWarning.Code, str]] = ..., field: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...
