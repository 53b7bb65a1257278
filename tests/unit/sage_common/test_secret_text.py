from __future__ import annotations

import pytest

from sage_common.secret_text import is_secret_name, secret_arguments, without_credentials


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "api_key", "api_keys", "--api-key", "mesh_token", "AWS_SECRET_ACCESS_KEY", "nats.token"]
)
def test_a_secret_is_known_by_its_name(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["max_tokens", "token_file", "TOKENIZERS_PARALLELISM", "keep_alive_seconds", "model", ""]
)
def test_other_names_hold_none(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nats://token@127.0.0.1:4222", "nats://***@127.0.0.1:4222"),
        ("nats://u:p@a:1,nats://u:p@b:2", "nats://***@a:1,nats://***@b:2"),
        ("nats://u:p@ss@a:1", "nats://***@a:1"),
        ("http://host/path?mail=a@b", "http://host/path?mail=a@b"),
        ("cannot reach https://u:p@host/v1 now", "cannot reach https://***@host/v1 now"),
    ],
)
def test_credentials_in_a_url_are_not_shown(text: str, shown: str) -> None:
    assert without_credentials(text) == shown


def test_options_that_carry_a_secret_are_found() -> None:
    assert secret_arguments(["--dtype", "half", "--api-key=x", "--hf-token", "y"]) == ["--api-key", "--hf-token"]
