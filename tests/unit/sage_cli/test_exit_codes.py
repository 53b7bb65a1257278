from __future__ import annotations

from sage_cli.exit_codes import EXIT_CODES, EXIT_CONFIGURATION, exit_code
from sage_common.errors import ConfigurationError, ErrorKind, InvalidRequestError


def test_every_kind_of_failure_has_an_exit_code_that_says_failure() -> None:
    assert set(EXIT_CODES) == set(ErrorKind)
    assert all(0 < code < 256 for code in EXIT_CODES.values())


def test_wrong_settings_have_a_code_of_their_own() -> None:
    assert exit_code(ConfigurationError("x")) == EXIT_CONFIGURATION
    assert exit_code(InvalidRequestError("x")) != EXIT_CONFIGURATION
