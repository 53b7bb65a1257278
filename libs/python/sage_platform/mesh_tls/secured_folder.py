"""The folder that secures a mesh: an authority, a folder for each identity, and what nats-server is told of them.

    ca.pem, authority/key.pem      the authority; its key stays on the machine that secures the mesh
    NAME/                          for each identity: ca.pem, certificate.pem, key.pem, identity
    gateway/front.pem, …-key.pem   the certificate that clients of the HTTP API see
    generations.json               how often each identity's certificates were revoked; a copy is in each folder
    nats/authorization.conf        the identities and their rights, for nats-server's configuration
    nats/cluster-password          what the servers of a NATS cluster ask each other for, beside a certificate
    mesh.token                     in a mesh of several machines: what the services call each other with
    servers                        in such a mesh: URLs of its NATS servers

A machine that has joined a mesh has the same, but for the authority's key, and for identities that it does not run.
"""

from __future__ import annotations

import datetime
import json
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from sage_common.errors import ConfigurationError, NotFoundError
from sage_common.tls_settings import GENERATIONS, OPERATOR, internal_name, read_generations, spiffe_id
from sage_platform.mesh_tls.authority import Authority, Issued, expires_at, hosts_of, is_key_of, is_signed_by, uris_of
from sage_platform.mesh_tls.nats_configuration import AUTHORIZATION, NATS, authorization_file
from sage_platform.mesh_tls.nats_rights import IDENTITIES
from sage_platform.mesh_tls.private_file import write_private, write_public
from sage_platform.mesh_tls.wanted_certificate import FRONT, LOCAL_HOSTS, Wanted, wanted_front, wanted_of

AUTHORITY = "ca.pem"
KEPT_TOKEN = "mesh.token"
CLUSTER_PASSWORD = "cluster-password"
PASSWORD_BYTES = 32
GATEWAY = "gateway"
# What each identity's own name ends in.
INTERNAL_ENDING = internal_name("")
DAYS = 365
# From here on a certificate is made again, and `sage status` says that it ends.
RENEW_DAYS = 30
# What to do on a machine that has joined.
RENEW_JOINED = (
    "`sage mesh token --host ADDRESS --output FILE` on the first machine of the mesh makes new ones for this one, and "
    "`sage mesh renew FILE` here takes them up"
)

T = TypeVar("T")


@dataclass(frozen=True)
class CertificateState:
    """One certificate of the folder.

    Attributes:
        name: identity that it is of, or ``front``.
        file: where it is.
        expires_unix_seconds: until when it is valid.
        made: whether this run has made it.
    """

    name: str
    file: str
    expires_unix_seconds: float
    made: bool = False

    def days_left(self, now_unix_seconds: float) -> float:
        """Return how many days it is still valid; negative where it has expired."""
        return (self.expires_unix_seconds - now_unix_seconds) / 86_400


