"""A join token: all that another machine needs to become one of a mesh, as one line of text.

It holds private keys made for that machine, and the mesh's own token: whoever has it is every service named in it, and
an operator.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath

from sage_common.errors import ConfigurationError, ConflictError
from sage_common.tls_settings import GENERATIONS, read_generations
from sage_platform.mesh_tls.nats_configuration import AUTHORIZATION, NATS, authorization_file
from sage_platform.mesh_tls.nats_rights import IDENTITIES
from sage_platform.mesh_tls.private_file import write_private
from sage_platform.mesh_tls.secured_folder import AUTHORITY, KEPT_TOKEN

PREFIX = "sage-join-1."
# Above any token, and below what a wrong file may make of the memory here.
MOST_CHARACTERS = 1_000_000
MOST_BYTES = 4_000_000
_FILES = frozenset(
    {"certificate.pem", "key.pem", "ca.pem", "identity", "front.pem", "front-key.pem", "cluster-password", GENERATIONS}
)


@dataclass(frozen=True)
class JoinToken:
    """What is in one.

    Attributes:
        files: of the folder of certificates, by the path in it.
        mesh_token: what the services call each other with.
        nats_servers: addresses of the machines that run a server of the NATS cluster, joined by commas; empty where one
            server is all.
    """

    files: Mapping[str, str]
    mesh_token: str
    nats_servers: str = ""

    def encode(self) -> str:
        """Write it as one line."""
        packed = zlib.compress(json.dumps(asdict(self)).encode(), 9)
        return PREFIX + base64.urlsafe_b64encode(packed).decode().rstrip("=")

    def unpack(self, folder: Path) -> None:
        """Make ``folder`` what the token says. What was revoked stays so, whatever the token knows of it.

        Raises:
            ConflictError: it belongs to another mesh, this machine has the authority that made the token, or the token
                was made before its certificates were revoked.
            ConfigurationError: nobody can tell what was revoked.
            OSError: it cannot be written.
        """
        if (folder / "authority" / "key.pem").is_file():
            raise ConflictError(
                f"{folder} holds the authority of a mesh of its own, which `sage mesh secure` has made here; "
                "`sage mesh secure --remove` removes it, and this machine can join another mesh",
                code="other_mesh",
            )
        ca = folder / AUTHORITY
        if ca.is_file() and ca.read_text(encoding="ascii", errors="replace") != self.files[AUTHORITY]:
            raise ConflictError(
                f"{folder} holds the certificates of another mesh, which this machine has joined; "
                "`sage mesh secure --remove` removes them",
                code="other_mesh",
            )
        generations = self._generations_with(folder)
        named = {PurePosixPath(name).parts[0] for name in self.files}
        there = [folder / name for name in (NATS, *IDENTITIES) if name in named or (folder / name).is_dir()]
        if generations:
            # First, and also for identities that this token is not of: at no time is less refused than before.
            for path in (folder, *there):
                write_private(path / GENERATIONS, json.dumps(generations).encode())
        for name, content in self.files.items():
            if PurePosixPath(name).name != GENERATIONS:
                write_private(folder / name, content.encode())
        write_private(folder / KEPT_TOKEN, self.mesh_token.encode())
        if folder / NATS in there:
            write_private(folder / NATS / AUTHORIZATION, authorization_file(generations))

    @property
    def generations(self) -> Mapping[str, int]:
        """How often the certificates of each identity had been revoked when the token was made."""
        found = (content for name, content in self.files.items() if PurePosixPath(name).name == GENERATIONS)
        return json.loads(next(found, "{}"))  # type: ignore[no-any-return]

    def _generations_with(self, folder: Path) -> dict[str, int]:
        """Return what the token and this machine know of revocations, taken together."""
        known: dict[str, int] = {}
        for path in (folder, *(folder / name for name in (NATS, *IDENTITIES))):
            for name, generation in read_generations(path / GENERATIONS).items():
                known[name] = max(generation, known.get(name, 0))
        revoked = [name for name in self.services if known.get(name, 0) > self.generations.get(name, 0)]
        if revoked:
            raise ConflictError(
                f"the join token was made before the certificates of {', '.join(revoked)} were revoked; "
                "`sage mesh token` on the machine that made it makes another",
                code="token_outdated",
            )
        return {**known, **{name: max(known.get(name, 0), count) for name, count in self.generations.items()}}

    @property
    def services(self) -> Sequence[str]:
        """The services that it has certificates for."""
        return [name for name in IDENTITIES if f"{name}/certificate.pem" in self.files]


def read_join_token(text: str) -> JoinToken:
    """Read a token.

    Raises:
        ConfigurationError: it is none, or not whole.
    """
    line = text.strip()
    if not line.startswith(PREFIX):
        raise ConfigurationError(
            f"this is no join token: one begins with {PREFIX!r}; `sage mesh token` on a machine of the mesh prints one",
            code="bad_join_token",
        )
    try:
        return _read(line.removeprefix(PREFIX))
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error, zlib.error) as error:
        raise ConfigurationError(
            f"the join token is not whole ({error}); it is one line of several thousand characters: "
            "`sage mesh token --output FILE` writes it to a file",
            code="bad_join_token",
        ) from None


def _read(encoded: str) -> JoinToken:
    if len(encoded) > MOST_CHARACTERS:
        raise ValueError(f"it has {len(encoded):,} characters")
    unpacking = zlib.decompressobj()
    content = unpacking.decompress(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)), MOST_BYTES)
    if not unpacking.eof:
        raise ValueError("its end is missing")
    value = json.loads(content)
    token = JoinToken(**{field.name: value[field.name] for field in fields(JoinToken)})
    if not isinstance(token.files, dict):
        raise ValueError("its files are none")
    if not all(isinstance(text, str) for text in (token.mesh_token, token.nats_servers, *token.files.values())):
        raise ValueError("its parts are not text")
    unknown = sorted(name for name in token.files if name != AUTHORITY and not _is_known(PurePosixPath(name)))
    if unknown or AUTHORITY not in token.files:
        raise ValueError(f"it names the file {unknown[0]!r}" if unknown else f"it has no {AUTHORITY}")
    counts = token.generations
    if not isinstance(counts, dict) or not all(type(count) is int for count in counts.values()):
        raise ValueError("it does not say whose certificates are revoked")
    return token


def _is_known(path: PurePosixPath) -> bool:
    """Whether a file is one of an identity's: no token writes elsewhere."""
    return len(path.parts) == 2 and path.parts[0] in (NATS, *IDENTITIES) and path.parts[1] in _FILES
