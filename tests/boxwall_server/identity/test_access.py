"""May a caller do this? Rules as tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwall_server.identity.access import SCOPES_OF, Denied, admitted, check_subscriber
from boxwall_server.identity.caller import ANYONE, NOBODY, Caller, Scope, is_tenant
from boxwall_server.service.registry import SERVICES

BOXES = "/boxwall.v1.BoxService/"
NODES = "/boxwall.v1.NodeService/"
STREAM = "/boxwall.v1.EnforcementService/StreamPolicies"
READ, WRITE = Scope.BOXES_READ, Scope.BOXES_WRITE


def having(*scopes: Scope, tenant: str = "acme", node_id: str = "") -> Caller:
    return Caller(tenant=tenant, name="x", scopes=frozenset(scopes), node_id=node_id)


ALLOWED = {
    "who may read reads": (having(READ), BOXES + "GetBox"),
    "who may write writes": (having(WRITE), BOXES + "UpdateNetworkPolicy"),
    "who may see nodes sees them": (having(Scope.NODES_READ), NODES + "ListNodes"),
    "a node streams": (having(Scope.ENFORCE), STREAM),
    "an observer streams": (having(READ), STREAM),
    "an administrator reads": (having(Scope.ADMIN), BOXES + "GetBox"),
    "an administrator writes": (having(Scope.ADMIN), BOXES + "CreateBox"),
    "an administrator fences": (having(Scope.ADMIN), NODES + "FenceNode"),
    "anyone does anything, where there are no identities": (ANYONE, NODES + "FenceNode"),
}


@pytest.mark.parametrize(("caller", "rpc"), ALLOWED.values(), ids=ALLOWED)
def test_what_is_allowed(caller: Caller, rpc: str) -> None:
    assert admitted(caller, rpc) == caller


DENIED = {
    "reading is not writing": (having(READ), BOXES + "UpdateNetworkPolicy"),
    "writing is not reading": (having(WRITE), BOXES + "GetBox"),
    "a node reads no boxes": (having(Scope.ENFORCE), BOXES + "GetBox"),
    "who sees nodes fences none": (having(Scope.NODES_READ), NODES + "FenceNode"),
    "all but administration fences none": (
        having(*(scope for scope in Scope if scope is not Scope.ADMIN)),
        NODES + "ForgetNode",
    ),
    "no scope, nothing": (having(), BOXES + "GetBox"),
    "nobody, nothing": (NOBODY, BOXES + "GetBox"),
    "scopes without a tenant, nothing": (having(*Scope, tenant=""), BOXES + "GetBox"),
    "an unknown rpc, by an administrator": (having(*Scope), BOXES + "DropEverything"),
    "an unknown service": (having(*Scope), "/other.v1.Service/GetBox"),
    "an empty rpc": (having(*Scope), ""),
}


@pytest.mark.parametrize(("caller", "rpc"), DENIED.values(), ids=DENIED)
def test_what_is_denied(caller: Caller, rpc: str) -> None:
    with pytest.raises(Denied):
        admitted(caller, rpc)


def test_a_denial_names_the_scope_that_is_missing() -> None:
    with pytest.raises(Denied, match=r"needs the scope boxes\.write"):
        admitted(having(READ), BOXES + "CreateBox")


def test_every_rpc_of_ours_is_in_the_table() -> None:
    ours = {f"/{s.full_name}/{method.name}" for s in SERVICES for method in s.methods}
    assert {rpc for rpc in SCOPES_OF if rpc.startswith("/boxwall.")} == ours
    assert all(SCOPES_OF.values())


CROSSING: dict[str, tuple[Caller, list[str], str | None]] = {
    "an administrator": (having(Scope.ADMIN), ["other"], "other"),
    "one's own tenant, named": (having(READ), ["acme"], "acme"),
    "another tenant": (having(*(set(Scope) - {Scope.ADMIN})), ["other"], None),
    "a tenant that cannot be": (having(Scope.ADMIN), ["Other/.."], None),
    "no name": (having(Scope.ADMIN), [""], None),
    "two at once": (having(Scope.ADMIN), ["acme", "other"], None),
}


@pytest.mark.parametrize(("caller", "tenants", "becomes"), CROSSING.values(), ids=CROSSING)
def test_only_an_administrator_acts_in_another_tenant(
    caller: Caller, tenants: list[str], becomes: str | None
) -> None:
    if becomes is None:
        with pytest.raises(Denied):
            admitted(caller, BOXES + "GetBox", tenants)
    else:
        acting = admitted(caller, BOXES + "GetBox", tenants)
        assert (acting.tenant, acting.name, acting.scopes) == (becomes, "x", caller.scopes)


NODE = having(Scope.ENFORCE, node_id="n1")
SUBSCRIBING = {
    "a node as itself": (NODE, "n1", False, True),
    "a node as another": (NODE, "n2", False, False),
    "a node in other letters": (NODE, "N1", False, False),
    "a node without a name": (NODE, "", False, False),
    "a node as an observer": (NODE, "n1", True, False),
    "enforce without a node": (having(Scope.ENFORCE), "", False, False),
    "an observer": (having(READ), "", True, True),
    "an observer as a node": (having(READ), "n1", False, False),
    "an administrator as an observer": (having(Scope.ADMIN), "", True, True),
    "an administrator as a node": (having(Scope.ADMIN, node_id="n1"), "n1", False, False),
    "anyone, where there are no identities": (ANYONE, "n7", False, True),
    "nobody": (NOBODY, "", False, False),
}


@pytest.mark.parametrize(
    ("caller", "node_id", "observer", "may"), SUBSCRIBING.values(), ids=SUBSCRIBING
)
def test_a_node_speaks_only_for_itself(
    caller: Caller, node_id: str, observer: bool, may: bool
) -> None:
    if may:
        check_subscriber(caller, node_id, is_observer=observer)
    else:
        with pytest.raises(Denied):
            check_subscriber(caller, node_id, is_observer=observer)


SCOPES = st.frozensets(st.sampled_from(Scope))
RPCS = st.sampled_from(sorted(SCOPES_OF)) | st.text(max_size=40)
TENANTS = st.lists(st.sampled_from(["acme", "other", "", "No/Tenant"]) | st.text(max_size=9))


@given(SCOPES, RPCS, TENANTS)
def test_nobody_gets_more_than_its_scopes_and_its_tenant(
    scopes: frozenset[Scope], rpc: str, tenants: list[str]
) -> None:
    caller = having(*scopes)
    try:
        acting = admitted(caller, rpc, tenants)
    except Denied:
        return
    wanted = SCOPES_OF[rpc]
    assert wanted & scopes or (Scope.ADMIN in scopes and wanted - {Scope.ENFORCE})
    assert acting.scopes == scopes
    assert acting.tenant == "acme" or Scope.ADMIN in scopes
    assert is_tenant(acting.tenant)
