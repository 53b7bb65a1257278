"""Settings of the classifier service; those of classification itself are in section ``classification``."""

from __future__ import annotations

from typing import ClassVar

from sage_common.service_settings import ServiceSettings


class ClassifierSettings(ServiceSettings):
    """Section ``classifier``."""

    section: ClassVar[str] = "classifier"
