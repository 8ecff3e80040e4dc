"""What can go wrong on a node, by what the caller can do about it.

AgentError
  KernelError           the kernel did not do it
    KernelRejected      nothing has changed: deny for the box that asked for it
    KernelUnsure        the outcome is unknown: put everything in force anew
    KernelUnusable      this machine, or this user, cannot enforce: do not start
  CannotAttach          the interface cannot be policed, or is taken: say why
  StateUnusable         the state file cannot be read or written
"""


class AgentError(Exception):
    """Base of all."""


class KernelError(AgentError):
    """The kernel did not do what was asked."""


class KernelRejected(KernelError):
    """A transaction was refused as a whole. Nothing has changed."""

    def __init__(self, number: int, step: str, reason: str) -> None:
        super().__init__(f"the kernel refused {step}: {reason}")
        self.errno = number
        """As the kernel gave it."""
        self.step = step
        """Which part of the transaction, in words."""


class KernelUnsure(KernelError):
    """The answer was lost (ENOBUFS): what was asked may be in force or not."""


class KernelUnusable(KernelError):
    """No nf_tables, or no privilege to use it."""


class CannotAttach(AgentError):
    """An interface that cannot be policed as asked. Nothing was opened."""


class StateUnusable(AgentError):
    """The file that must survive a restart cannot be read or written."""
