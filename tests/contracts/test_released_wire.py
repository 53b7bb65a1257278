"""Messages of the last release pass through the present version and back, and the other way round.

The release's messages are made by its own descriptors, which ``proto/released`` keeps: nothing of the present stubs is
in them.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from sage_tools.released import last_release

ROOT = Path(__file__).parents[2]
# Deep enough for every message to hold each kind of field; messages may hold themselves.
DEPTH = 5


@functools.cache
def released() -> descriptor_pool.DescriptorPool:
    """The release's contracts, apart from those of the present stubs."""
    files = descriptor_pb2.FileDescriptorSet.FromString(last_release(ROOT).image.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)  # type: ignore[no-untyped-call]
    return pool


@functools.cache
def released_files() -> list[descriptor_pb2.FileDescriptorProto]:
    files = descriptor_pb2.FileDescriptorSet.FromString(last_release(ROOT).image.read_bytes()).file
    return [file for file in files if file.package.startswith("sage.")]


def message_names(file: descriptor_pb2.FileDescriptorProto) -> list[str]:
    return [f"{file.package}.{message.name}" for message in file.message_type]


def old_class(name: str) -> type[Message]:
    return message_factory.GetMessageClass(released().FindMessageTypeByName(name))


def new_class(name: str) -> type[Message]:
    (file,) = {file.name for file in released_files() for m in file.message_type if f"{file.package}.{m.name}" == name}
    module = importlib.import_module(file.removesuffix(".proto").replace("/", ".") + "_pb2")
    found: type[Message] = getattr(module, name.rpartition(".")[2])
    return found


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def value_of(field: FieldDescriptor, number: int) -> Any:
    """Return a value for a field that is no message, another for each number."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return field.enum_type.values[-1].number
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return True
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return b"\x00bytes%d" % number if field.type == FieldDescriptor.TYPE_BYTES else f"text {number}"
    if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return number + 0.5
    return number


def filled(message: Message, depth: int = DEPTH, choice: int = 0) -> Message:
    """Set every field, of one-ofs the one that ``choice`` says."""
    descriptor: Descriptor = message.DESCRIPTOR
    for field in descriptor.fields:
        one_of = field.containing_oneof
        if one_of is not None and one_of.fields[choice % len(one_of.fields)] is not field:
            continue
        if is_map(field):
            key, value = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
            held = getattr(message, field.name)
            if value.message_type is None:
                held[value_of(key, 1)] = value_of(value, 2)
            elif depth:
                filled(held[value_of(key, 1)], depth - 1, choice)
        elif field.message_type is not None:
            if depth and field.is_repeated:
                filled(getattr(message, field.name).add(), depth - 1, choice)
            elif depth:
                inner = getattr(message, field.name)
                inner.SetInParent()
                filled(inner, depth - 1, choice)
        elif field.is_repeated:
            getattr(message, field.name).extend([value_of(field, field.number), value_of(field, field.number + 1)])
        else:
            setattr(message, field.name, value_of(field, field.number))
    return message


@pytest.mark.parametrize("file", released_files(), ids=lambda file: file.name)
def test_what_the_release_says_is_understood_whole(file: descriptor_pb2.FileDescriptorProto) -> None:
    for name, choice in itertools.product(message_names(file), range(3)):
        sent = filled(old_class(name)(), choice=choice)
        received = new_class(name).FromString(sent.SerializeToString())
        assert not len(UnknownFieldSet(received)), name
        assert old_class(name).FromString(received.SerializeToString()) == sent, name


@pytest.mark.parametrize("file", released_files(), ids=lambda file: file.name)
def test_the_release_reads_what_it_knows_of_what_is_said_now(file: descriptor_pb2.FileDescriptorProto) -> None:
    for name in message_names(file):
        sent = filled(new_class(name)())
        received = old_class(name).FromString(sent.SerializeToString())
        for field in received.DESCRIPTOR.fields:
            if not field.is_repeated and field.message_type is None and field.containing_oneof is None:
                assert getattr(received, field.name) == getattr(sent, field.name), (name, field.name)
        # It passes on what it does not know: an edge's newer fields come back from an older scheduler.
        assert new_class(name).FromString(received.SerializeToString()) == sent, name


def test_every_call_of_the_release_is_still_there() -> None:
    for file in released_files():
        module = importlib.import_module(file.name.removesuffix(".proto").replace("/", ".") + "_pb2")
        for service in file.service:
            present = module.DESCRIPTOR.services_by_name[service.name]
            for method in service.method:
                found = present.methods_by_name[method.name]
                assert f".{found.input_type.full_name}" == method.input_type
                assert f".{found.output_type.full_name}" == method.output_type
                assert (found.client_streaming, found.server_streaming) == (
                    method.client_streaming,
                    method.server_streaming,
                )


def test_buf_finds_nothing_that_breaks() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sage_tools.released"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_change_that_breaks_is_found(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    file = tmp_path / "proto" / "sage" / "inference" / "v1" / "frame.proto"
    text = file.read_text(encoding="utf-8")
    assert "string engine_id = 3;" in text
    file.write_text(text.replace("string engine_id = 3;", "string engine_id = 99;"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "sage_tools.released"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert 'Previously present field "3" with name "engine_id" on message "Dispatch" was deleted' in done.stdout
