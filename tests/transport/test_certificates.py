from __future__ import annotations

import datetime as dt
import hashlib
import ssl

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from platform_http.transport.certificates import Certificate, _element, _instant

UTC_TIME, GENERALIZED_TIME = 0x17, 0x18
YEAR = dt.timedelta(days=365)


def certificate(key: object, *, ends: dt.datetime, names: int = 1) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "api.example.com")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - YEAR)
        .not_valid_after(ends)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName(f"{index}.example.com") for index in range(names)]
            ),
            critical=False,
        )
    )
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest)


def key_digest(issued: x509.Certificate) -> bytes:
    spki = issued.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).digest()


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP256R1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["RSA", "EC", "Ed25519"],
)
@pytest.mark.parametrize("year", [2049, 2050, 9999])
def test_the_end_and_the_key_are_those_that_another_library_reads(key: object, year: int) -> None:
    ends = dt.datetime(year, 2, 3, 4, 5, 6, tzinfo=dt.UTC)
    issued = certificate(key, ends=ends)

    read = Certificate.of(issued.public_bytes(Encoding.DER))

    assert read == (ends.timestamp(), key_digest(issued))


def test_a_certificate_of_many_kilobytes_is_read_too() -> None:
    ends = dt.datetime(2040, 1, 1, tzinfo=dt.UTC)
    issued = certificate(ec.generate_private_key(ec.SECP256R1()), ends=ends, names=5000)
    der = issued.public_bytes(Encoding.DER)
    assert len(der) > 65536

    assert Certificate.of(der) == (ends.timestamp(), key_digest(issued))


def test_a_renewal_with_the_same_key_keeps_its_digest() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    first, second = (
        Certificate.of(
            certificate(key, ends=dt.datetime(year, 1, 1, tzinfo=dt.UTC)).public_bytes(Encoding.DER)
        )
        for year in (2040, 2041)
    )

    assert first.key_digest == second.key_digest
    assert first.expires < second.expires


def test_the_first_certificate_of_a_pem_file_is_its_owners() -> None:
    authority = trustme.CA()
    leaf = authority.issue_cert("api.example.com")
    leaf_pem = leaf.cert_chain_pems[0].bytes().decode()
    key, ca = leaf.private_key_pem.bytes().decode(), authority.cert_pem.bytes().decode()

    read = Certificate.first_of(f"# comment\n{key}{leaf_pem}{ca}")

    assert read == Certificate.of(ssl.PEM_cert_to_DER_cert(leaf_pem))


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "-----BEGIN CERTIFICATE-----",
        "-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ],
)
def test_what_is_no_certificate_is_a_value_error(pem: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the callers ask for no more than that
        Certificate.first_of(pem)


def test_a_certificate_that_was_cut_anywhere_is_a_value_error() -> None:
    pem = trustme.CA().issue_cert("api.example.com").cert_chain_pems[0].bytes().decode()
    der = ssl.PEM_cert_to_DER_cert(pem)

    for end in range(len(der)):
        with pytest.raises(ValueError):  # noqa: PT011 - the callers ask for no more than that
            Certificate.of(der[:end])


def test_a_field_of_another_kind_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="unexpected"):
        _element(b"\x02\x01\x00", 0, 0x30)


@pytest.mark.parametrize(
    ("tag", "content", "expected"),
    [
        (UTC_TIME, b"491231235959Z", dt.datetime(2049, 12, 31, 23, 59, 59, tzinfo=dt.UTC)),
        (UTC_TIME, b"500101000000Z", dt.datetime(1950, 1, 1, tzinfo=dt.UTC)),
        (GENERALIZED_TIME, b"20500101000000Z", dt.datetime(2050, 1, 1, tzinfo=dt.UTC)),
    ],
)
def test_times_are_those_of_rfc_5280(tag: int, content: bytes, expected: dt.datetime) -> None:
    assert _instant(tag, content) == expected.timestamp()


@pytest.mark.parametrize(
    ("tag", "content"),
    [
        (UTC_TIME, b"491231235959"),
        (UTC_TIME, b"491331235959Z"),
        (UTC_TIME, b"49\xff231235959Z"),
        (GENERALIZED_TIME, b"Z"),
        (0x02, b"20500101000000Z"),
    ],
)
def test_what_is_no_time_is_a_value_error(tag: int, content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the callers ask for no more than that
        _instant(tag, content)


def der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return bytes([tag, len(content)]) + content


def test_a_certificate_of_version_1_is_read_too() -> None:
    key = der(0x30, b"\x05\x00", b"the key")
    validity = der(0x30, der(UTC_TIME, b"400101000000Z"), der(UTC_TIME, b"410101000000Z"))
    fields = [der(0x02, b"\x01"), der(0x30), der(0x30), validity, der(0x30), key]

    read = Certificate.of(der(0x30, der(0x30, *fields)))

    ends = dt.datetime(2041, 1, 1, tzinfo=dt.UTC)
    assert read == (ends.timestamp(), hashlib.sha256(key).digest())
