"""Commands: what is one, what is none and why, and which may take effect."""

from __future__ import annotations

import json
import re
import subprocess
from base64 import b64encode
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from stream_recon.domain.commands import Action, AlertCommand, Refused
from stream_recon.domain.config import ReconciliationConfig
from stream_recon.domain.control import (
    Acknowledge,
    Cancel,
    Command,
    Dismiss,
    Key,
    Policy,
    Reconcile,
    RefusedCommand,
    SetConfig,
    Undo,
    alert_command,
    canonical_json,
    expires_us,
    name_of,
    read_command,
    screen,
    signed_text,
)
from stream_recon.domain.control_commands import COMMANDS, AboutAlert, CommandName, RefusalReason
from stream_recon.domain.control_policy import DAY_US, ROLES
from tests.control_examples import ALERT, COMMON, NOW_US, OWN, SECOND_US, SIGNED, example, written

PAGE = Path(__file__).parents[1] / "docs" / "control.md"
DEEP = b'{"values":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def read(name: str, **changes: Any) -> Command:
    command = read_command(written(example(name, **changes)), b"c-1")
    assert not isinstance(command, RefusedCommand), command
    return command


def refused(value: bytes | None, key: bytes | None = None) -> RefusedCommand:
    answer = read_command(value, key)
    assert isinstance(answer, RefusedCommand), answer
    return answer


# -- reading ----------------------------------------------------------------------------------------------------------


def test_every_command_has_an_example_and_a_name() -> None:
    assert OWN.keys() == COMMANDS.keys() == set(get_args(CommandName))
    assert set(get_args(Action)) == {name for name, kind in COMMANDS.items() if issubclass(kind, AboutAlert)}


@pytest.mark.parametrize("name", OWN)
def test_what_is_written_is_read_again(name: str) -> None:
    command = read(name)
    assert name_of(command) == name
    assert read_command(canonical_json(command), command.command_id.encode()) == command
    signed = read(name, **SIGNED)
    assert read_command(canonical_json(signed)) == signed
    assert structs.replace(signed, key_id=None, signature=None) == command


def test_numbers_keep_the_digits_they_were_written_with() -> None:
    command = read_command(
        b'{"command":"reconcile","command_id":"c","issued_by":"r","issued_us":1764000000000000,'
        b'"params":{"max_discrepancy_threshold":0.0100,"batch_size":5}}'
    )
    assert isinstance(command, Reconcile)
    assert command.params is not None
    assert str(command.params["max_discrepancy_threshold"]) == "0.0100"
    assert command.params["batch_size"] == 5
    assert ReconciliationConfig.model_validate(command.params).max_discrepancy_threshold == Decimal("0.01")


@pytest.mark.parametrize("name", OWN)
def test_what_may_be_left_out_may_be_null(name: str) -> None:
    without = {**COMMON, **OWN[name]}
    optional = [field for field in structs.fields(COMMANDS[name]) if not field.required]
    for field in optional:
        without.pop(field.name, None)
    nulls = {field.name: None for field in optional}
    command = read_command(written({"command": name, **without}))
    assert not isinstance(command, RefusedCommand)
    assert read_command(written({"command": name, **without, **nulls})) == command


@pytest.mark.parametrize("name", OWN)
def test_what_is_needed_is_missed(name: str) -> None:
    for field in structs.fields(COMMANDS[name]):
        if not field.required:
            continue
        for record in (example(name, **{field.name: None}), {**example(name)}):
            if record[field.name] is not None:
                del record[field.name]
            answer = refused(written(record))
            assert answer.reason == "incomplete"
            assert answer.detail.startswith(f"{field.name} is missing; {name} needs ")


