"""The certificate that the HTTP API is served with; a renewed one is taken up with the next connection."""

from __future__ import annotations

import ssl
from pathlib import Path

from sage_common.errors import ConfigurationError
from sage_common.logging import get_logger
from sage_gateway.config import GatewaySettings

log = get_logger(__name__)

MESH_FRONT = ("front.pem", "front-key.pem")


class FrontCertificate:
    """A certificate and its key, in PEM files.

    Args:
        certificate: the server's certificate, followed by those between it and its authority.

    Raises:
        ConfigurationError: the files cannot be read, or do not fit each other.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        try:
            self._stamp = self._look()
            self._current = self._load()
        except (ssl.SSLError, OSError) as error:
            raise ConfigurationError(
                f"the certificate in {certificate} and its key in {key} cannot be used ({error}); give "
                "SAGE_GATEWAY_TLS_CERTIFICATE_FILE and SAGE_GATEWAY_TLS_KEY_FILE a pair of PEM files",
                code="bad_certificate",
            ) from None

    def context(self) -> ssl.SSLContext:
        """Return what to serve with."""
        return self._current

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self._certificate, self._key)
        # Called in every handshake, with or without a name, before the certificate is chosen.
        context.sni_callback = self._on_handshake
        return context

    def _on_handshake(self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        try:
            stamp = self._look()
            if stamp != self._stamp:
                self._current = self._load()
                self._stamp = stamp
                log.info("certificate read again", file=str(self._certificate))
        except (ssl.SSLError, OSError) as error:
            # Between the writing of the key and the certificate they do not fit; the next connection looks again.
            log.warning("certificate not read again", file=str(self._certificate), error=str(error))
        connection.context = self._current

    def _look(self) -> tuple[int, int]:
        return self._certificate.stat().st_mtime_ns, self._key.stat().st_mtime_ns


def front_certificate(settings: GatewaySettings, mesh_folder: Path | None) -> FrontCertificate | None:
    """Return the certificate that the settings name; None for an API in the clear.

    Args:
        mesh_folder: folder of the gateway's own certificate in a secured mesh, which has one for the API beside it.

    Raises:
        ConfigurationError: only one of the two files is named, or there is no certificate.
    """
    certificate, key = settings.tls_certificate_file, settings.tls_key_file
    if bool(certificate) != bool(key):
        missing = "SAGE_GATEWAY_TLS_KEY_FILE" if certificate else "SAGE_GATEWAY_TLS_CERTIFICATE_FILE"
        raise ConfigurationError(f"{missing} is not set; HTTPS needs a certificate and its key", code="bad_certificate")
    if certificate:
        return FrontCertificate(Path(certificate), Path(key))
    if not settings.https:
        return None
    if mesh_folder is None:
        raise ConfigurationError(
            "SAGE_GATEWAY_HTTPS is set and there is no certificate; run `sage mesh secure`, or name one with "
            "SAGE_GATEWAY_TLS_CERTIFICATE_FILE and SAGE_GATEWAY_TLS_KEY_FILE",
            code="no_certificate",
        )
    return FrontCertificate(*(mesh_folder / name for name in MESH_FRONT))
