"""Signatures of commands, by the vectors of RFC 8032 and of our own page."""

from __future__ import annotations

import json
import re
import stat
from base64 import b64decode, b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from stream_recon.domain.config import Security
from stream_recon.domain.control import (
    Key,
    Policy,
    RefusedCommand,
    canonical_json,
    read_command,
    screen,
    signed_text,
)
from stream_recon.shell.signing import (
    KeyUnusable,
    SigningKey,
    load_private_key,
    private_key,
    public_key,
    public_text,
    sign,
    sign_command,
    verifier,
    write_new,
)
from tests.commands import run
from tests.control_examples import NOW_US, OWN, example, written

if TYPE_CHECKING:
    from stream_recon.domain.control import Command

PAGE = Path(__file__).parents[1] / "docs" / "control.md"

# RFC 8032, 7.1: secret key, public key, message, signature.
VECTORS = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]
SEED = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
ALICE = SigningKey("alice-1", private_key(SEED))
POLICY = Policy(
    require_signatures=True,
    keys={"alice-1": Key(issuer="renee", roles=("admin",), public=public_text(ALICE.private))},
)
VERIFY = verifier(POLICY.keys)


def base64_of(digits: str) -> str:
    return b64encode(bytes.fromhex(digits)).decode()


def read(value: bytes) -> Command:
    command = read_command(value)
    assert not isinstance(command, RefusedCommand), command
    return command


@pytest.mark.parametrize(("secret", "public", "message", "signature"), VECTORS)
def test_signatures_are_those_of_the_standard(secret: str, public: str, message: str, signature: str) -> None:
    key = private_key(base64_of(secret))
    assert public_text(key) == base64_of(public)
    assert key.sign(bytes.fromhex(message)).hex() == signature
    verify = verifier({"k": Key(issuer="", roles=(), public=base64_of(public))})
    assert verify("k", bytes.fromhex(message), bytes.fromhex(signature))
    assert not verify("k", bytes.fromhex(message) + b"x", bytes.fromhex(signature))
    assert not verify("other", bytes.fromhex(message), bytes.fromhex(signature))
    assert not verify("k", bytes.fromhex(message), b"")


def test_the_example_of_the_page_is_signed_as_it_says() -> None:
    page = PAGE.read_text("utf-8")
    told = re.findall(r"```json\n(.*?)```", page, re.DOTALL)[0].encode()
    command = read(told)
    assert SEED in page
    assert POLICY.keys["alice-1"].public in page
    assert sign_command(command, ALICE) == command
    assert VERIFY("alice-1", signed_text(command), b64decode(command.signature or ""))


@pytest.mark.parametrize("name", OWN)
def test_a_signed_command_is_accepted_however_it_is_written(name: str) -> None:
    signed = sign(example(name), ALICE)
    spaced = json.dumps(dict(reversed(signed.items())), indent=2, ensure_ascii=False).encode()
    for value in (written(signed), spaced, canonical_json(read(written(signed)))):
        command = read(value)
        assert screen(command, NOW_US, (), POLICY, VERIFY) is command


@pytest.mark.parametrize("name", OWN)
@given(data=st.data())
def test_whatever_is_changed_after_signing_is_noticed(name: str, data: st.DataObject) -> None:
    signed = sign(example(name), ALICE)
    field = data.draw(st.sampled_from(sorted(signed.keys() - {"signature", "key_id", "command"})))
    changed = {**signed, field: data.draw(_OTHER[type(signed[field])])}
    command = read_command(written(changed))
    if isinstance(command, RefusedCommand) or command == read(written(signed)):
        return
    answer = screen(command, NOW_US, (), POLICY, VERIFY)
    assert isinstance(answer, RefusedCommand)
    assert answer.reason == "bad_signature"


_OTHER: dict[type, st.SearchStrategy[Any]] = {
    str: st.text(max_size=6),
    int: st.integers(NOW_US - 9, NOW_US + 9) | st.integers(0, 9),
    list: st.lists(st.sampled_from(["binance|desk-1", "b|a|c", "b|x"]), unique=True),
    dict: st.sampled_from([{"batch_size": 5}, {"max_discrepancy_threshold": 0.02}, {"reconciliation.batch_size": 1}]),
}


def test_a_command_signed_for_one_name_is_none_for_another() -> None:
    signed = sign(example("acknowledge"), ALICE)
    answer = screen(read(written({**signed, "command": "resolve"})), NOW_US, (), POLICY, VERIFY)
    assert isinstance(answer, RefusedCommand)
    assert answer.reason == "bad_signature"


def test_a_command_by_another_key_of_that_id_is_refused() -> None:
    other = SigningKey("alice-1", private_key(base64_of(VECTORS[1][0])))
    answer = screen(sign_command(read(written(example("undo"))), other), NOW_US, (), POLICY, VERIFY)
    assert isinstance(answer, RefusedCommand)
    assert answer.reason == "bad_signature"