@pytest.mark.parametrize(
    ("value", "reason", "says"),
    [
        (None, "malformed", "the value is null"),
        (b"", "malformed", "the value is empty"),
        (b"reconcile", "malformed", "at character 0"),
        (b"null", "malformed", "one JSON object"),
        (b"[]", "malformed", "one JSON object"),
        (b'"reconcile"', "malformed", "one JSON object"),
        (b'{"command":"reconcile"', "malformed", "at character"),
        (b'{"command":"cancel"} {}', "malformed", "at character"),
        (b'{"command":"cancel","command":"undo"}', "malformed", "'command' occurs more than once"),
        (b'{"command":"set_config","values":{"a":NaN}}', "malformed", "NaN is not JSON"),
        (b'{"command":"set_config","values":{"a":-Infinity}}', "malformed", "-Infinity is not JSON"),
        (b'{"command":"\\ud800"}', "malformed", "surrogate"),
        (b'{"command":"\xff"}', "malformed", "not UTF-8"),
        (b'\xef\xbb\xbf{"command":"cancel"}', "malformed", "byte order mark"),
        (b"\x00\x00\x00\x00\x07abc", "malformed", "magic byte"),
        (DEEP[:60_000], "malformed", "nested more than 32 deep"),
        (DEEP, "oversized", "at most 65536"),
        (b" " * 65_537, "oversized", "65537 bytes"),
        (b"{}", "incomplete", "command is missing; it is one of reconcile, "),
        (b'{"command":"reconsile"}', "unknown_command", "did you mean reconcile?"),
        (b'{"command":"fly"}', "unknown_command", "there are reconcile, cancel"),
        (b'{"command":7}', "unknown_command", "there is no command '7'"),
        (b'{"command":["cancel"]}', "unknown_command", "there is no command ['cancel']"),
        (b'{"command":"' + b"cancel" * 5000 + b'"}', "unknown_command", "there are reconcile"),
    ],
)
def test_what_is_no_command_is_refused_and_says_why(value: bytes | None, reason: str, says: str) -> None:
    answer = refused(value, b"the-key")
    assert (answer.reason, answer.command_id) == (reason, "the-key")
    assert says in answer.detail
    assert ("docs/control.md" in answer.detail) == (reason == "malformed")


