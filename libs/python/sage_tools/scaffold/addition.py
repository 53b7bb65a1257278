"""What is added to the repository: new files, lines in others, what is generated from them; all of it or nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files as resources
from pathlib import Path
from string import Template

from sage_common.errors import ConflictError, UnprocessableError
from sage_tools.scaffold.text_edits import Edit

COMMAND_SECONDS = 120


@dataclass(frozen=True)
class Addition:
    """A change of the repository.

    Attributes:
        files: new files by path from the root, with the name of the template of each.
        texts: further new files, as they are.
        words: what the templates' ``$words`` stand for.
        edits: of files that exist, by path, in their order.
        generated: files and folders that ``commands`` write.
        commands: arguments of Python, run once the rest is there; the first that fails takes everything back.
        next_steps: what is left to do, for people.
    """

    files: Mapping[str, str]
    words: Mapping[str, str]
    edits: Mapping[str, Sequence[Edit]]
    next_steps: Sequence[str]
    texts: Mapping[str, str] = field(default_factory=dict)
    generated: Sequence[str] = ()
    commands: Sequence[Sequence[str]] = ()

    def apply(self, root: Path) -> None:
        """Make the change below ``root``.

        Raises:
            ConflictError: a file that is to be new exists.
            UnprocessableError: a file to edit does not look as expected, or a command failed. Nothing is changed then.
        """
        if there := [path for path in (*self.files, *self.texts) if (root / path).exists()]:
            raise ConflictError(f"{there[0]} exists; choose another name, or remove it")
        made = {**{path: self._rendered(template) for path, template in self.files.items()}, **self.texts}
        edited = {path: _edited(root / path, path, edits) for path, edits in self.edits.items()}
        with _taken_back_on_error(root, [*made, *edited, *self.generated]):
            for path, text in {**made, **edited}.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text, encoding="utf-8")
            python = [path for path in (*made, *edited) if path.endswith(".py")]
            # Names decide where imports stand and whether a line is too long.
            run_python(root, ["-m", "ruff", "check", "--quiet", "--no-cache", "--fix", "--select", "I", *python])
            run_python(root, ["-m", "ruff", "format", "--quiet", "--no-cache", *(p for p in made if p in python)])
            for command in self.commands:
                run_python(root, command)

    def _rendered(self, template: str) -> str:
        text = resources("sage_tools.scaffold").joinpath("templates", template).read_text(encoding="utf-8")
        return Template(text).substitute(self.words)


def source_roots(root: Path) -> list[Path]:
    """Return the folders of the repository that packages lie in."""
    return [root / "libs/python", *sorted(path for path in (root / "services").iterdir() if path.is_dir())]


def run_python(root: Path, arguments: Sequence[str]) -> str:
    """Run Python in the repository, with its packages before installed ones; return what it printed.

    Raises:
        UnprocessableError: it failed, and the message ends with its last words; or it took too long.
    """
    path = os.pathsep.join(map(str, source_roots(root)))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        command = f"`python {' '.join(arguments[:4])}`"
        raise UnprocessableError(f"{command} took more than {COMMAND_SECONDS} s; run it again on its own") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise UnprocessableError(f"`python {' '.join(arguments[:4])}` failed: {' / '.join(said) or done.returncode}")
    return done.stdout


def _edited(file: Path, path: str, edits: Sequence[Edit]) -> str:
    try:
        text = file.read_text(encoding="utf-8")
        for edit in edits:
            text = edit(text)
    except (FileNotFoundError, UnprocessableError) as error:
        why = "it is not there" if isinstance(error, FileNotFoundError) else error.message
        raise UnprocessableError(f"{path} cannot be changed: {why}; nothing was written") from None
    return text


@contextmanager
def _taken_back_on_error(root: Path, paths: Sequence[str]) -> Iterator[None]:
    """Give files and folders the content that they have now, where what follows fails."""
    texts = {path: (root / path).read_bytes() for path in paths if (root / path).is_file()}
    folders = {parent for path in paths for parent in (root / path).parents if root in parent.parents}
    new = sorted((folder for folder in folders if not folder.exists()), key=lambda folder: len(folder.parts))
    absent = [path for path in paths if not (root / path).exists()]
    try:
        yield
    except BaseException:
        for path, text in texts.items():
            (root / path).write_bytes(text)
        for path in absent:
            if (root / path).is_dir():
                shutil.rmtree(root / path)
            else:
                (root / path).unlink(missing_ok=True)
        for folder in new:
            shutil.rmtree(folder, ignore_errors=True)
        raise
