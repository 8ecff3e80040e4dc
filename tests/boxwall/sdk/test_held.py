"""What a watcher holds: a reset becomes the changes it really is."""

from boxwall.sdk.held import Changed, Gone, Held
from boxwall.sdk.network_policy import NetworkPolicy
from boxwall.sdk.values import BoxState


def box(box_id: str, etag: str = "1", uid: str = "u") -> BoxState:
    return BoxState(id=box_id, uid=uid, etag=etag, network_policy=NetworkPolicy.deny_all())


def test_the_first_reset_is_all_boxes() -> None:
    held = Held()

    assert held.page([box("a")], last=False) == []
    assert held.page([box("b")], last=True) == [Changed(box("a")), Changed(box("b"))]


def test_a_later_reset_is_only_what_is_different_and_what_has_gone_comes_first() -> None:
    held = Held()
    held.page([box("a"), box("b"), box("c")], last=True)

    news = held.page([box("b"), box("c", "2"), box("d")], last=True)

    assert news == [Gone("a"), Changed(box("c", "2")), Changed(box("d"))]


def test_pages_of_a_reset_that_broke_off_do_not_count() -> None:
    held = Held()
    held.page([box("a")], last=False)
    held.connected()

    assert held.page([box("b")], last=True) == [Changed(box("b"))]


def test_a_new_box_with_an_old_id_is_news_even_with_the_same_etag() -> None:
    held = Held()
    held.page([box("a")], last=True)

    assert held.page([box("a", uid="other")], last=True) == [Changed(box("a", uid="other"))]


def test_a_change_that_comes_again_after_a_reconnect_is_no_news() -> None:
    held = Held()
    held.changed([Changed(box("a", "2"))])

    assert held.changed([Changed(box("a", "2"))]) == []


def test_the_end_of_a_box_that_was_never_shown_is_no_news() -> None:
    held = Held()

    assert held.changed([Gone("a")]) == []


def test_a_box_that_went_and_came_back_is_news() -> None:
    held = Held()
    held.changed([Changed(box("a"))])

    news = held.changed([Gone("a"), Changed(box("a"))])

    assert news == [Gone("a"), Changed(box("a"))]


def test_a_dictionary_kept_by_the_changes_is_the_state_of_the_last_reset() -> None:
    held, kept = Held(), {}
    for page in (
        [box("a"), box("b")],
        [box("b", "2")],
        [],
        [box("a", "3"), box("c")],
    ):
        for change in held.page(page, last=True):
            match change:
                case Changed(state):
                    kept[state.id] = state
                case Gone(box_id):
                    del kept[box_id]
        assert kept == {state.id: state for state in page}