@pytest.mark.parametrize(
    ("name", "changes", "reason", "says"),
    [
        ("cancel", {"run": "x"}, "unknown_field", "cancel has no field 'run'; did you mean run_id?"),
        ("cancel", {"accounts": None}, "unknown_field", "cancel has no field 'accounts'"),
        ("reconcile", {"acounts": ["b|a"]}, "unknown_field", "did you mean accounts?"),
        ("reconcile", {"params": {"batchsize": 5}}, "unknown_field", "params has no field 'batchsize'; did you mean"),
        ("reconcile", {"params": {"x": 5}}, "unknown_field", "there are reconciliation_type, "),
        ("reconcile", {"accounts": []}, "bad_value", "accounts is empty"),
        ("reconcile", {"accounts": "b|a"}, "bad_value", "accounts must be a list of accounts"),
        ("reconcile", {"accounts": {"b|a": 1}}, "bad_value", "accounts must be a list of accounts"),
        ("reconcile", {"accounts": ["b|a", "desk"]}, "bad_value", "accounts[1] must be venue|account_id"),
        ("reconcile", {"accounts": ["b|a", None]}, "bad_value", "accounts[1] must be a string"),
        ("reconcile", {"accounts": ["|a"]}, "bad_value", "accounts[0] must have 1 to 128 bytes"),
        ("reconcile", {"accounts": ["b|"]}, "bad_value", "accounts[0] must have 1 to 128 bytes"),
        ("reconcile", {"accounts": ["b|a", "b|c", "b|a"]}, "bad_value", "accounts names 'b|a' more than once"),
        ("reconcile", {"type": ""}, "bad_value", "type must have 1 to 128 bytes"),
        ("reconcile", {"type": 5}, "bad_value", "type must be a string, not '5'"),
        ("reconcile", {"cut_us": NOW_US + 1}, "bad_value", "cut_us is after issued_us"),
        ("reconcile", {"cut_us": 0}, "bad_value", "cut_us must be microseconds since 1970"),
        ("reconcile", {"params": {}}, "bad_value", "params is empty"),
        ("reconcile", {"params": []}, "bad_value", "params must be an object"),
        ("reconcile", {"params": {"batch_size": 0}}, "bad_value",
         "params.batch_size: must be a whole number from 1 to 100000, but is 0"),
        ("reconcile", {"params": {"batch_size": 100_001}}, "bad_value", "from 1 to 100000, but is 100001"),
        ("reconcile", {"params": {"batch_size": "5"}}, "bad_value", "batch_size must be a whole number, not '5'"),
        ("reconcile", {"params": {"batch_size": True}}, "bad_value", "must be a whole number, not True"),
        ("reconcile", {"params": {"batch_size": None}}, "bad_value", "must be a whole number, not None"),
        ("reconcile", {"params": {"batch_size": 5.5}}, "bad_value", "must be a whole number"),
        ("reconcile", {"params": {"enable_alerts": 1}}, "bad_value", "must be true or false, not 1"),
        ("reconcile", {"params": {"enable_alerts": "yes"}}, "bad_value", "must be true or false, not 'yes'"),
        ("reconcile", {"params": {"auto_resolve_threshold": 1.5}}, "bad_value", "a number from 0 to 1, but is 1.5"),
        ("reconcile", {"params": {"auto_resolve_threshold": "-0.1"}}, "bad_value", "from 0 to 1, but is '-0.1'"),
        ("reconcile", {"params": {"auto_resolve_threshold": "1e-3"}}, "bad_value", "must be a fraction, such as 0.01"),
        ("reconcile", {"params": {"auto_resolve_threshold": 1e-7}}, "bad_value", "written without exponent"),
        ("reconcile", {"params": {"auto_resolve_threshold": True}}, "bad_value", "must be a fraction"),
        ("reconcile", {"params": {"reconciliation_type": ""}}, "bad_value", "must have 1 to 128 bytes"),
        ("reconcile", {"params": {"reconciliation_type": "\xe9" * 65}}, "bad_value", "must have 1 to 128 bytes"),
        ("reconcile", {"params": {"default_type": "full"}}, "unknown_field", "params has no field 'default_type'"),
        ("reconcile", {"params": {"reconciliation_type": "delta"}}, "bad_value", "type is 'full', but params.recon"),
        ("reconcile", {"params": {"auto_resolve_threshold": 0.5, "max_discrepancy_threshold": 0.1}}, "bad_value",
         "auto_resolve_threshold (0.5) is above max_discrepancy_threshold (0.1)"),
        ("set_config", {"values": {}}, "bad_value", "values is empty"),
        ("set_config", {"values": ["a"]}, "bad_value", "values must be an object"),
        ("set_config", {"values": {"": 1}}, "bad_value", "a key of values must have 1 to 128 bytes"),
        ("set_config", {"values": {"a": [{"b": 10**60}]}}, "bad_value", "values.a[0].b must be written"),
        ("acknowledge", {"alert_id": 5}, "bad_value", "alert_id must be a string"),
        ("acknowledge", {"alert_id": "a\x07"}, "bad_value", "alert_id holds a control character"),
        ("acknowledge", {"comment": "\x1b[31m"}, "bad_value", "comment holds a control character"),
        ("acknowledge", {"comment": "\xe9" * 2049}, "bad_value", "comment has 4098 bytes; at most 4096"),
        ("acknowledge", {"comment": ["a"]}, "bad_value", "comment must be a string"),
        ("acknowledge", {"assignee": "a" * 129}, "bad_value", "assignee must have 1 to 128 bytes"),
        ("acknowledge", {"until_us": NOW_US // 1000}, "bad_value", "looks like milliseconds"),
        ("acknowledge", {"until_us": "1"}, "bad_value", "until_us must be an integer"),
        ("dismiss", {"partition": -1}, "bad_value", "partition must be from 0"),
        ("dismiss", {"offset": 1.0}, "bad_value", "offset must be an integer"),
        ("undo", {"issued_us": NOW_US // 1_000_000}, "bad_value", "looks like seconds"),
        ("undo", {"issued_by": ""}, "bad_value", "issued_by must have 1 to 128 bytes"),
        ("undo", {"command_id": "other"}, "bad_value", "the record's key must be the command_id 'other', not b'c-1'"),
        ("undo", {"expires_us": NOW_US}, "bad_value", "expires_us is not after issued_us"),
        ("undo", {"key_id": "alice-1"}, "incomplete", "key_id is there, but signature is missing"),
        ("undo", {"signature": SIGNED["signature"]}, "incomplete", "signature is there, but key_id is missing"),
        ("undo", {"key_id": "a", "signature": "AAAA"}, "bad_value", "signature must be the base64 of"),
        ("undo", {"key_id": "a", "signature": "-" * 88}, "bad_value", "signature must be the base64 of"),
    ],
)  # fmt: skip
def test_a_command_that_cannot_be_meant_so_is_refused(name: str, changes: Any, reason: str, says: str) -> None:
    answer = refused(written(example(name, **changes)), b"c-1")
    assert answer.reason == reason
    assert says in answer.detail
    assert answer.command == name
    assert answer.command_id == changes.get("command_id", "c-1")
    assert answer.issued_by == (None if changes.get("issued_by") == "" else "renee")
    assert "pydantic" not in answer.detail


def test_a_threshold_alone_is_not_held_against_one_that_the_configuration_may_say_otherwise() -> None:
    assert isinstance(read("reconcile", params={"auto_resolve_threshold": 0.5}), Reconcile)


def test_a_command_is_known_without_a_key() -> None:
    for key in (None, b"", b"c-1"):
        assert isinstance(read_command(written(example("cancel")), key), Cancel)


def test_a_refusal_quotes_nothing_that_a_terminal_would_obey() -> None:
    for value in (b'{"command":"\x1b[2J"}', written({"command": "\x1b[2J"}), written(example("cancel", **{"\x1b": 1}))):
        assert refused(value, b"\x1b[2J").detail.isascii()
        assert "\x1b" not in refused(value, b"\x1b[2J").detail
        assert "\x1b" not in (refused(value, b"\x1b[2J").command_id or "")


def test_what_people_do_about_an_alert_says_the_same_to_its_owner() -> None:
    assert alert_command(read("resolve")) == AlertCommand(
        action="resolve", alert_id=ALERT, by="renee", command_id="c-1", comment="see ticket\n4711", assignee="",
        until_us=NOW_US,
    )  # fmt: skip
    about = {name for name in OWN if alert_command(read(name)) is not None}
    assert about == set(get_args(Action))


# -- whatever comes ---------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = sorted({name for own in OWN.values() for name in own} | COMMON.keys() | {"command", "signature", "extra"})


def answered(value: bytes, key: bytes | None) -> None:
    answer = read_command(value, key)
    if isinstance(answer, RefusedCommand):
        assert answer.reason in get_args(RefusalReason)
        assert answer.detail.isascii()
        assert 0 < len(answer.detail) < 600
        return
    assert read_command(canonical_json(answer), key) == answer
    screen(answer, NOW_US, (), Policy())


@given(st.binary(max_size=200), st.none() | st.binary(max_size=20))
def test_no_bytes_are_more_than_it_can_take(value: bytes, key: bytes | None) -> None:
    answered(value, key)


@given(JSON)
def test_no_json_is_more_than_it_can_take(value: Any) -> None:
    answered(json.dumps(value).encode(errors="surrogatepass"), None)


@given(st.sampled_from(sorted(OWN)), st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3))
def test_no_change_of_a_command_is_more_than_it_can_take(name: str, changes: dict[str, Any]) -> None:
    answered(written(example(name, **changes)), b"c-1")


@given(st.sampled_from(sorted(OWN)), st.data())
def test_no_damage_to_a_command_is_more_than_it_can_take(name: str, data: st.DataObject) -> None:
    value = bytearray(written(example(name)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(value) - 1))
        value[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3) | st.sampled_from([b'"', b"{"]))
        if not value:
            break
    answered(bytes(value), None)


# -- screening --------------------------------------------------------------------------------------------------------

HOUR_US = 3_600 * SECOND_US
KEYS = {
    "alice-1": Key(issuer="alice", roles=("controller",), public="A"),
    "bob-1": Key(issuer="bob", roles=("viewer", "desk"), public="B"),
}
POLICY = Policy(keys=KEYS, roles={"desk": frozenset({"comment"})}, unsigned_roles=("operator",))
STRICT = structs.replace(POLICY, require_signatures=True)


def verify(key_id: str, message: bytes, signature: bytes) -> bool:
    """Of this test: a signature is 64 times the first letter of the key's id, and nothing is signed by bytes."""
    return signature == key_id[:1].encode() * 64 and b'"signature"' not in message


def signed(name: str, key_id: str, issued_by: str, **changes: Any) -> Command:
    signature = b64encode(changes.pop("by", key_id)[:1].encode() * 64).decode()
    return read(name, key_id=key_id, issued_by=issued_by, signature=signature, **changes)


def reason_of(command: Command, policy: Policy, time_us: int = NOW_US, seen: Any = ()) -> str | None:
    answer = screen(command, time_us, seen, policy, verify)
    if not isinstance(answer, RefusedCommand):
        assert answer is command
        return None
    assert (answer.command_id, answer.command) == ("c-1", name_of(command))
    assert answer.issued_by == command.issued_by
    return answer.reason


@pytest.mark.parametrize("name", OWN)
def test_without_keys_everything_is_taken_and_no_signature_is_looked_at(name: str) -> None:
    assert reason_of(read(name), Policy()) is None
    assert reason_of(read(name, **SIGNED), Policy()) is None


def test_a_command_expires_by_the_time_of_its_record() -> None:
    command = read("cancel", expires_us=NOW_US + HOUR_US)
    assert reason_of(command, Policy(), NOW_US + HOUR_US - 1) is None
    assert reason_of(command, Policy(), NOW_US + HOUR_US) == "expired"


def test_a_command_expires_a_day_after_it_was_issued_whatever_it_says() -> None:
    for command in (read("cancel"), read("cancel", expires_us=NOW_US + 9 * DAY_US)):
        assert expires_us(command, Policy()) == NOW_US + DAY_US
        assert reason_of(command, Policy(), NOW_US + DAY_US - 1) is None
        assert reason_of(command, Policy(), NOW_US + DAY_US) == "expired"
        assert reason_of(command, Policy(max_age_us=HOUR_US), NOW_US + HOUR_US) == "expired"
        assert reason_of(command, Policy(max_age_us=None), NOW_US + 9 * DAY_US - 1) is None
    assert expires_us(read("cancel"), Policy(max_age_us=None)) is None


def test_a_command_of_a_clock_that_is_ahead_is_refused() -> None:
    assert reason_of(read("cancel"), Policy(), NOW_US - 300 * SECOND_US) is None
    assert reason_of(read("cancel"), Policy(), NOW_US - 300 * SECOND_US - 1) == "not_yet"


def test_a_command_takes_effect_once() -> None:
    assert reason_of(read("cancel"), Policy(), seen={"c-0"}) is None
    assert reason_of(read("cancel"), Policy(), seen={"c-1"}) == "replayed"
    assert reason_of(read("undo"), Policy(), NOW_US + 2 * DAY_US, seen={"c-1"}) == "replayed"


def test_where_signatures_are_required_what_is_not_signed_is_refused() -> None:
    assert reason_of(read("cancel"), STRICT) == "unsigned"
    assert reason_of(signed("cancel", "alice-1", "alice"), STRICT) is None


def test_who_has_a_key_signs_and_others_may_what_the_unsigned_may() -> None:
    assert reason_of(read("cancel", issued_by="alice"), POLICY) == "unsigned"
    assert reason_of(read("cancel"), POLICY) is None
    assert reason_of(read("undo"), POLICY) == "wrong_role"


def test_a_signature_has_to_be_of_a_known_key_of_its_issuer() -> None:
    for policy in (POLICY, STRICT):
        assert reason_of(signed("cancel", "carol-1", "carol"), policy) == "unknown_key"
        assert reason_of(signed("cancel", "alice-1", "alice", by="x"), policy) == "bad_signature"
        assert reason_of(signed("cancel", "alice-1", "bob"), policy) == "wrong_issuer"
        assert reason_of(signed("cancel", "alice-1", "alice"), policy) is None


def test_without_anybody_to_verify_no_signature_is_believed() -> None:
    answer = screen(signed("cancel", "alice-1", "alice"), NOW_US, (), STRICT)
    assert isinstance(answer, RefusedCommand)
    assert answer.reason == "bad_signature"


def test_a_role_is_needed_for_each_command() -> None:
    may = {name for name in OWN if reason_of(signed(name, "alice-1", "alice"), STRICT) is None}
    assert may == ROLES["controller"] == OWN.keys() - {"set_config", "dismiss"}
    may = {name for name in OWN if reason_of(signed(name, "bob-1", "bob"), STRICT) is None}
    assert may == {"comment"}
    answer = screen(signed("undo", "bob-1", "bob"), NOW_US, (), STRICT, verify)
    assert isinstance(answer, RefusedCommand)
    assert answer.detail == "'bob' (viewer, desk) may not undo; controller, admin may"


def test_a_role_may_be_said_otherwise() -> None:
    policy = structs.replace(STRICT, roles={**POLICY.roles, "controller": frozenset({"reconcile"})})
    assert reason_of(signed("undo", "alice-1", "alice"), policy) == "wrong_role"
    assert reason_of(signed("reconcile", "alice-1", "alice"), policy) is None


def test_a_signature_is_judged_before_the_time_and_the_id() -> None:
    forged = signed("cancel", "alice-1", "alice", by="x")
    assert reason_of(forged, STRICT, NOW_US + 9 * DAY_US, seen={"c-1"}) == "bad_signature"


@pytest.mark.parametrize(
    ("says", "fields"),
    [
        ("require_signatures without keys refuses every command", {"require_signatures": True}),
        ("unsigned_roles: there is no role 'admn'; did you mean admin?", {"unsigned_roles": ("admn",)}),
        ("k: there is no role 'boss'", {"keys": {"k": Key(issuer="a", roles=("boss",), public="")}}),
        ("role desk: there is no command 'recncile'; did you mean reconcile?", {"roles": {"desk": {"recncile"}}}),
        ("max_age_us must be above zero", {"max_age_us": 0}),
    ],
)
def test_a_policy_that_cannot_be_meant_so_is_refused(says: str, fields: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        Policy(**fields)


# -- the page ---------------------------------------------------------------------------------------------------------


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def test_the_examples_for_a_shell_are_commands_each_in_one_record() -> None:
    """Only kcat is another: it writes the key, and then what it was given."""
    kcat = 'kcat() { [ "${*:1:6}" = "-P -b localhost:9092 -t recon.control.v1 -k" ] && echo "$7" && cat; }'
    done = subprocess.run(
        ["bash", "-eu", "-c", "\n".join((kcat, *blocks("sh")))],
        capture_output=True, text=True, check=True, env={"USER": "renee", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    names = set()
    for key, value in zip(lines[::2], lines[1::2], strict=True):
        command = read_command(value.encode(), key.encode())
        assert not isinstance(command, RefusedCommand), (value, command)
        names.add(name_of(command))
    assert names == OWN.keys()


def test_the_examples_for_python_are_commands() -> None:
    told: dict[str, Any] = {}
    exec(blocks("python")[0], told)  # noqa: S102 - our own page
    for command in told["commands"]:
        assert read_command(canonical_json(command), command.command_id.encode()) == command
    assert {name_of(command) for command in told["commands"]} == OWN.keys()


def test_the_page_knows_every_reason_and_what_each_role_may() -> None:
    page = PAGE.read_text("utf-8")
    refusals = page.split("## Refusals")[1].split("## Roles")[0]
    refused, in_vain = (
        re.findall(r"^\| `(\w+)` \| .+ \|$", part, re.MULTILINE) for part in refusals.split("A command that was taken")
    )
    assert refused == list(get_args(RefusalReason))
    assert {*in_vain, "incomplete"} == {*get_args(get_type_hints(Refused)["reason"]), "unknown_run"}
    assert f"| operator | {', '.join(name for name in OWN if name in ROLES['operator'])} |" in page


def test_what_is_signed_is_what_the_page_says() -> None:
    command = read_command(blocks("json")[0].encode())
    assert not isinstance(command, RefusedCommand)
    assert signed_text(command).decode() == blocks("text")[0].strip()


def test_what_is_signed_has_one_form_however_it_was_written() -> None:
    values = {"b": '"\\\b\t\n\f\r\x01\x1f\x7f/é\u2028😀', "ａ": [1.50, -0.0, True, None], "a": {"y": 1, "x": 10**20}}
    one = SetConfig(values={}, **COMMON)
    said = read("set_config", values=values)
    assert isinstance(said, SetConfig)
    assert (
        signed_text(said)
        == (
            '{"command":"set_config","command_id":"c-1","issued_by":"renee","issued_us":1764000000000000,"values":{'
            '"a":{"x":100000000000000000000,"y":1},'
            '"b":"\\"\\\\\\b\\t\\n\\f\\r\\u0001\\u001f\x7f/é\u2028😀","ａ":[1.5,-0.0,true,null]}}'
        ).encode()
    )
    assert b'"values":{}' in signed_text(one)
    spaced = json.dumps(example("set_config", values=values), indent=3, sort_keys=True, ensure_ascii=False).encode()
    again = read_command(spaced)
    assert not isinstance(again, RefusedCommand)
    assert signed_text(again) == signed_text(said)


def test_a_binary_fraction_is_not_written() -> None:
    with pytest.raises(TypeError, match="give fractions as Decimal or as text"):
        canonical_json(SetConfig(values={"a": 0.1}, **COMMON))


def test_those_without_fields_of_their_own_are_told_apart() -> None:
    assert type(read("acknowledge")) is Acknowledge
    assert isinstance(read("undo"), Undo)
    assert isinstance(read("dismiss"), Dismiss)
