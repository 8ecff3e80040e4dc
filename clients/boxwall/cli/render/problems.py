"""Errors for people: what happened, every detail, what to do next, and the exit status."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from boxwall.cli.render.documents import Document, enforcement_document, violation_documents
from boxwall.cli.render.text import safe
from boxwall.policy import InvalidDestination, PolicyError, PolicyWarning, Violation
from boxwall.policy import InvalidPolicy as BadPolicy
from boxwall.sdk import errors

REFUSED: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3
NOT_ENFORCED: Final = 4
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
"""Exit statuses; 0 is done. The last two are 128 and the number of the signal, as in shells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An error as it is shown. All texts are safe."""

    status: int
    headline: str
    details: tuple[str, ...] = ()
    next_step: str = ""

    @property
    def lines(self) -> list[str]:
        """What goes to stderr."""
        step = [f"next: {self.next_step}"] if self.next_step else []
        return [f"error: {self.headline}", *(f"  {detail}" for detail in self.details), *step]


def problem_of(error: errors.BoxwallError | PolicyError, verb: str = "boxwall") -> Problem:
    """Return what there is to say about an error of a command."""
    match error:
        case errors.InvalidRequest() | BadPolicy() | InvalidDestination():
            return _invalid(error)
        case errors.NotEnforced():
            return Problem(
                status=NOT_ENFORCED,
                headline=safe(
                    f"policy revision {error.box.policy_revision} of box {error.box.id} is stored, "
                    "but not in force everywhere"
                ),
                details=tuple(safe(str(node)) for node in error.lagging),
                next_step="look at the nodes that lag with: boxwall node list; see how far it is "
                f"with: boxwall box get {safe(error.box.id)}",
            )
        case errors.Overloaded():
            return Problem(status=REFUSED, headline=safe(str(error)), next_step=_after(error))
        case errors.TimedOut():
            return Problem(
                status=UNREACHABLE,
                headline=safe(str(error)),
                next_step="a write may have happened, so read before you repeat it; to wait "
                "longer: --timeout 60s",
            )
        case errors.NoAgent():
            return Problem(
                status=UNREACHABLE,
                headline=safe(str(error)),
                next_step="start it, or name its socket with --agent-socket PATH; boxwall doctor "
                "says what this machine can enforce",
            )
        case errors.Unavailable():
            return Problem(
                status=UNREACHABLE,
                headline=safe(str(error)),
                next_step="is the control plane running? start one with: boxwall up; or name "
                "another with --server HOST:PORT; boxwall doctor looks further",
            )
        case errors.BadConfig():
            step = f"correct the setting; see: {verb} --help"
            return Problem(status=USAGE, headline=safe(str(error)), next_step=step)
        case _:
            return Problem(
                status=REFUSED, headline=safe(str(error)), next_step=_next_step(type(error))
            )


def problem_document(error: errors.BoxwallError | PolicyError, verb: str = "boxwall") -> Document:
    """Return an error as JSON."""
    problem = problem_of(error, verb)
    document: Document = {
        "error": type(error).__name__,
        "message": str(error),
        "status": problem.status,
        "next": problem.next_step,
        "violations": violation_documents(getattr(error, "violations", ())),
    }
    if isinstance(error, errors.NotEnforced):
        document["enforcement"] = enforcement_document(error.enforcement)
    return document


def violation_lines(violations: Iterable[Violation]) -> list[str]:
    """Return one safe line for each violation; the fix is in its text."""
    return [safe(str(violation)) for violation in violations]


def warning_lines(warnings: Iterable[PolicyWarning]) -> list[str]:
    """Return one safe line for each warning."""
    return [safe(f"warning: {w.code.value}: {w.field}: {w.message}") for w in warnings]


def _invalid(
    error: errors.InvalidRequest | BadPolicy | InvalidDestination,
) -> Problem:
    details = violation_lines(error.violations)
    more = error.more_violations if isinstance(error, errors.InvalidRequest) else 0
    if more:
        details.append(f"and {more} more")
    match error:
        case InvalidDestination():
            headline = "the destination is not valid"
            step = "write a host, host:port or [IPv6]:port, such as api.github.com:443"
        case BadPolicy():
            headline = "the policy is not valid; nothing was changed"
            step = "correct it, and check it with: boxwall policy lint FILE"
        case _:
            headline = "the request is not valid" if details else safe(str(error))
            step = "correct it, and try again"
    status = USAGE if isinstance(error, InvalidDestination) else REFUSED
    return Problem(status=status, headline=headline, details=tuple(details), next_step=step)


_NEXT_STEPS: Final[dict[type[Exception], str]] = {
    errors.BoxNotFound: "list the boxes with: boxwall box list",
    errors.SnapshotNotFound: "list the snapshots with: boxwall snapshot list",
    errors.NodeNotFound: "list the nodes with: boxwall node list",
    errors.NotAttached: "see what is attached here with: boxwall attached",
    errors.AlreadyExists: "take another id, or leave it out: the server makes one",
    errors.CannotAttach: "mend that, and attach again; boxwall attached shows what is closed",
    errors.Conflict: "read it again, and decide anew",
    errors.Unauthenticated: "give a token with BOXWALL_TOKEN, or --token",
    errors.PermissionDenied: "ask for a token that may do this",
    errors.QuotaExceeded: "list the boxes with: boxwall box list; or ask the operator for more",
    errors.InternalError: "look for the id in the server's log, and report it",
    errors.UnexpectedAnswer: "update the older of client and server; see: boxwall --version",
}


def _next_step(kind: type[Exception]) -> str:
    return next((_NEXT_STEPS[k] for k in kind.__mro__ if k in _NEXT_STEPS), "")


def _after(error: errors.Overloaded) -> str:
    if error.retry_after is None:
        return "try again later"
    return f"try again in {max(1, round(error.retry_after))} s"
