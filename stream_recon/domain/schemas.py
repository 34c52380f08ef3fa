"""The published schemas, made from the models: one JSON Schema 2020-12 per record, and one AsyncAPI 3.0 of all topics.

They say what the decoder enforces as far as a schema can. It is stricter in what none can say: bytes rather than
characters, no exponent in a number, no field twice, the key, Kafka's time, the topic's origin.
"""

from __future__ import annotations

import inspect
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from stream_recon.domain.config import ReconciliationConfig
from stream_recon.domain.control_commands import COMMANDS, AboutAlert, Issued, Reconcile
from stream_recon.domain.corrections import Correction
from stream_recon.domain.discrepancies import (
    Discrepancy,
    Evidence,
    FeedCondition,
    FieldDifference,
    Handling,
    Interval,
    SplitPart,
)
from stream_recon.domain.docstrings import field_docs
from stream_recon.domain.events import STREAM_OF, Anchor
from stream_recon.domain.record import FIELDS, MAX_HEADERS
from stream_recon.domain.results import Certificate, ReconciliationResult, Scope, Summary, TopicCut, Unsettled
from stream_recon.domain.strict_json import MAX_VALUE_BYTES, Reason
from stream_recon.domain.topics import SHAPES, TopicPlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgspec import Struct

    from stream_recon.domain.topics import Role, Topic

Document = dict[str, Any]

ALERTS: tuple[type[Struct], ...] = (Discrepancy, FeedCondition)
_RECORDS: tuple[type[Struct], ...] = (*STREAM_OF, *ALERTS, ReconciliationResult, Correction)
"""Those with a schema of their own."""
_PARTS: tuple[type[Struct], ...] = (
    Anchor, Certificate, Evidence, FieldDifference, Handling, Interval, Scope, SplitPart, Summary, TopicCut, Unsettled,
)  # fmt: skip
_DRAFT = "https://json-schema.org/draft/2020-12/schema"

