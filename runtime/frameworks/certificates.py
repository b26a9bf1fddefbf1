"""A certificate and its key, made at run time for one rank and one attempt."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess

from .base import FrameworkMissing

_DAYS = 30


def can_make() -> bool:
    """Whether this machine has what it takes."""
    return shutil.which("openssl") is not None or importlib.util.find_spec("cryptography") is not None


def make(folder: str) -> tuple[str, str]:
    """Make a self-signed certificate in a folder that only its owner may enter; the paths of it and of its key.

    Raises
    ------
    FrameworkMissing
        If neither openssl nor the package cryptography can do it.
    """
    certificate, key = os.path.join(folder, "certificate.pem"), os.path.join(folder, "key.pem")
    openssl = shutil.which("openssl")
    if openssl is None:
        _with_cryptography(certificate, key)
        return certificate, key
    words = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-days", str(_DAYS), "-subj", f"/CN=flowc-{os.urandom(8).hex()}", "-keyout", key, "-out", certificate]
    done = subprocess.run(  # noqa: S603
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, umask=0o077
    )
    if done.returncode:
        raise FrameworkMissing(f"openssl could not make a certificate: {done.stderr.strip()}")
    return certificate, key


def _with_cryptography(certificate: str, key: str) -> None:
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"flowc-{os.urandom(8).hex()}")])
    now = datetime.datetime.now(datetime.timezone.utc)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    with open(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        form = serialization.PrivateFormat.PKCS8
        file.write(private.private_bytes(pem, form, serialization.NoEncryption()))
    with open(certificate, "wb") as file:
        file.write(signed.public_bytes(pem))
