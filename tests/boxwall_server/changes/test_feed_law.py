"""Any interleaving of writes and what a stream does keeps every guarantee."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from boxwall_server.changes.feed import FeedState, FrameKind, Item, NodeFeed
from boxwall_server.changes.log import ChangeLog
from boxwall_server.changes.revision import Revision, cursor_to_token
from fakes.changes import EPOCH, change, cursor
from guarantees.checkers import Checkers
from guarantees.heard import Heard, Said
from guarantees.history import History, State, Write

BOXES = ["b1", "b2", "b3", "b4"]
BOX_IDS = st.sampled_from(BOXES)
SIZES = st.integers(1, 12)


class FeedMachine(RuleBasedStateMachine):
    """A store, a feed, and a node that checks what it gets.

    The naive model is the history itself: every write of every box. Reading a box's entry and
    answering with it are two steps, as they are in a server.
    """

    def __init__(self) -> None:
        super().__init__()
        self.history = History()
        self.log = ChangeLog(cursor(0))
        self.current: dict[str, Item] = {}
        self.read: list[Item] = []
        self.feed = NodeFeed(max_frame_bytes=10)
        self.attached: set[str] = set()
        self.checkers = Checkers(self.history, now=0.0, scope=[])
        self.sent: list[Heard] = []
        self.applied: dict[str, int] = {}

    @initialize(writes=st.lists(BOX_IDS, max_size=6), hosted=st.sets(BOX_IDS), data=st.data())
    def subscribe(self, writes: list[str], hosted: set[str], data: st.DataObject) -> None:
        for box_id in writes:
            self.write(box_id, 3, deleted=False)
        resumes_at = data.draw(st.none() | st.integers(0, len(writes)))
        held: dict[str, State] = {}
        if resumes_at is not None:
            newest = {box: self.history.latest(box, resumes_at) for box in hosted}
            held = {box: write.state for box, write in newest.items() if write.revision}
        self.attached = set(hosted)
        self.checkers = Checkers(
            self.history,
            now=0.0,
            scope=hosted,
            held=held,
            cursor="" if resumes_at is None else cursor_to_token(cursor(resumes_at), "default"),
        )
        self.feed.widen(hosted)
        missing = []
        for box_id in sorted(hosted):
            item = self.entry(box_id)
            if (
                box_id in held
                and item.revision == self.history.latest(box_id, resumes_at or 0).revision
            ):
                self.feed.held(box_id, item.revision)
            else:
                missing.append(item)
        self.missing, self.resets, self.read_at = missing, resumes_at is None, self.log.head

    @precondition(lambda self: self.feed.state is FeedState.COLLECTING)
    @rule()
    def load(self) -> None:
        self.feed.load(self.missing, self.read_at, reset=self.resets)

    @rule(box_id=BOX_IDS, size=SIZES, deleted=st.booleans())
    def write(self, box_id: str, size: int, deleted: bool) -> None:
        revision = self.history.head + 1
        state = (
            None if deleted and self.history.state_at(revision).get(box_id) else b"%d" % revision
        )
        self.history.add(Write(revision, box_id, state))
        self.log.append(EPOCH, [change(revision, box_id)])
        payload = b"" if state is None else state.ljust(size)
        self.current[box_id] = Item(box_id=box_id, revision=Revision(revision), payload=payload)
        self.feed.change(self.current[box_id])

    @precondition(lambda self: self.feed.state is not FeedState.COLLECTING)
    @rule(box_id=BOX_IDS)
    def attach(self, box_id: str) -> None:
        self.attached.add(box_id)
        self.checkers.attach([box_id])
        self.feed.widen([box_id])
        self.read.append(self.entry(box_id))

    @rule()
    def answer(self) -> None:
        self.feed.answer(self.read)
        self.read.clear()

    @precondition(lambda self: self.feed.state is not FeedState.COLLECTING and not self.read)
    @rule(box_id=BOX_IDS)
    def detach(self, box_id: str) -> None:
        self.attached.discard(box_id)
        self.applied.pop(box_id, None)
        self.checkers.detach([box_id])
        self.feed.narrow([box_id])

    @rule()
    def take(self) -> None:
        frame = self.feed.take(self.log.head, 0.0)
        if frame is None:
            assert self.feed.state is FeedState.COLLECTING
            return
        states = {i.box_id: i.payload.strip() or None for i in frame.items}
        message = Heard(
            time=0.0,
            kind=frame.kind.value,
            cursor=frame.cursor,
            said=tuple(Said(box_id, state) for box_id, state in states.items()),
            last=frame.kind is FrameKind.RESET and frame.last,
        )
        assert len(states) == len(frame.items)
        self.checkers.take_heard(message)
        self.sent.append(message)

    @rule(back=st.integers(1, 4))
    def acknowledge(self, back: int) -> None:
        with_cursor = [message.cursor for message in self.sent if message.cursor is not None]
        if not with_cursor:
            return
        at = with_cursor[-min(back, len(with_cursor))]
        for box_id, revision in self.feed.acknowledge(at):
            if box_id in self.attached:
                assert revision >= self.applied.get(box_id, 0) or revision == 0
                self.applied[box_id] = revision

    @invariant()
    def memory_is_bounded_by_the_scope(self) -> None:
        assert len(self.feed._pending) <= len(BOXES)
        assert self.feed.scope == self.attached

    def teardown(self) -> None:
        """Whatever has happened: let the stream run, and it is where the history is."""
        if not hasattr(self, "missing"):
            return
        if self.feed.state is FeedState.COLLECTING:
            self.load()
        self.answer()
        while self.feed.has_items:
            self.take()
        self.take()
        self.checkers.settle(0.0)
        assert self.sent[-1].cursor is not None
        assert self.sent[-1].cursor.revision == self.history.head

    def entry(self, box_id: str) -> Item:
        """What the store answers: a tombstone for a box that never was."""
        nothing = Item(box_id=box_id, revision=Revision(0), payload=b"")
        return self.current.get(box_id, nothing)


FeedMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestAnyInterleavingKeepsEveryGuarantee = FeedMachine.TestCase