# An amount may be sent as a JSON number too; what its text must obey, its value must.
_NUMBERS: dict[str, Document] = {
    "amount": {"type": "number"},
    "non_negative": {"type": "number", "minimum": 0},
    "positive": {"type": "number", "exclusiveMinimum": 0},
}
_LIMITS = {"ge": "minimum", "le": "maximum"}  # as pydantic calls them where something is checked before them
_NOT_SAID = {"title", "default"}  # the default is the configuration's, not the model's
_FRACTION: Document = {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string"}]}
_RULES: dict[str, Document] = {
    "fill": {
        "if": {"properties": {"exec": {"enum": ["correction", "bust"]}}, "required": ["exec"]},
        "then": {"properties": {"ref_trade_id": {"type": "string"}}, "required": ["ref_trade_id"]},
    },
    "order": {
        "anyOf": [
            {"properties": {name: {"type": "string"}}, "required": [name]} for name in ("order_id", "client_order_id")
        ]
    },
}
_CONTENT: dict[Role, str] = {
    "control": "Commands of operators and schedulers.",
    "alerts": "Every transition of every discrepancy and feed condition.",
    "breaks": "The newest state of each discrepancy and feed condition; a null value some days after it closed.",
    "results": "What each run came to: first as `running`, once as what it came to. A refused command is one, failed.",
    "corrections": "Reversible correcting entries of auto-resolution, and what takes them back.",
    "dlq": "Records that could not be understood: key and value untouched, the reason in the headers.",
    "work": "Internal.",
    "partials": "Internal.",
    "state": "Internal: what each partition's owner knows.",
}
_KEYS = {
    "account": "venue|account_id (a heartbeat's is free)",
    "alert_id": "alert_id; the partition is that of its account",
    "command_id": "command_id, or none",
    "original": "the bad record's own key",
}


def schema_files() -> dict[str, str]:
    """File name -> text of everything in schemas/."""
    documents = {f"{_tag(kind)}.json": _json_schema(kind) for kind in _RECORDS}
    documents["control.json"] = _control_schema()
    documents["asyncapi.json"] = asyncapi(TopicPlan())
    return {name: json.dumps(document, indent=2) + "\n" for name, document in documents.items()}


def _tag(kind: type[Struct]) -> str:
    """What a record is called; a result says so nowhere itself."""
    return "result" if kind is ReconciliationResult else str(kind.__struct_config__.tag)


def _json_schema(kind: type[Struct]) -> Document:
    """The schema of one record, complete in itself."""
    components = _components([kind], "#/$defs/{name}")
    record = components.pop(kind.__name__)
    document = {"$schema": _DRAFT, "$id": f"urn:stream-recon:{_tag(kind)}:v1", **record}
    return document | ({"$defs": components} if components else {})


def _control_schema() -> Document:
    """The schema of all commands in one, complete in itself."""
    return {
        "$schema": _DRAFT,
        "$id": "urn:stream-recon:control:v1",
        "title": "Command",
        "description": "One command of recon.control.v1.",
        "oneOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in COMMANDS.values()],
        "$defs": _components(list(COMMANDS.values()), "#/$defs/{name}"),
    }


def _components(kinds: Sequence[type[Struct]], ref_template: str) -> dict[str, Document]:
    """Struct name -> schema, of these and what they hold."""
    _, components = msgspec.json.schema_components(kinds, schema_hook=_anything, ref_template=ref_template)
    for kind in (*_RECORDS, *_PARTS, *COMMANDS.values()):
        if kind.__name__ in components:
            _enrich(kind, components[kind.__name__])
    return components


def _anything(kind: type) -> Document:
    """The schema of what msgspec has none for.

    Raises:
        NotImplementedError: it is not `object`.
    """
    if kind is not object:
        raise NotImplementedError
    return {"description": "anything"}


def _enrich(kind: type[Struct], schema: Document) -> None:
    """Add what the model does not say by itself: numbers for amounts, rules between fields, what is said in words."""
    properties = schema["properties"]
    for field in FIELDS.get(kind, ()):
        if field.check in _NUMBERS:
            properties[field.name] = _or_number(properties[field.name], _NUMBERS[field.check])
    if kind is Reconcile:
        properties["params"] = _or_null(properties["params"], _parameters())
    schema.update(_RULES.get(str(kind.__struct_config__.tag), {}))
    for name, words in _field_docs(kind).items():
        properties[name].setdefault("description", words)


def _or_number(schema: Document, number: Document) -> Document:
    """The schema of an amount, as text or as number."""
    if "anyOf" in schema:
        return schema | {"anyOf": [*schema["anyOf"], number]}
    return {"anyOf": [schema, number]}


def _or_null(schema: Document, said: Document) -> Document:
    """The schema of what may be left out, with more said of what it is."""
    return schema | {"anyOf": [one if one.get("type") == "null" else one | said for one in schema["anyOf"]]}


def _parameters() -> Document:
    """Which parameters a run has, and what each may be; a fraction also as text, which no schema can measure."""
    properties: Document = ReconciliationConfig.model_json_schema()["properties"]
    docs = _field_docs(ReconciliationConfig)
    fractions = {n for n, field in ReconciliationConfig.model_fields.items() if field.annotation is Decimal}
    said = {
        name: {"description": docs[name]}
        | (_FRACTION if name in fractions else {_LIMITS.get(k, k): v for k, v in schema.items() if k not in _NOT_SAID})
        for name, schema in properties.items()
    }
    return {"properties": said, "additionalProperties": False}


def _field_docs(kind: type) -> dict[str, str]:
    """Field -> the docstring below it, or below that of a class it comes from."""
    base = next((base for base in (Issued, AboutAlert) if base in kind.__bases__), None)
    inherited = _field_docs(base) if base is not None else {}
    return inherited | field_docs(kind)


def asyncapi(plan: TopicPlan) -> Document:
    """The AsyncAPI 3.0 document of all topics of a deployment."""
    kinds = (*_RECORDS, *COMMANDS.values())
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "stream-recon",
            "version": "1.0.0",
            "description": "What stream-recon reads from Kafka and writes to it. All topics that are divided have one "
            "common number of partitions, and records are placed by murmur2 of their account, as the Java client does.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {topic.role: _channel(topic) for topic in plan.topics()},
        "operations": {
            f"{action}.{role}": {"action": action, "channel": {"$ref": f"#/channels/{role}"}}
            for role in SHAPES
            for action in _actions(role)
        },
        "components": {
            "messages": {_tag(kind): _message(kind) for kind in kinds} | {"bad_record": _BAD_RECORD},
            "schemas": _components(kinds, "#/components/schemas/{name}"),
        },
    }


