"""Ed25519 signatures of commands (RFC 8032): make keys, sign, and check for a policy.

What is signed is `domain.control_text.signed_text`, the canonical JSON of the command without its signature. Keys are
read as PEM or as the 32 bytes in base64.
"""

from __future__ import annotations

import binascii
import json
import os
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from msgspec import structs

from stream_recon.domain.control import RefusedCommand, read_command, signed_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from stream_recon.domain.control_commands import Command
    from stream_recon.domain.control_policy import Key, Verify

_PEM = "-----BEGIN"
_MODE = 0o600


class KeyUnusable(Exception):  # noqa: N818 - it says what is the matter with a key
    """A text is no key that can be used, and why; the text itself is not quoted."""


class SigningKey(NamedTuple):
    """A private key, and the id by which the policy knows its public half."""

    key_id: str
    private: Ed25519PrivateKey


def private_key(text: str) -> Ed25519PrivateKey:
    """The private key that a text holds.

    Raises:
        KeyUnusable: it holds none, or one of another kind, or one with a password.
    """
    if not text.lstrip().startswith(_PEM):
        return Ed25519PrivateKey.from_private_bytes(_raw(text))
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnusable(f"not a private key in PEM without password: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnusable("not a key for Ed25519; `stream-recon keys new` makes one")
    return key


def public_key(text: str) -> Ed25519PublicKey:
    """The public key that a text holds.

    Raises:
        KeyUnusable: it holds none, or one of another kind.
    """
    if not text.lstrip().startswith(_PEM):
        return Ed25519PublicKey.from_public_bytes(_raw(text))
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyUnusable(f"not a public key in PEM: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyUnusable("not a key for Ed25519; `stream-recon keys new` makes one")
    return key


def _raw(text: str) -> bytes:
    try:
        raw = b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise KeyUnusable(f"neither PEM nor base64: {error}") from error
    if len(raw) != 32:  # noqa: PLR2004 - of RFC 8032
        raise KeyUnusable(f"a key for Ed25519 has 32 bytes, this has {len(raw)}")
    return raw


def public_text(key: Ed25519PrivateKey) -> str:
    """The public half, as the configuration holds it: base64 of its 32 bytes."""
    return b64encode(key.public_key().public_bytes_raw()).decode()


def write_new(path: Path) -> Ed25519PrivateKey:
    """Make a private key and write it to a file that only its owner may read.

    Raises:
        FileExistsError: there is such a file; a key is never written over.
        OSError: it cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE), "wb") as file:
        file.write(pem)
    return key


def load_private_key(path: Path) -> SigningKey:
    """The private key in a file; its id is the file's name without its ending.

    Raises:
        KeyUnusable: it holds none; the file is named.
        OSError: it cannot be read.
    """
    try:
        return SigningKey(path.stem, private_key(path.read_text("utf-8")))
    except (KeyUnusable, UnicodeDecodeError) as error:
        raise KeyUnusable(f"{path}: {error}") from error


def sign_command(command: Command, key: SigningKey) -> Command:
    """The command with a signature; one that it had is replaced."""
    unsigned = structs.replace(command, key_id=key.key_id, signature=None)
    return structs.replace(unsigned, signature=b64encode(key.private.sign(signed_text(unsigned))).decode())


def sign(command: Mapping[str, Any], key: SigningKey) -> dict[str, Any]:
    """The same for a command as JSON will have it. Its numbers have to be sent with the digits that `json` gives them.

    Raises:
        ValueError: that is no command, and why.
    """
    unsigned = {name: value for name, value in command.items() if name not in {"key_id", "signature"}}
    read = read_command(json.dumps(unsigned).encode())
    if isinstance(read, RefusedCommand):
        raise ValueError(f"that is no command ({read.reason}): {read.detail}")  # noqa: TRY004 - of a right type
    signed = sign_command(read, key)
    return {**unsigned, "key_id": signed.key_id, "signature": signed.signature}


def verifier(keys: Mapping[str, Key]) -> Verify:
    """What checks signatures by the keys of a policy, for `screen`.

    Raises:
        KeyUnusable: one of them is no key; its id is named.
    """
    known: dict[str, Ed25519PublicKey] = {}
    for key_id, key in keys.items():
        try:
            known[key_id] = public_key(key.public)
        except KeyUnusable as error:
            raise KeyUnusable(f"security.keys.{key_id}: {error}") from error

    def verify(key_id: str, message: bytes, signature: bytes) -> bool:
        key = known.get(key_id)
        if key is None:
            return False
        try:
            key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    return verify
