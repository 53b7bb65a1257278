"""The gRPC APIs and the messages of the ring as a page, from the contracts in ``proto/`` and their comments."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pb2 import FileDescriptorProto as FileProto

from sage_tools.site.tables import table

# Numbers of fields in descriptor.proto, of which the paths of comments are made.
_MESSAGES, _ENUMS, _SERVICES, _FIELDS, _METHODS, _VALUES, _NESTED, _NESTED_ENUMS = 4, 5, 6, 2, 2, 2, 3, 4


def message_reference(proto: Path) -> str:
    """Return the page. Raises SystemExit where the contracts do not compile."""
    described = [_File(each) for each in _described(proto).file if each.package.startswith("sage.")]
    return "\n\n".join(
        [
            "# gRPC",
            "Every service has reflection and health v1, so that `grpcurl -plaintext HOST:PORT list` shows its calls. "
            "With API keys configured, calls carry one as `authorization: Bearer KEY`.",
            *(section for each in described for section in each.sections()),
        ]
    )


def _described(proto: Path) -> FileDescriptorSet:
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "described"
        arguments = ["protoc", f"-I{proto}", f"-I{files('grpc_tools') / '_proto'}", "--include_source_info"]
        sources = sorted(map(str, proto.rglob("*.proto")))
        if protoc.main([*arguments, f"--descriptor_set_out={target}", *sources]) != 0:
            raise SystemExit("protoc failed; its message is above")
        return FileDescriptorSet.FromString(target.read_bytes())


class _File:
    """One contract: its services first, then what their calls take and give."""

    def __init__(self, described: FileProto) -> None:
        self._file = described
        self._comments = {
            tuple(place.path): " ".join(place.leading_comments.split())
            for place in described.source_code_info.location
            if place.leading_comments
        }

    def sections(self) -> Iterator[str]:
        """Yield the parts of the page."""
        yield f"## {self._file.name.removeprefix('sage/')}"
        for number, service in enumerate(self._file.service):
            yield f"### {self._file.package}.{service.name}\n\n{self._said(_SERVICES, number)}"
            rows = [
                (f"`{call.name}`", _call(call), self._said(_SERVICES, number, _METHODS, at))
                for at, call in enumerate(service.method)
            ]
            yield table(("call", "takes → gives", "meaning"), rows)
        for number, message in enumerate(self._file.message_type):
            yield from self._message(message, (_MESSAGES, number), message.name)
        for number, enum in enumerate(self._file.enum_type):
            yield self._enum(enum, (_ENUMS, number), enum.name)

    def _said(self, *path: int) -> str:
        return self._comments.get(path, "")

    def _message(self, message: DescriptorProto, path: Sequence[int], name: str) -> Iterator[str]:
        rows = [
            (f"`{field.name}`", _kind(field, message), self._said(*path, _FIELDS, at))
            for at, field in enumerate(message.field)
        ]
        fields = table(("field", "type", "meaning"), rows) if rows else ""
        yield f"### {name}\n\n{self._said(*path)}\n\n{fields}".rstrip()
        for at, inner in enumerate(message.nested_type):
            if not inner.options.map_entry:
                yield from self._message(inner, (*path, _NESTED, at), f"{name}.{inner.name}")
        for at, enum in enumerate(message.enum_type):
            yield self._enum(enum, (*path, _NESTED_ENUMS, at), f"{name}.{enum.name}")

    def _enum(self, enum: EnumDescriptorProto, path: Sequence[int], name: str) -> str:
        rows = [(f"`{value.name}`", self._said(*path, _VALUES, at)) for at, value in enumerate(enum.value)]
        return f"### {name}\n\n{self._said(*path)}\n\n{table(('value', 'meaning'), rows)}"


def _call(call: Any) -> str:
    def shown(name: str, *, streams: bool) -> str:
        return f"{'stream of ' if streams else ''}`{name.rpartition('.')[2]}`"

    taken = shown(call.input_type, streams=call.client_streaming)
    return f"{taken} → {shown(call.output_type, streams=call.server_streaming)}"


def _kind(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    entries = {each.name: each for each in message.nested_type if each.options.map_entry}
    entry = entries.get(field.type_name.rpartition(".")[2])
    if entry is not None:
        return f"map of {_scalar(entry.field[0])} to {_scalar(entry.field[1])}"
    repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
    return ("repeated " if repeated else "optional " if field.proto3_optional else "") + _scalar(field)


def _scalar(field: FieldDescriptorProto) -> str:
    if field.type_name:
        return f"`{field.type_name.rpartition('.')[2]}`"
    return f"`{FieldDescriptorProto.Type.Name(field.type).removeprefix('TYPE_').lower()}`"