def test_what_is_no_command_is_not_signed() -> None:
    with pytest.raises(ValueError, match=r"that is no command \(unknown_field\): cancel has no field 'run'"):
        sign(example("cancel", run=1), ALICE)


def test_a_key_is_read_in_each_form_and_told_where_it_is_none(tmp_path: Path) -> None:
    key = write_new(tmp_path / "bob.pem")
    assert stat.S_IMODE((tmp_path / "bob.pem").stat().st_mode) == 0o600
    assert load_private_key(tmp_path / "bob.pem").key_id == "bob"
    assert public_text(load_private_key(tmp_path / "bob.pem").private) == public_text(key)
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    assert public_key(pem) == public_key(public_text(key))
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "bob.pem")

    elliptic = generate_private_key(SECP256R1())
    wrong = elliptic.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    wrong_public = elliptic.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")).decode()
    for text, says in (
        (wrong, "not a key for Ed25519"),
        (locked, "without password"),
        (pem, "not a private key"),
        ("AAAA", "has 32 bytes, this has 3"),
        ("Ä", "neither PEM nor base64"),
        ("", "this has 0"),
    ):
        (tmp_path / "key").write_text(text, "utf-8")
        with pytest.raises(KeyUnusable, match=f"{tmp_path}/key: .*{says}"):
            load_private_key(tmp_path / "key")
    for text, says in ((wrong_public, "not a key for Ed25519"), (wrong, "not a public key"), ("x", "neither PEM nor")):
        with pytest.raises(KeyUnusable, match=rf"security\.keys\.k: .*{says}"):
            verifier({"k": Key(issuer="", roles=(), public=text)})


def test_the_command_makes_a_key_for_the_configuration_and_signs_with_it(tmp_path: Path) -> None:
    made = run("keys", "new", "alice.2", "--issuer", 'René "e', "--role", "operator", "--role", "admin", "--folder",
               tmp_path)  # fmt: skip
    assert made.code == 0, made.err
    assert stat.S_IMODE((tmp_path / "alice.2.pem").stat().st_mode) == 0o600
    assert f"{tmp_path}/alice.2.pem" in made.err
    told = Security.model_validate(yaml.safe_load(made.out)["security"]).keys["alice.2"]
    assert (told.issuer, told.roles) == ('René "e', ("operator", "admin"))
    assert told.public_key == public_text(load_private_key(tmp_path / "alice.2.pem").private)
    keys = {"alice.2": Key(issuer=told.issuer, roles=told.roles, public=told.public_key)}
    asked = written(example("undo", issued_by='René "e')).decode()
    signed = run("keys", "sign", "--key", tmp_path / "alice.2.pem", stdin=asked)
    assert signed.code == 0, signed.err
    command = read(signed.out.strip().encode())
    policy = Policy(require_signatures=True, keys=keys)
    assert screen(command, NOW_US, (), policy, verifier(keys)) is command

    own = tmp_path / "own.yaml"
    own.write_text("security: {roles: {desk: [acknowledge]}}")
    desk = run("keys", "new", "desk-1", "--role", "desk", "--config", own, "--folder", tmp_path)
    assert (desk.code, yaml.safe_load(desk.out)["security"]["keys"]["desk-1"]["roles"]) == (0, ["desk"])

    again = run("keys", "new", "alice.2", "--folder", tmp_path)
    assert (again.code, again.out) == (2, "")
    assert "is there already, and a key is never written over" in again.err


def test_the_command_says_what_is_the_matter(tmp_path: Path) -> None:
    made = run("keys", "new", "bob", "--folder", tmp_path, "-o", "json")
    assert made.json["private_file"] == str(tmp_path / "bob.pem")
    assert (made.json["key_id"], made.json["issuer"], made.json["roles"]) == ("bob", "bob", ["operator"])
    for words, stdin, says in (
        (("new", "../bob", "--folder", tmp_path), "", "cannot be the name of a key"),
        (
            ("new", "x", "--role", "emperor", "--folder", tmp_path),
            "",
            "no role 'emperor'; there are viewer, operator, con",
        ),
        (("new", "x", "--folder", tmp_path / "none"), "", "give a --folder that can be written to"),
        (("sign", "--key", tmp_path / "bob.pem"), "{}", "that is no command (incomplete): command is missing"),
        (("sign", "--key", tmp_path / "none.pem"), "{}", "none.pem: No such file"),
        (("sign", "--key", PAGE), "{}", "neither PEM nor base64"),
    ):
        done = run("keys", *words, stdin=stdin)
        assert (done.code, done.out) == (2, "")
        assert says in done.err
