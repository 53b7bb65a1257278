"""Where a process of a secured mesh finds its certificate: a folder that `sage mesh secure` has filled."""

from __future__ import annotations

import json
import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from sage_common import paths
from sage_common.config import SectionSettings, load
from sage_common.errors import ConfigurationError

# Who a command of the mesh's owner is.
OPERATOR = "operator"
# Every certificate of a service has this name beside its own, for callers who want any service of the mesh.
ANY_SERVICE = "mesh"
# How often the certificates of each identity were revoked, in the folder of each.
GENERATIONS = "generations.json"
FOLDER_VARIABLE = "SAGE_TLS_FOLDER"
_INTERNAL_DOMAIN = "sage.internal"


def internal_name(identity: str) -> str:
    """Return the host name in the certificate of ``identity``, whatever address it is reached at."""
    return f"{identity}.{_INTERNAL_DOMAIN}"


def spiffe_id(identity: str, generation: int = 0) -> str:
    """Return the URI in the certificate of ``identity``, by which NATS knows it (SPIFFE X.509-SVID).

    Args:
        generation: how often its certificates were revoked.
    """
    return f"spiffe://sage/{identity}/{generation}" if generation else f"spiffe://sage/{identity}"


def identity_in(spiffe: str) -> tuple[str, int] | None:
    """Return the identity and the generation that a URI names; None for one of another form."""
    found = re.fullmatch(r"spiffe://sage/([a-z-]{1,40})(?:/([1-9]\d{0,8}))?", spiffe)
    return (found[1], int(found[2] or 0)) if found else None


class TlsSettings(SectionSettings):
    """TLS inside the mesh: to NATS, and between services over gRPC."""

    section: ClassVar[str] = "tls"

    folder: str = Field(
        "",
        description="folder with ca.pem, certificate.pem, key.pem and identity; NATS and gRPC then use mutual TLS",
    )
    metrics: bool = Field(
        True, description="whether metrics beyond this machine's loopback are for who shows a certificate of the mesh"
    )


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The certificate of one identity, its key, and the authority that it trusts.

    Attributes:
        folder: where they are.
        required: whether a peer without TLS is refused; where not, TLS is used with peers that ask for it.
    """

    folder: Path
    required: bool = True

    @property
    def authority(self) -> Path:
        """Certificate of the authority."""
        return self.folder / "ca.pem"

    @property
    def certificate(self) -> Path:
        """This identity's certificate."""
        return self.folder / "certificate.pem"

    @property
    def key(self) -> Path:
        """The certificate's private key."""
        return self.folder / "key.pem"

    @property
    def generations(self) -> Path:
        """How often the certificates of each identity were revoked, as JSON; missing where none was."""
        return self.folder / GENERATIONS

    @property
    def identity(self) -> str:
        """Whose it is: a service's name, ``operator`` or ``client``. Raises ConfigurationError."""
        return _read(self.folder / "identity").decode("ascii", "replace").strip()

    def pem(self) -> tuple[bytes, bytes, bytes]:
        """Return the authority, the certificate and its key as they are now. Raises ConfigurationError."""
        return _read(self.authority), _read(self.certificate), _read(self.key)

    def server_context(self) -> ssl.SSLContext:
        """Return what serves with this certificate whoever shows one of its authority. Raises ConfigurationError."""
        return self._verifying(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    def client_context(self) -> ssl.SSLContext:
        """Return what connects with this certificate and takes servers of its authority only.

        Raises:
            ConfigurationError: a file cannot be read, or is no certificate.
        """
        return self._verifying(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    def _verifying(self, context: ssl.SSLContext) -> ssl.SSLContext:
        self.pem()
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_verify_locations(self.authority)
            context.load_cert_chain(self.certificate, self.key)
        except (ssl.SSLError, OSError) as error:
            raise ConfigurationError(
                f"the certificate in {self.folder} cannot be used ({error}); `sage mesh secure --renew` makes another",
                code="bad_certificate",
            ) from None
        return context


def gateway_context(ca_file: str = "") -> ssl.SSLContext:
    """Return what connects to a gateway over HTTPS, whose certificate must be for the host that was asked.

    Args:
        ca_file: the only authority that is trusted; empty for those of the system, and that of this user's own mesh.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (ssl.SSLError, OSError) as error:
        raise ConfigurationError(f"cannot read the certificate authority in {ca_file} ({error})") from None
    own = paths.mesh_tls_dir() / "ca.pem"
    if not ca_file and own.is_file():
        context.load_verify_locations(own)
    return context


def configured_tls() -> TlsFiles | None:
    """Return the certificate that the settings name; None where they name none. Raises ConfigurationError."""
    # The environment comes before the file, which takes milliseconds to read; services call each other more often.
    folder = os.environ.get(FOLDER_VARIABLE) or load(TlsSettings).folder
    return TlsFiles(Path(folder)) if folder else None


def own_servers() -> frozenset[str]:
    """Return the URLs of the NATS servers of this user's mesh, where it is one of several machines."""
    try:
        return frozenset(mesh_servers_file().read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError):
        return frozenset()


def mesh_servers_file() -> Path:
    """Where they are written down, a line each."""
    return paths.mesh_tls_dir() / "servers"


def own_tls(*, required: bool = False) -> TlsFiles | None:
    """Return the certificate of this user's commands, where this user has secured a mesh, or joined one.

    Args:
        required: whether a peer without TLS is refused.
    """
    folder = paths.mesh_tls_dir() / OPERATOR
    return TlsFiles(folder, required=required) if (folder / "certificate.pem").is_file() else None


def read_generations(path: Path) -> dict[str, int]:
    """Return how often certificates were revoked, by identity; nothing where the file is missing.

    Raises:
        ConfigurationError: it cannot be read: then nobody knows whose certificates are revoked.
    """
    try:
        value = json.loads(path.read_bytes())
        return {str(name): int(generation) for name, generation in value.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"{path} does not say whose certificates are revoked ({error}); copy it from another folder of the mesh",
            code="generations_unreadable",
        ) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {path} ({error.strerror or error}); `sage mesh secure` makes the certificates of a mesh, and "
            "SAGE_TLS_FOLDER names the folder of one identity",
            code="no_certificate",
        ) from None
