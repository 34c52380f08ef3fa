r"""A command as text: what is written to Kafka, and what is signed.

The canonical JSON of a command: fields that are null or left out are left out, keys in the order of their code points,
no whitespace, UTF-8, in strings only `"`, `\` and control characters escaped (short forms first, else `\u00` and two
small hex digits), and every number as its command has it: `0.0100` stays `0.0100`. What is signed is that of the
command without `signature`.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from msgspec import structs

from stream_recon.domain.control_commands import name_of

if TYPE_CHECKING:
    from stream_recon.domain.control_commands import Command


def canonical_json(command: Command) -> bytes:
    """The command as it is written to Kafka; `read_command` gives the same again."""
    fields = {name: value for name, value in structs.asdict(command).items() if value is not None}
    return _text({"command": name_of(command), **fields}).encode()


def signed_text(command: Command) -> bytes:
    """What a signature is of."""
    return canonical_json(structs.replace(command, signature=None))


def _text(value: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    """Canonical JSON of a value; a `Decimal` is a number with just these digits.

    Raises:
        TypeError: it is none that JSON has; a float is not: it would be read as other digits than were meant.
    """
    if isinstance(value, dict):
        return "{" + ",".join(f"{_text(name)}:{_text(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, Decimal):
        return format(value, "f")
    if value is None or isinstance(value, str | bool | int):
        return json.dumps(value, ensure_ascii=False)
    raise TypeError(f"a command cannot hold a {type(value).__name__} ({value!r}); give fractions as Decimal or as text")
