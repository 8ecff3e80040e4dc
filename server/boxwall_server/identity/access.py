"""May a caller do this? One table from rpcs to scopes, and the decisions on top of it. Pure.

What is not in the table is denied. docs/security.md shows the same table; a test compares them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from boxwall_server.identity.caller import Caller, Scope, is_tenant

TENANT_KEY: Final = "boxwall-tenant"
"""Metadata with which an administrator names the tenant that a call is about."""

_READ: Final = frozenset({Scope.BOXES_READ})
_WRITE: Final = frozenset({Scope.BOXES_WRITE})
_NODES: Final = frozenset({Scope.NODES_READ})
_ADMIN: Final = frozenset({Scope.ADMIN})

SCOPES_OF: Final[Mapping[str, frozenset[Scope]]] = {
    "/boxwall.v1.BoxService/CreateBox": _WRITE,
    "/boxwall.v1.BoxService/GetBox": _READ,
    "/boxwall.v1.BoxService/ListBoxes": _READ,
    "/boxwall.v1.BoxService/UpdateBox": _WRITE,
    "/boxwall.v1.BoxService/DeleteBox": _WRITE,
    "/boxwall.v1.BoxService/UpdateNetworkPolicy": _WRITE,
    "/boxwall.v1.BoxService/WaitEnforced": _READ,
    "/boxwall.v1.BoxService/CheckEgress": _READ,
    "/boxwall.v1.BoxService/ListPolicyRevisions": _READ,
    "/boxwall.v1.BoxService/WatchBoxes": _READ,
    "/boxwall.v1.BoxService/WatchRefusals": _READ,
    "/boxwall.v1.BoxService/CreateSnapshot": _WRITE,
    "/boxwall.v1.BoxService/GetSnapshot": _READ,
    "/boxwall.v1.BoxService/ListSnapshots": _READ,
    "/boxwall.v1.BoxService/DeleteSnapshot": _WRITE,
    # A node, or an observer: `check_subscriber` says which of the two scopes this one needs.
    "/boxwall.v1.EnforcementService/StreamPolicies": frozenset({Scope.ENFORCE, Scope.BOXES_READ}),
    "/boxwall.v1.NodeService/ListNodes": _NODES,
    "/boxwall.v1.NodeService/GetNode": _NODES,
    "/boxwall.v1.NodeService/FenceNode": _ADMIN,
    "/boxwall.v1.NodeService/UnfenceNode": _ADMIN,
    "/boxwall.v1.NodeService/ForgetNode": _ADMIN,
    # The contract itself, for anyone who is known.
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": frozenset(Scope),
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": frozenset(Scope),
}
"""Any one of the scopes will do. grpc.health.v1 is open to all: it says only whether it serves."""

_OF_ADMIN: Final = frozenset({Scope.ADMIN, Scope.BOXES_READ, Scope.BOXES_WRITE, Scope.NODES_READ})


class Denied(Exception):
    """The caller may not. The text says what it lacks, and nothing of what there is."""


def admitted(caller: Caller, rpc: str, tenants: Sequence[str] = ()) -> Caller:
    """Return the caller as it acts in this rpc. Raises Denied.

    `rpc` is the path as in HTTP/2; `tenants` are the values of TENANT_KEY that came with the call.
    """
    wanted = SCOPES_OF.get(rpc, frozenset())
    if not caller.tenant or not wanted & _held(caller):
        raise Denied(f"this needs the scope {_listed(wanted)}" if wanted else "nobody may do this")
    if not tenants or tuple(tenants) == (caller.tenant,):
        return caller
    if Scope.ADMIN not in caller.scopes or len(tenants) > 1 or not is_tenant(tenants[0]):
        raise Denied(f"another tenant needs the scope {Scope.ADMIN.value}")
    return replace(caller, tenant=tenants[0])


def check_subscriber(caller: Caller, node_id: str, *, is_observer: bool) -> None:
    """Return if the caller may subscribe as this node, or as an observer. Raises Denied."""
    if is_observer:
        if Scope.BOXES_READ not in _held(caller):
            raise Denied(f"all_boxes needs the scope {Scope.BOXES_READ.value}")
        return
    if Scope.ENFORCE not in caller.scopes:
        raise Denied(f"this needs the scope {Scope.ENFORCE.value}")
    if not caller.any_node and (not node_id or node_id != caller.node_id):
        raise Denied("a node speaks only for itself")


def _held(caller: Caller) -> frozenset[Scope]:
    return caller.scopes | _OF_ADMIN if Scope.ADMIN in caller.scopes else caller.scopes


def _listed(scopes: frozenset[Scope]) -> str:
    return " or ".join(sorted(scope.value for scope in scopes))
