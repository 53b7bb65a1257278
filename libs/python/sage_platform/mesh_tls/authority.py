"""The mesh's own certificate authority: a key on file that signs the certificates of the mesh's identities.

Certificates follow RFC 5280; the identity of a workload is a URI, ``spiffe://sage/NAME`` (SPIFFE X.509-SVID), by which
NATS knows its user.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sage_common.errors import ConfigurationError
from sage_common.tls_settings import spiffe_id

AUTHORITY_DAYS = 3650
# Clocks of a mesh's machines may differ by this much; RFC 5280 has no tolerance of its own.
BACKDATED = datetime.timedelta(minutes=5)
Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, both PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """Signs certificates.

    Args:
        issued: its own certificate and key.

    Raises:
        ConfigurationError: they cannot be read.
    """

    def __init__(self, issued: Issued) -> None:
        self.pem = issued
        try:
            self._certificate = x509.load_pem_x509_certificate(issued.certificate)
            key = serialization.load_pem_private_key(issued.key, None)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"the mesh's certificate authority cannot be read: {error}") from None
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key

    @classmethod
    def make(cls, now: datetime.datetime) -> Authority:
        """Make a new one, valid for ten years from ``now`` (UTC)."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("SAGE mesh authority")
        builder = _builder(name, name, key, now, AUTHORITY_DAYS).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        usage = _usage(signs_certificates=True)
        certificate = builder.add_extension(usage, critical=True).sign(key, hashes.SHA256())
        return cls(_pem(certificate, key))

    def issue(
        self,
        common_name: str,
        *,
        hosts: Sequence[str],
        identity: str,
        clients: bool,
        now: datetime.datetime,
        days: int,
        generation: int = 0,
    ) -> Issued:
        """Sign a certificate with a new key.

        Args:
            hosts: names and addresses that a server with it is reached at.
            identity: whose it is on NATS; empty for nobody's.
            clients: whether it may be shown by a client, too.
            days: how long it is valid.
            generation: how often certificates of the identity were revoked before.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [_general_name(host) for host in hosts]
        if identity:
            names.append(x509.UniformResourceIdentifier(spiffe_id(identity, generation)))
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, *([ExtendedKeyUsageOID.CLIENT_AUTH] if clients else [])]
        public = self._certificate.public_key()
        builder = (
            _builder(_name(common_name), self._certificate.subject, key, now, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)  # type: ignore[arg-type]
        )
        return _pem(builder.sign(self._key, hashes.SHA256()), key)


def expires_at(certificate: bytes) -> datetime.datetime:
    """Return until when a certificate is valid, UTC. Raises ValueError: it is none."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc


def hosts_of(certificate: bytes) -> frozenset[str]:
    """Return the names and addresses that a certificate is for. Raises ValueError: it is none."""
    names = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    dns = names.value.get_values_for_type(x509.DNSName)
    return frozenset([*dns, *(str(address) for address in names.value.get_values_for_type(x509.IPAddress))])


def uris_of(certificate: bytes) -> frozenset[str]:
    """Return the URIs that a certificate names. Raises ValueError: it is none."""
    names = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return frozenset(names.value.get_values_for_type(x509.UniformResourceIdentifier))


def is_signed_by(certificate: bytes, authority: bytes) -> bool:
    """Whether ``authority`` has signed ``certificate``. Raises ValueError: one of them is none."""
    issuer = x509.load_pem_x509_certificate(authority)
    try:
        x509.load_pem_x509_certificate(certificate).verify_directly_issued_by(issuer)
    except Exception:
        # An InvalidSignature, or a ValueError for another issuer's name.
        return False
    return True


def is_key_of(key: bytes, certificate: bytes) -> bool:
    """Whether ``key``, which need not be one, is the private key of ``certificate``. Raises ValueError: it is none."""
    public = x509.load_pem_x509_certificate(certificate).public_key()
    try:
        return serialization.load_pem_private_key(key, None).public_key() == public
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise ConfigurationError(f"{host!r} is no host name or address ({error}); give --host NAME") from None


def _pem(certificate: x509.Certificate, key: Key) -> Issued:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Issued(certificate.public_bytes(serialization.Encoding.PEM), private)
