"""YAML and JSON texts of pipelines, read strictly: they may come from anyone on the network."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, ClassVar

import yaml

from sage_kernel.problems import PipelineInvalidError, Problem

MAX_TEXT_BYTES = 1024 * 1024


# A pipeline needs four levels beside its records.
MAX_DEPTH = 64
# No JSON number that keeps its value is longer, and to read a long one takes quadratic time.
MAX_NUMBER_CHARACTERS = 40
_JSON_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "seq", "map"))
_TOO_DEEP = "it is nested too deeply"
_DEPTH_REMEDY = f"a pipeline needs four levels beside its records, and has at most {MAX_DEPTH}"

# libyaml's parser, about ten times as fast, under PyYAML's composer, which has the hook for aliases.
_PARSER: tuple[type[Any], ...] = (
    (yaml.composer.Composer, yaml.cyaml.CParser)  # type: ignore[attr-defined]
    if yaml.__with_libyaml__
    else (yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser, yaml.composer.Composer)
)


class _StrictLoader(*_PARSER, yaml.constructor.SafeConstructor, yaml.resolver.Resolver):  # type: ignore[misc]
    """YAML as a notation of JSON: no aliases (a few can stand for gigabytes), no tags, no repeated keys, no dates."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, Any]]]] = {  # type: ignore[misc]
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        for part in _PARSER:
            part.__init__(self, *((text,) if part.__name__ in ("CParser", "Reader") else ()))
        yaml.constructor.SafeConstructor.__init__(self)
        yaml.resolver.Resolver.__init__(self)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.constructor.ConstructorError(None, None, "aliases are not allowed; repeat the text", mark)
        return super().compose_node(parent, index)  # type: ignore[no-any-return]

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        if node.tag not in _JSON_TAGS:
            tag = str(node.tag).removeprefix("tag:yaml.org,2002:")[:80]
            raise yaml.constructor.ConstructorError(None, None, f"{tag!r} has no form in JSON", node.start_mark)
        number = node.tag.endswith((":int", ":float"))
        if number and len(node.value) > MAX_NUMBER_CHARACTERS:
            message = f"a number of {len(node.value)} characters"
            raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)
        return super().construct_object(node, deep=deep)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value[:80]!r} appears twice in one mapping", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def read_text(text: str) -> object:
    """Return the value of a YAML or JSON text.

    Raises:
        PipelineInvalidError: it is neither, over ``MAX_TEXT_BYTES``, or nested deeper than ``MAX_DEPTH``; the problem
            says where.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_TEXT_BYTES:
        raise _unreadable(f"it has {size} bytes", f"keep it below {MAX_TEXT_BYTES} and put data into files")
    try:
        if text.lstrip().startswith("{"):
            try:
                return _checked(json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant))
            except json.JSONDecodeError:
                pass  # YAML's flow style begins with a brace too
        return _checked(_read_yaml(text))
    except (yaml.YAMLError, ValueError) as error:
        where = " ".join(str(error)[:1000].split())
        raise _unreadable(f"it is neither YAML nor JSON: {where}", "correct the text at that place") from None
    except RecursionError:
        raise _unreadable(_TOO_DEEP, _DEPTH_REMEDY) from None


def _read_yaml(text: str) -> object:
    loader = _StrictLoader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _checked(value: object) -> object:
    """Return ``value``. Raises PipelineInvalidError when it is nested too deeply or holds text without an encoding."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.keys()
                below += item.values()
            elif isinstance(item, list | tuple):
                below += item
            elif isinstance(item, str) and not item.isascii():
                try:
                    item.encode()
                except UnicodeEncodeError:
                    shown = item[:80].encode("ascii", "backslashreplace").decode()
                    raise _unreadable(
                        f"the text '{shown}' holds half a surrogate pair", "write the character itself"
                    ) from None
        if not below:
            return value
        level = below
    raise _unreadable(_TOO_DEEP, _DEPTH_REMEDY)


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
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"key {twice[:80]!r} appears twice in one object")
    return result


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _unreadable(message: str, remedy: str) -> PipelineInvalidError:
    return PipelineInvalidError([Problem("", "", message, remedy)])