class SecuredFolder:
    """Makes and renews what is in the folder.

    Args:
        now: the time, UTC.
    """

    def __init__(self, path: Path, now: datetime.datetime) -> None:
        self._path = path
        self._now = now

    @property
    def authority_certificate(self) -> Path:
        """The authority's certificate, which everybody may read."""
        return self._path / "ca.pem"

    def identity(self, name: str) -> Path:
        """Return the folder of an identity, which is all that its process needs."""
        return self._path / name

    def secure(self, hosts: Sequence[str] = (), *, renew: bool = False, days: int = DAYS) -> list[CertificateState]:
        """Make what is missing, soon ends, or is another authority's; leave the rest as it is.

        Args:
            hosts: names and addresses beside this machine's loopback that clients reach the gateway by, and other NATS
                servers the one here. Those that the certificates have already stay in them.
            renew: make every certificate again.
            days: how long new ones are valid.

        Raises:
            ConfigurationError: a host is none, the authority cannot be read, or this machine has joined a mesh.
            OSError: the folder cannot be written.
        """
        authority = self._authority()
        generations = self.generations()
        states = []
        for name in (NATS, *IDENTITIES):
            folder = self.identity(name)
            wanted = wanted_of(name, self._with_kept(folder / "certificate.pem", hosts) if name == NATS else ())
            wanted = replace(wanted, generation=generations.get(name, 0))
            states.append(self._issue(authority, folder, "certificate.pem", "key.pem", wanted, renew, days))
            write_private(self.identity(name) / "identity", name.encode())
            write_public(self.identity(name) / "ca.pem", authority.pem.certificate)
            if generations:
                write_public(self.identity(name) / GENERATIONS, json.dumps(generations).encode())
        front = self.identity(GATEWAY) / "front.pem"
        wanted = wanted_front(self._with_kept(front, hosts))
        states.append(self._issue(authority, front.parent, "front.pem", "front-key.pem", wanted, renew, days))
        write_private(self.identity(NATS) / AUTHORIZATION, authorization_file(generations))
        return states

    def issued_for(self, hosts: Sequence[str], services: Sequence[str], days: int = DAYS) -> dict[str, str]:
        """Return the files of another machine of the mesh, by their path in its folder, with keys of their own.

        Args:
            hosts: names and addresses that the machine is reached at.
            services: identities that it runs, beside its owner's commands.

        Raises:
            ConfigurationError: a host is none, or the authority's key is not here.
            OSError: the folder cannot be written.
        """
        authority = self._own_authority()
        generations = self.generations()
        found = {AUTHORITY: authority.pem.certificate}
        for name in dict.fromkeys((OPERATOR, *services)):
            wanted = replace(wanted_of(name, hosts), generation=generations.get(name, 0))
            found |= self._files_of(authority, f"{name}/certificate.pem", f"{name}/key.pem", wanted, days)
            found |= {f"{name}/identity": name.encode(), f"{name}/ca.pem": authority.pem.certificate}
            if generations:
                found[f"{name}/{GENERATIONS}"] = json.dumps(generations).encode()
        if GATEWAY in services:
            wanted = wanted_front((*LOCAL_HOSTS, *hosts))
            found |= self._files_of(authority, f"{GATEWAY}/front.pem", f"{GATEWAY}/front-key.pem", wanted, days)
        if NATS in services:
            found[f"{NATS}/{CLUSTER_PASSWORD}"] = self.cluster_password().encode()
        return {name: content.decode("ascii") for name, content in found.items()}

    def cluster_password(self) -> str:
        """Return what the servers of a NATS cluster ask each other for; made where it is not there. Raises OSError."""
        return _made_once(self.identity(NATS) / CLUSTER_PASSWORD)

    def mesh_token(self) -> str:
        """Return the token of a mesh of several machines, made where it is not there. Raises OSError."""
        return _made_once(self._path / KEPT_TOKEN)

    def rotate_secrets(self) -> None:
        """Make another token of a mesh of several machines, and another password of its NATS cluster where it has one.

        Raises:
            ConfigurationError: the authority is not here, so no machine could be told.
            OSError: the folder cannot be written.
        """
        self._own_authority()
        for path in (self.identity(NATS) / CLUSTER_PASSWORD, self._path / KEPT_TOKEN):
            if path.is_file():
                write_private(path, secrets.token_urlsafe(PASSWORD_BYTES).encode())

    def _issued(self, authority: Authority, wanted: Wanted, days: int) -> Issued:
        return authority.issue(
            wanted.common_name,
            hosts=wanted.hosts,
            identity=wanted.identity,
            clients=wanted.clients,
            generation=wanted.generation,
            now=self._now,
            days=days,
        )

    def _files_of(self, authority: Authority, file: str, key_file: str, wanted: Wanted, days: int) -> dict[str, bytes]:
        issued = self._issued(authority, wanted, days)
        return {file: issued.certificate, key_file: issued.key}

    def _with_kept(self, certificate: Path, hosts: Sequence[str]) -> tuple[str, ...]:
        """Return this machine's names, those that a certificate has already, and ``hosts``."""
        kept = _or_nothing(certificate, hosts_of) or frozenset()
        given = sorted(host for host in kept - set(LOCAL_HOSTS) if not host.endswith(INTERNAL_ENDING))
        return tuple(dict.fromkeys((*LOCAL_HOSTS, *given, *hosts)))

    def revoke(self, name: str, *, days: int = DAYS) -> list[CertificateState]:
        """Revoke all certificates that an identity has had; make another. Raises NotFoundError, and as ``secure``."""
        if name not in IDENTITIES:
            raise NotFoundError(
                f"{name[:80]!r} is no identity whose certificate can be revoked; they are {', '.join(IDENTITIES)}. For "
                f"that of NATS or the authority remove {self._path}, secure the mesh again, and restart it",
                code="no_such_identity",
            )
        # Nothing is counted where no certificate can be made in place of what is revoked.
        self._own_authority()
        before = self.generations()
        generations = {**before, name: before.get(name, 0) + 1}
        write_public(self._path / GENERATIONS, json.dumps(generations).encode())
        return self.secure(days=days)

    def generations(self) -> dict[str, int]:
        """Return how often the certificates of each identity were revoked. Raises ConfigurationError."""
        return read_generations(self._path / GENERATIONS)

    def states(self) -> list[CertificateState]:
        """Return the certificates that are there; those that cannot be read are left out."""
        files = [(name, self.identity(name) / "certificate.pem") for name in (NATS, *IDENTITIES)]
        files.append((FRONT, self.identity(GATEWAY) / "front.pem"))
        found = ((name, file, _or_nothing(file, expires_at)) for name, file in files)
        return [CertificateState(name, str(file), ends.timestamp()) for name, file, ends in found if ends is not None]

    @property
    def joined(self) -> bool:
        """Whether this machine has joined another's mesh: it knows the mesh's token, and has no authority."""
        return (self._path / KEPT_TOKEN).is_file() and not self._authority_key.is_file()

    @property
    def _authority_key(self) -> Path:
        return self._path / "authority" / "key.pem"

    def _own_authority(self) -> Authority:
        """Return the authority that is here; make none. Raises ConfigurationError."""
        if not self._authority_key.is_file() and not self.joined and not self.authority_certificate.is_file():
            raise ConfigurationError(
                f"no authority is in {self._path}; `sage mesh secure` makes one", code="no_authority"
            )
        return self._authority()

    def _authority(self) -> Authority:
        certificate, key = self.authority_certificate, self._authority_key
        if self.joined:
            raise ConfigurationError(
                f"{self._authority_key} is missing, as on each machine that has joined a mesh: certificates are made "
                f"and revoked on the machine that was secured first. {RENEW_JOINED}",
                code="no_authority",
            )
        there = [file.is_file() for file in (certificate, key)]
        if all(there):
            return Authority(Issued(certificate.read_bytes(), key.read_bytes()))
        if any(there):
            missing = key if there[0] else certificate
            raise ConfigurationError(
                f"{missing} is missing, so no certificate can be made that this mesh trusts; put it back, or remove "
                f"{self._path} to make a new authority, and restart the mesh",
                code="authority_incomplete",
            )
        authority = Authority.make(self._now)
        write_private(key, authority.pem.key)
        write_public(certificate, authority.pem.certificate)
        return authority

    def _issue(
        self, authority: Authority, folder: Path, file: str, key_file: str, wanted: Wanted, renew: bool, days: int
    ) -> CertificateState:
        path = folder / file
        if renew or not self._still_good(path, folder / key_file, authority, wanted):
            issued = self._issued(authority, wanted, days)
            # A reader between the two sees a key that is not the certificate's, and reads again.
            write_private(folder / key_file, issued.key)
            write_public(path, issued.certificate)
            made = True
        else:
            made = False
        ends = expires_at(path.read_bytes())
        return CertificateState(wanted.name or wanted.identity, str(path), ends.timestamp(), made)

    def _still_good(self, path: Path, key: Path, authority: Authority, wanted: Wanted) -> bool:
        ends = _or_nothing(path, expires_at)
        if ends is None or ends - self._now < datetime.timedelta(days=RENEW_DAYS):
            return False
        certificate = path.read_bytes()
        # A run that was ended between writing the two leaves a key beside the certificate of the one before it.
        if not key.is_file() or not is_key_of(key.read_bytes(), certificate):
            return False
        if wanted.identity and spiffe_id(wanted.identity, wanted.generation) not in uris_of(certificate):
            return False
        return hosts_of(certificate) >= set(wanted.hosts) and is_signed_by(certificate, authority.pem.certificate)


def _made_once(path: Path) -> str:
    if not path.is_file():
        write_private(path, secrets.token_urlsafe(PASSWORD_BYTES).encode())
    return path.read_text(encoding="ascii").strip()


def remove_folder(path: Path) -> bool:
    """Remove the folder with all that is in it; return whether it was there. Raises OSError."""
    if not path.is_dir():
        return False
    shutil.rmtree(path)
    return True


def _or_nothing(path: Path, read: Callable[[bytes], T]) -> T | None:
    try:
        return read(path.read_bytes())
    except (OSError, ValueError):
        return None
