"""Subjects that belong to one identity of a secured mesh: its inboxes, and what is told from them."""

from __future__ import annotations

from nats.aio.client import Client

from sage_platform.subjects import token

_INBOX = "_INBOX"


def inbox_prefix(identity: str) -> str:
    """Return what the inboxes of ``identity`` begin with; NATS's own beginning for an empty one."""
    return f"{_INBOX}_{token(identity)}" if identity else _INBOX


def identity_of(connection: Client) -> str:
    """Return whose connection this is; empty in a mesh without identities."""
    return connection._inbox_prefix.decode().removeprefix(_INBOX).removeprefix("_")
