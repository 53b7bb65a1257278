"""Functions of Python that a pipeline may name, as ``ref: package.module:name``: only those that are allowed."""

from __future__ import annotations

import fnmatch
import importlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sage_common.errors import InvalidRequestError, PermissionDeniedError
from sage_kernel.foreign_errors import contained

REF_PATTERN = r"^[A-Za-z_][A-Za-z0-9_.]{0,254}:[A-Za-z_][A-Za-z0-9_]{0,127}$"
_REF = re.compile(REF_PATTERN)


def is_reference(text: str) -> bool:
    """Say whether ``text`` has the form ``package.module:name``."""
    return _REF.fullmatch(text) is not None


@dataclass(frozen=True)
class FunctionRegistry:
    """An allow-list.

    Attributes:
        allowed: patterns such as ``shop.rules:*`` or ``shop.rules:price``; nothing outside them is imported.
        setting: the setting to name in the error.
    """

    allowed: tuple[str, ...] = ()
    setting: str = ""

    def check(self, ref: str) -> None:
        """Say whether ``ref`` may be used, without importing it.

        Raises:
            InvalidRequestError: it is no reference.
            PermissionDeniedError: no pattern allows it.
        """
        if not is_reference(ref):
            raise InvalidRequestError(f"{ref[:80]!r} names no function; write package.module:name")
        if not any(fnmatch.fnmatchcase(ref, pattern) for pattern in self.allowed):
            where = f"add it to {self.setting}" if self.setting else "allow it where the pipeline is run"
            raise PermissionDeniedError(
                f"the function {ref!r} is not allowed (allowed: {', '.join(self.allowed) or 'none'}); {where}",
                code="function_not_allowed",
            )

    def load(self, ref: str) -> Callable[..., Any]:
        """Return the function. Raises as ``check`` does, and InvalidRequestError where there is no such function."""
        self.check(ref)
        module_name, _, name = ref.partition(":")
        try:
            function = getattr(contained(lambda: importlib.import_module(module_name)), name)
        except Exception as error:  # a module may raise anything while it is imported
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise InvalidRequestError(f"the function {ref!r} cannot be loaded: {reason}") from None
        if not callable(function):
            raise InvalidRequestError(f"{ref!r} is not a function but {type(function).__name__}")
        loaded: Callable[..., Any] = function
        return loaded


def allow(patterns: Iterable[str], setting: str = "") -> FunctionRegistry:
    """Return a registry of these patterns."""
    return FunctionRegistry(tuple(patterns), setting)


NO_FUNCTIONS = FunctionRegistry()
