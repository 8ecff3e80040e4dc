"""What can go wrong around a sandbox.

AgentError
  CannotSandbox       the namespace or its link cannot be made: nothing has run
  AgentNotUsable      no agent answers, and a private one does not start, or must not
Interrupted           by a signal, before the command was started
"""

import signal

from boxwall_agent.errors import AgentError


class CannotSandbox(AgentError):
    """The namespace or its link cannot be made. What was made is gone."""


class AgentNotUsable(AgentError):
    """No agent answers, and a private one cannot be had."""


class Interrupted(Exception):
    """The user does not want it any more."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number
        """The signal."""
