"""Whether a supervisor of this user runs on this machine: a look at one file, which no command waits for."""

from __future__ import annotations

from sage_common import paths
from sage_platform.supervision.state_file import SupervisorState, read_state


def local_state() -> SupervisorState | None:
    """Return the state of the supervisor that runs on this machine for this user, or None."""
    state = read_state(paths.state_dir())
    return state if state is not None and state.alive else None