def _actions(role: Role) -> tuple[str, ...]:
    """What stream-recon does with a topic."""
    if _source_of(role) is not None or role == "control":
        return ("receive",)
    return (
        ("send",)
        if SHAPES[role].key in {"alert_id", "original", "account"} or role == "results"
        else ("send", "receive")
    )


def _source_of(role: Role) -> tuple[str, str] | None:
    """(origin, stream) of a source topic."""
    origin, divider, stream = role.partition(".")
    return (origin, stream) if divider else None


def _messages_of(role: Role) -> list[str]:
    source = _source_of(role)
    if source is not None:
        return [_tag(kind) for kind, stream in STREAM_OF.items() if stream in {source[1], None}]
    if role in {"alerts", "breaks"}:
        return [_tag(kind) for kind in ALERTS]
    return _MESSAGES.get(role, [])


_MESSAGES: dict[Role, list[str]] = {
    "control": list(COMMANDS),
    "results": ["result"],
    "corrections": ["correction"],
    "dlq": ["bad_record"],
}


def _channel(topic: Topic) -> Document:
    role, shape = topic.role, topic.shape
    source = _source_of(role)
    content = (
        f"What {source[0]} says of its {source[1]}: every record's origin is `{source[0]}`, none is larger than "
        f"{MAX_VALUE_BYTES} bytes or has more than {MAX_HEADERS} headers."
        if source is not None
        else _CONTENT[role]
    )
    settings: Document = {"cleanup.policy": [shape.cleanup]}
    if shape.cleanup == "delete":
        settings["retention.ms"] = shape.retention_ms
    return {
        "address": topic.name,
        "description": f"{content} Key: {_KEYS.get(shape.key, shape.key)}. Written by {shape.written_by}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _messages_of(role)},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": settings,
                "bindingVersion": "0.5.0",
            }
        },
    }


def _message(kind: type[Struct]) -> Document:
    message: Document = {
        "name": _tag(kind),
        "summary": inspect.getdoc(kind),
        "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
    }
    if kind in ALERTS:
        message["headers"] = {
            "type": "object",
            "properties": {
                "recon.trigger_us": {
                    "type": "string",
                    "description": "Kafka's time, in microseconds, of the record that made it due",
                }
            },
        }
    return message


_BAD_RECORD: Document = {
    "name": "bad_record",
    "summary": "A record as it came, with why it was refused.",
    "contentType": "application/octet-stream",
    "payload": {},
    "headers": {
        "type": "object",
        "properties": {
            "recon.error.reason": {"type": "string", "enum": list(get_args(Reason))},
            "recon.error.stage": {"type": "string"},
            "recon.error.topic": {"type": "string"},
            "recon.error.partition": {"type": "string"},
            "recon.error.offset": {"type": "string"},
            "recon.error.timestamp": {"type": "string", "description": "microseconds"},
            "recon.error.exception": {"type": "string", "description": "one sentence"},
            "recon.error.cut_off_from_bytes": {
                "type": "string",
                "description": "only where the value was too large to be kept whole: how many bytes it had",
            },
        },
    },
}
