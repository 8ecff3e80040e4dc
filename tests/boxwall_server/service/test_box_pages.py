"""Lists of boxes: pages, filters, and how new they are."""

from typing import Any

import grpc
import pytest

from boxwall.v1 import box_service_pb2, policy_pb2
from boxwall.wire.errors import ErrorReason
from fakes.service import (
    DENY_ALL,
    Served,
    fields_of,
    refusal,
)


def list_boxes(served: Served, **fields: Any) -> Any:
    return served.boxes.ListBoxes(box_service_pb2.ListBoxesRequest(**fields))


async def pages_of(served: Served, **fields: Any) -> list[str]:
    found, token = [], ""
    while True:
        page = await list_boxes(served, page_token=token, **fields)
        found += [box.id for box in page.boxes]
        token = page.next_page_token
        if not token:
            return found


async def test_pages_are_in_order_whole_and_stable_under_writes(served: Served) -> None:
    for number in range(7):
        await served.create(f"b{number}")
    page = await list_boxes(served, page_size=3)
    assert [box.id for box in page.boxes] == ["b0", "b1", "b2"]
    await served.delete("b1")
    await served.create("a-new-one")
    rest = await pages_of(served, page_size=3)
    assert rest == ["a-new-one", "b0", "b2", "b3", "b4", "b5", "b6"]
    page = await list_boxes(served, page_size=3, page_token=page.next_page_token)
    assert [box.id for box in page.boxes] == ["b3", "b4", "b5"]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"name_prefix": "a"}, ["b1"]),
        ({"labels": {"k": "v"}}, ["b1"]),
        ({"mode": policy_pb2.MODE_DENY_ALL}, ["b2"]),
        ({"node_id": "n1"}, ["b1", "b3"]),
        ({"node_id": "n1", "name_prefix": "a"}, ["b1"]),
        ({"name_prefix": "zzz"}, []),
    ],
)
async def test_a_filter_shows_what_matches_it_all(
    served: Served, where: dict[str, Any], found: list[str]
) -> None:
    await served.create("b1", name="ada", labels={"k": "v", "x": "y"}, node_id="n1")
    await served.create("b2", network_policy=DENY_ALL)
    await served.create("b3")
    await served.hosting("b3")
    assert await pages_of(served, filter=where) == found


async def test_a_page_token_of_another_filter_is_refused(served: Served) -> None:
    await served.create("b1")
    await served.create("b2")
    token = (await list_boxes(served, page_size=1)).next_page_token
    error = await refusal(list_boxes(served, page_token=token, filter={"name_prefix": "x"}))
    assert error.reason is ErrorReason.INVALID_PAGE_TOKEN
    assert fields_of(error) == ["page_token"]


async def test_a_revision_that_is_not_reached_can_be_asked_for_again(served: Served) -> None:
    await served.create()
    request = box_service_pb2.GetBoxRequest(box_id="b1", at_least_revision=2)
    error = await refusal(served.boxes.GetBox(request))
    assert (error.status, error.reason) == (
        grpc.StatusCode.UNAVAILABLE,
        ErrorReason.REVISION_NOT_REACHED,
    )
    assert error.retry_after is not None
    await served.update()
    assert (await served.boxes.GetBox(request)).policy_revision == 2
