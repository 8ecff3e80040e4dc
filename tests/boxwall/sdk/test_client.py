"""Connections: deadlines, retries, credentials, life and end."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from fake_service import FakeBoxService, serving, unavailable  # type: ignore[import-not-found]  # mypy has no path to it

from boxwall import (
    BadConfig,
    Box,
    BoxwallError,
    Client,
    Conflict,
    InternalError,
    InvalidPolicy,
    InvalidRequest,
    Node,
    NodeNotFound,
    NodeState,
    Overloaded,
    PermissionDenied,
    QuotaExceeded,
    TimedOut,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
)
from boxwall.policy import Violation
from boxwall.sdk import default_client
from boxwall.v1 import node_pb2
from boxwall.wire.errors import ApiError, ErrorReason


async def never() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (ErrorReason.INVALID_REQUEST, InvalidRequest),
        (ErrorReason.INVALID_POLICY, InvalidPolicy),
        (ErrorReason.REQUEST_ID_REUSED, InvalidRequest),
        (ErrorReason.ETAG_MISMATCH, Conflict),
        (ErrorReason.BOX_ATTACHED, Conflict),
        (ErrorReason.STORE_FULL, Overloaded),
        (ErrorReason.UNAUTHENTICATED, Unauthenticated),
        (ErrorReason.PERMISSION_DENIED, PermissionDenied),
        (ErrorReason.QUOTA_EXCEEDED, QuotaExceeded),
        (ErrorReason.INTERNAL, InternalError),
    ],
)
async def test_every_refusal_has_its_error(
    reason: ErrorReason, kind: type[BoxwallError], fake: FakeBoxService, client: Client
) -> None:
    fake.script["GetBox"].append(
        ApiError(reason, "no", facts={"error_id": "e1"}, violations=(Violation("f", "bad"),))
    )

    with pytest.raises(BoxwallError) as caught:
        await Box.get("b1", client=client)

    assert type(caught.value) is kind
    assert caught.value.reason == reason
    assert len(fake.called("GetBox")) == 1, "what cannot succeed is not repeated"


async def test_a_token_in_a_file_is_read_for_each_call(
    fake: FakeBoxService, server: str, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    async with Client(server, token_file=str(file), environ={}) as client:
        for token in ("first", "second"):
            file.write_text(f"{token}\n")
            assert await Box.list(client=client) == []
        file.write_text("s3cret s3cret")
        with pytest.raises(BadConfig, match="cannot be in a token") as caught:
            await Box.list(client=client)
        assert "s3cret" not in str(caught.value)
        file.write_text(" \n")
        with pytest.raises(BadConfig, match="is empty"):
            await Box.list(client=client)
        file.unlink()
        with pytest.raises(BadConfig, match="cannot be read"):
            await Box.list(client=client)

    assert [sent["authorization"] for sent in fake.metadata] == ["Bearer first", "Bearer second"]


async def test_an_internal_error_carries_its_id(fake: FakeBoxService, client: Client) -> None:
    fake.script["GetBox"].append(ApiError(ErrorReason.INTERNAL, "oh", facts={"error_id": "e1"}))

    with pytest.raises(InternalError) as caught:
        await Box.get("b1", client=client)

    assert caught.value.error_id == "e1"


async def test_more_violations_than_were_sent_are_counted(
    fake: FakeBoxService, client: Client
) -> None:
    bad = tuple(Violation(f"f{i}", "bad") for i in range(60))
    fake.script["GetBox"].append(ApiError(ErrorReason.INVALID_REQUEST, "no", violations=bad))

    with pytest.raises(InvalidRequest) as caught:
        await Box.get("b1", client=client)

    assert (len(caught.value.violations), caught.value.more_violations) == (50, 10)
    assert "and 10 more" in str(caught.value)


# Retries.


@pytest.mark.parametrize(
    ("rpc", "act"),
    [
        pytest.param("GetBox", lambda box, c: Box.get(box.id, client=c), id="read"),
        pytest.param("CreateBox", lambda box, c: Box.create(client=c), id="create"),
        pytest.param(
            "UpdateNetworkPolicy",
            lambda box, c: box.update_network_policy({"mode": "deny-all"}),
            id="update of the policy",
        ),
        pytest.param("CreateSnapshot", lambda box, c: box.snapshot(), id="snapshot"),
    ],
)
async def test_what_is_safe_to_repeat_is_repeated_with_the_same_request_id(
    rpc: str,
    act: Callable[..., Awaitable[object]],
    fake: FakeBoxService,
    client: Client,
) -> None:
    box = await Box.create(client=client)
    fake.calls.clear()
    fake.script[rpc].extend([unavailable(), unavailable()])

    await act(box, client)

    sent = fake.called(rpc)
    assert len(sent) == 3
    assert len({getattr(request, "request_id", "") for request in sent}) == 1


@pytest.mark.parametrize(
    ("rpc", "act"),
    [
        pytest.param("UpdateBox", lambda box: box.update(name="x"), id="update"),
        pytest.param("DeleteBox", lambda box: box.delete(), id="delete"),
    ],
)
async def test_what_is_not_safe_to_repeat_is_not_repeated(
    rpc: str,
    act: Callable[..., Awaitable[object]],
    fake: FakeBoxService,
    client: Client,
) -> None:
    box = await Box.create(client=client)
    fake.script[rpc].append(unavailable())

    with pytest.raises(Unavailable):
        await act(box)

    assert len(fake.called(rpc)) == 1


async def test_a_delay_that_the_server_asks_for_beyond_the_deadline_ends_the_call(
    fake: FakeBoxService, client: Client
) -> None:
    fake.script["GetBox"].append(unavailable(retry_after=60.0))

    with pytest.raises(Unavailable) as caught:
        await Box.get("b1", client=client)

    assert caught.value.retry_after == 60.0
    assert len(fake.called("GetBox")) == 1


async def test_retries_are_bounded(fake: FakeBoxService, server: str) -> None:
    fake.script["GetBox"].extend([unavailable()] * 9)

    async with Client(server, retries=1, environ={}) as client:
        with pytest.raises(Unavailable):
            await Box.get("b1", client=client)

    assert len(fake.called("GetBox")) == 2


async def test_the_time_to_wait_shrinks_with_every_repetition(
    fake: FakeBoxService, client: Client
) -> None:
    box = await Box.create(client=client)
    fake.script["UpdateNetworkPolicy"].append(unavailable(retry_after=0.1))

    await box.update_network_policy({"mode": "deny-all"}, wait_timeout=20)

    first, second = (r.wait_timeout.ToTimedelta() for r in fake.called("UpdateNetworkPolicy"))
    assert second < first


async def test_no_answer_in_time_is_timed_out(fake: FakeBoxService, server: str) -> None:
    fake.script["GetBox"].append(never)

    async with Client(server, timeout=0.05, environ={}) as client:
        with pytest.raises(TimedOut):
            await Box.get("b1", client=client)


async def test_nobody_there_is_unavailable_and_says_where(tmp_path: Path) -> None:
    async with Client(f"unix:{tmp_path}/none", retries=0, environ={}) as client:
        with pytest.raises(Unavailable, match=re.escape(f"unix:{tmp_path}/none")):
            await Box.get("b1", client=client)


async def test_a_server_that_does_not_know_a_call_is_an_unexpected_answer(client: Client) -> None:
    with pytest.raises(UnexpectedAnswer, match="older than this client"):
        await client.connection.call(
            client.connection._open().unary_unary("/boxwall.v1.BoxService/Nope"),
            lambda _: b"",
            repeatable=True,
        )


async def test_a_text_that_cannot_be_sent_is_an_invalid_request(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="cannot be sent"):
        await Box.get("\udcff", client=client)


# Credentials.


async def test_a_token_goes_with_every_call_and_is_never_shown(
    fake: FakeBoxService, server: str
) -> None:
    async with Client(server, "s3cret", environ={}) as client:
        await Box.list(client=client)
        assert "s3cret" not in repr(client)

    assert fake.metadata[0]["authorization"] == "Bearer s3cret"
    assert fake.metadata[0]["user-agent"].startswith("boxwall-python/")


def test_a_token_to_another_machine_without_tls_is_refused() -> None:
    with pytest.raises(BadConfig, match="in clear"):
        Client("10.0.0.1:50051", "s3cret", environ={})


async def test_a_ca_file_that_is_none_is_refused_with_its_name(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    for path, text in ((empty, "no PEM certificate"), (tmp_path / "none", "cannot be read")):
        client = Client("localhost:1", ca=str(path), environ={})
        with pytest.raises(BadConfig, match=text):
            await Box.get("b1", client=client)


# Life and end.


async def test_a_closed_client_says_so(server: str) -> None:
    client = Client(server, environ={})
    await client.close()
    await client.close()

    with pytest.raises(BadConfig, match="closed"):
        await Box.get("b1", client=client)


async def test_health_is_asked_for(client: Client) -> None:
    assert await client.is_serving()


async def test_the_default_client_is_made_once_for_a_loop_and_can_be_renewed(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOXWALL_SERVER", server)
    first = await default_client.default_client()

    assert await default_client.default_client() is first
    await default_client.close_default_client()
    second = await default_client.default_client()
    assert second is not first
    await default_client.close_default_client()


def test_the_default_client_ends_with_its_loop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def session() -> Client:
        async with serving(FakeBoxService(), tmp_path / "s") as address:
            monkeypatch.setenv("BOXWALL_SERVER", address)
            await Box.list()
            return await default_client.default_client()

    client = asyncio.run(session())

    assert client.connection._closed
    assert default_client._of_loop == {}


async def test_nodes_are_listed_fenced_and_forgotten(fake: FakeBoxService, client: Client) -> None:
    fake.nodes["n1"] = node_pb2.Node(id="n1", state=node_pb2.Node.STATE_CONNECTED)

    assert await client.nodes.list() == [Node(id="n1", state=NodeState.CONNECTED)]
    with pytest.raises(Conflict):
        await client.nodes.forget("n1")
    assert (await client.nodes.fence("n1", reason="odd")).state is NodeState.FENCED
    assert (await client.nodes.get("n1")).fence_reason == "odd"
    assert (await client.nodes.unfence("n1")).state is NodeState.DISCONNECTED
    assert await client.nodes.forget("n1") == 0
    with pytest.raises(NodeNotFound):
        await client.nodes.get("n1")
