"""Choosing the request-feature extractor: C++ where it is installed and agrees with the reference, Python elsewhere."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import cast

from sage_common.errors import ConfigurationError
from sage_common.logging import get_logger
from sage_control_plane.request.features import FeatureExtractor, request_features

NATIVE = "native"
PYTHON = "python"

_SWITCH = "SAGE_NATIVE"
_REMEDY = "reinstall it with `pip install ./libs/cpp`, or set SAGE_NATIVE=off"


def load_feature_extractor(environ: Mapping[str, str] = os.environ) -> tuple[FeatureExtractor, str]:
    """Return the feature extractor to use and which it is: ``"native"`` or ``"python"``.

    ``SAGE_NATIVE`` is ``auto`` (default) or ``off``. Where ``sage-native`` is not installed the reference serves, which
    is normal; where it is installed but does not load, or gives other values than the reference, the reference serves
    and an error is logged. Replicas with different values would not recognise each other's prefixes.

    Raises:
        ConfigurationError: ``SAGE_NATIVE`` has another value.
    """
    switch = environ.get(_SWITCH, "auto").strip().lower()
    if switch not in ("auto", "off"):
        raise ConfigurationError(f"{_SWITCH} is {switch!r}; it must be 'auto' (use sage-native if installed) or 'off'")
    if switch == "off":
        return request_features, PYTHON
    log = get_logger(__name__)
    try:
        native = cast(FeatureExtractor, importlib.import_module("sage_native").request_features)
    except ModuleNotFoundError as error:
        if error.name != "sage_native":
            log.error("sage-native is installed but broken; using Python", reason=str(error), remedy=_REMEDY)
        return request_features, PYTHON
    except (ImportError, AttributeError, OSError) as error:
        log.error("sage-native is installed but broken; using Python", reason=str(error), remedy=_REMEDY)
        return request_features, PYTHON
    problem = _disagreement(native)
    if problem:
        log.error("sage-native is of another version than SAGE; using Python", reason=problem, remedy=_REMEDY)
        return request_features, PYTHON
    return native, NATIVE


def _disagreement(native: FeatureExtractor) -> str | None:
    """Say how ``native`` differs from the reference on a conversation that has every class of byte, or nothing."""
    text = "A sampleConversation, 2026:\n\tnaïve Ωμέγα, 漢字 and 🥑 in extraordinarily long words; a_b(c) -> [1, 22]. "
    segments = ("system", text, b"\xfe\xff\x00 raw", "", "user", text * 3)
    expected = request_features(segments, 64)
    try:
        found = native(segments, 64)
    except (TypeError, ValueError) as error:
        return f"it fails on a sample: {error}"
    if found == expected:
        return None
    return f"it estimates {found[0]} tokens where the reference has {expected[0]}, or its block hashes differ"
