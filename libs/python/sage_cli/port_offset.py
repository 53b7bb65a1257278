"""Choosing one of several meshes of a machine by what is added to their ports."""

from __future__ import annotations

import os

from sage_common.ports import OFFSET_VARIABLE, port_offset


def use_port_offset(offset: int) -> None:
    """Speak of the mesh at ``offset`` from now on, in this process and those that it starts.

    Raises:
        ConfigurationError: the offset is out of range.
    """
    os.environ[OFFSET_VARIABLE] = str(offset)
    port_offset()
