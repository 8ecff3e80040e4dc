"""A box as its node has it, and what becomes of it when the control plane says something. Pure."""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, assert_never

from boxwall.policy import Custom, Policy
from boxwall.wire.entries import Entry, Held, NotYours, PolicySet, Removed, Result, Unreadable
from boxwall_agent.link_news import Link
from boxwall_agent.ruleset import Interface

NAMES_NOT_ENFORCED: Final = (
    "allowed_domains are not enforced on this node: no name is allowed (boxwall doctor says what "
    "it lacks); what allowed_cidrs and denied_cidrs say is in force"
)


class Standing(Enum):
    """What is known of a box. Only ENFORCED lets anything pass."""

    WAITING = "waiting"
    """No policy has come yet."""
    ENFORCED = "enforced"
    """Its policy is in force."""
    UNKNOWN = "unknown"
    """The control plane knows no such box (any more)."""
    REFUSED = "refused"
    """The control plane wants it on another node."""
    FAILED = "failed"
    """Its policy could not be understood, or not be put in force."""
    SHUT_OUT = "shut out"
    """The node is fenced, or has been out of contact for too long."""
    GONE = "gone"
    """Its interface is gone."""
    CHANGED = "changed"
    """Its interface has another name, is a port of something, or something lies upon it."""

    @property
    def needs_attach(self) -> bool:
        """Whether nothing that the control plane says opens the box: it must be attached again."""
        return self in (Standing.GONE, Standing.CHANGED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosted:
    """One box on this node. The zero value of everything denies."""

    box_id: str
    interfaces: tuple[Interface, ...]
    standing: Standing = Standing.WAITING
    uid: str = ""
    revision: int = 0
    """Of the policy that is in force, or that failed."""
    policy: Policy | None = None
    """Only while ENFORCED."""
    message: str = "no policy has come yet"
    is_forgotten: bool = False
    """Nobody knows any more whose box it is: the kernel had the interface, the state did not. Its
    id is made up here, and means nothing to the control plane.
    """

    def __post_init__(self) -> None:
        if (self.policy is not None) != (self.standing is Standing.ENFORCED):
            raise ValueError("a box has a policy in force exactly while it is ENFORCED")

    @property
    def held(self) -> Held:
        """What to tell the control plane when a stream begins."""
        if self.policy is None:
            return Held(box_id=self.box_id)
        return Held(box_id=self.box_id, uid=self.uid, revision=self.revision)

    def closed(self, standing: Standing, message: str) -> "Hosted":
        """The box with nothing allowed."""
        return replace(self, standing=standing, policy=None, message=message)


def forgotten(name: str, index: int | None) -> Hosted:
    """An interface that an earlier agent policed, for a box that is not remembered. `index`: None
    if it is gone.
    """
    return Hosted(
        box_id=f"interface:{name}",
        interfaces=(Interface(name=name, index=index or 0, addresses=()),),
        standing=Standing.GONE if index is None else Standing.UNKNOWN,
        message="which box this is has been forgotten; attach the box again, or detach this",
        is_forgotten=True,
    )


def after(hosted: Hosted, entry: Entry, *, enforces_names: bool) -> Hosted:
    """Return the box as `entry` wants it, on a node that can enforce names, or cannot."""
    match entry:
        case PolicySet() | Unreadable() if hosted.standing.needs_attach:
            return replace(hosted, uid=entry.uid, revision=entry.revision)
        case _ if hosted.standing.needs_attach:
            return hosted
        case PolicySet():
            return replace(
                hosted,
                standing=Standing.ENFORCED,
                uid=entry.uid,
                revision=entry.revision,
                policy=entry.policy,
                message="" if enforces_names else note_on(entry.policy),
            )
        case Removed():
            message = "the control plane knows no such box; make it, or detach the interface"
            return hosted.closed(Standing.UNKNOWN, message)
        case NotYours():
            return hosted.closed(Standing.REFUSED, entry.message)
        case Unreadable():
            failed = replace(hosted, uid=entry.uid, revision=entry.revision)
            return failed.closed(Standing.FAILED, entry.message)
        case _:
            assert_never(entry)


def problem_of(interface: Interface, link: Link) -> str | None:
    """Say why the box's interface is not what was attached, now that there is this link, which is
    the interface itself or lies upon it; None: it is.
    """
    if link.lower == interface.index:
        return (
            f"{link.name} lies upon its interface {interface.name}, takes frames that the node's "
            "rules do not see as the box's, and was taken down; remove it, and attach the box again"
        )
    if link.master:
        return (
            f"its interface {link.name} became a port of interface {link.master}, which passes "
            "frames on before the node's rules see them, and was taken down; take it out of there, "
            "and attach the box again"
        )
    if link.name != interface.name:
        return f"its interface {interface.name} is called {link.name} now; attach the box again"
    return None


def note_on(policy: Policy) -> str:
    """What of the policy is not in force where names cannot be enforced. Empty: nothing."""
    has_names = isinstance(policy, Custom) and policy.allowed_domains
    return NAMES_NOT_ENFORCED if has_names else ""


def result_of(hosted: Hosted) -> Result | None:
    """Return what an acknowledgement must say of the box. None: nothing but that it is done."""
    match hosted.standing:
        case _ if not hosted.revision:
            return None  # nothing of it was ever in force, or asked for
        case Standing.FAILED | Standing.GONE | Standing.CHANGED:
            return Result(box_id=hosted.box_id, revision=hosted.revision, failure=hosted.message)
        case Standing.ENFORCED if hosted.message:
            return Result(box_id=hosted.box_id, revision=hosted.revision, note=hosted.message)
        case _:
            return None
