"""The applications that come with SAGE: what ``sage app`` and the studio's page of applications list."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Application:
    """An application. Its package is ``sage_apps.NAME``, its command ``sage app NAME``, its page ``/apps/NAME``.

    Attributes:
        title: for people.
        summary: what it does, in one sentence.
        icon: of the studio, a name of Material Icons.
    """

    name: str
    title: str
    summary: str
    icon: str


APPLICATIONS = (
    Application(
        "assistant",
        "Document assistant",
        "Answers questions about a knowledge base, and questions that follow on them, with numbered sources.",
        "support_agent",
    ),
    Application(
        "triage",
        "Ticket triage",
        "Sorts support tickets on a stream, counts them by window, and says where a category surges.",
        "confirmation_number",
    ),
    Application(
        "monitor",
        "Article monitor",
        "Finds articles that tell the same as they come in, and topics of a window, each with a label.",
        "newspaper",
    ),
)


def data_folder(name: str) -> Path:
    """Return the folder of an application's own data, which its wheel has too."""
    return _FOLDER / name / "data"
