"""YAML and JSON texts of pipelines, read strictly: they may come from anyone on the network."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import yaml

from sage_kernel.problems import PipelineInvalidError, Problem

MAX_TEXT_BYTES = 1024 * 1024


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML without aliases (a few can stand for gigabytes), repeated keys and dates (JSON has none)."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, Any]]]] = {  # type: ignore[misc]
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(None, None, "aliases are not allowed; repeat the text", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value!r} appears twice in one mapping", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def read_text(text: str) -> object:
    """Return the value of a YAML or JSON text.

    Raises:
        PipelineInvalidError: it is neither, or over ``MAX_TEXT_BYTES``; the problem says where.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_TEXT_BYTES:
        raise _unreadable(f"it has {size} bytes", f"keep it below {MAX_TEXT_BYTES} and put data into files")
    try:
        if text.lstrip().startswith("{"):
            try:
                return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
            except json.JSONDecodeError:
                pass  # YAML's flow style begins with a brace too
        return yaml.load(text, Loader=_StrictLoader)
    except (yaml.YAMLError, ValueError) as error:
        where = " ".join(str(error).split())
        raise _unreadable(f"it is neither YAML nor JSON: {where}", "correct the text at that place") from None
    except RecursionError:
        raise _unreadable("it is nested too deeply", "a pipeline needs four levels beside its records") from None


def to_yaml(value: dict[str, Any]) -> str:
    """Return JSON values as YAML, keys in the order given."""
    return yaml.dump(value, Dumper=_FaithfulDumper, sort_keys=False, allow_unicode=True, width=120)


class _FaithfulDumper(yaml.SafeDumper):
    """Writes text with a line break other than ``\\n`` between double quotes, where it is escaped.

    PyYAML writes U+0085, U+2028 and U+2029 as they are between single quotes and folds them to a space on reading.
    """


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if any(mark in text for mark in "\r\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_FaithfulDumper.add_representer(str, _represent_text)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} appears twice in one object")
    return result


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _unreadable(message: str, remedy: str) -> PipelineInvalidError:
    return PipelineInvalidError([Problem("", "", message, remedy)])
