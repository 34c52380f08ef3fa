"""Whether a command may take effect: who issued it, what they may, when it was, and that it is the first of its id.

Time is Kafka's, of the command's record, never a clock of ours: so whoever reads the topic again decides the same.
"""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING

from msgspec import Struct

from stream_recon.domain.control_commands import COMMANDS, CommandName, RefusedCommand, name_of
from stream_recon.domain.control_text import signed_text
from stream_recon.domain.nearest import instead
from stream_recon.domain.record import AHEAD_US
from stream_recon.domain.strict_json import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from stream_recon.domain.control_commands import Command, RefusalReason

    Verify = Callable[[str, bytes, bytes], bool]
    """(key id, message, signature) -> whether it is the signature of that message by that key."""

DAY_US = 86_400_000_000

_OPERATOR: frozenset[CommandName] = frozenset({
    "reconcile", "cancel", "acknowledge", "comment", "assign", "suppress",
})  # fmt: skip
_CONTROLLER: frozenset[CommandName] = _OPERATOR | {"resolve", "reopen", "undo"}
ROLES: dict[str, frozenset[CommandName]] = {
    "viewer": frozenset(),
    "operator": _OPERATOR,
    "controller": _CONTROLLER,
    "admin": _CONTROLLER | {"set_config", "dismiss"},
}
"""What each role may, unless the policy says otherwise."""


class Key(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One public key: whose it is, and what may be asked with it."""

    issuer: str
    """What `issued_by` has to be."""
    roles: tuple[str, ...]
    public: str
    """Ed25519: PEM, or the 32 bytes in base64."""


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may do what."""

    require_signatures: bool = False
    """Refuse what is not signed; else only those sign who have a key."""
    keys: dict[str, Key] = {}
    """By id. Without any, signatures are not looked at."""
    roles: dict[str, frozenset[CommandName]] = {}
    """Beside or instead of those of `ROLES`."""
    unsigned_roles: tuple[str, ...] = ("admin",)
    """Of those who do not have to sign."""
    max_age_us: int | None = DAY_US
    """After so long a command has no effect any more, whatever it says itself. None: there is no such limit, and the
    ids of all commands there ever were have to be remembered."""

    def __post_init__(self) -> None:
        """Refuse a policy that says nothing, or not what was meant.

        Raises:
            ValueError: signatures are required and there are no keys, or there is no such role or age.
        """
        if self.require_signatures and not self.keys:
            raise ValueError("require_signatures without keys refuses every command; `stream-recon keys new` makes one")
        if self.max_age_us is not None and self.max_age_us <= 0:
            raise ValueError(f"max_age_us must be above zero, or none for no limit: {self.max_age_us}")
        known = {**ROLES, **self.roles}
        for whose, roles in (("unsigned_roles", self.unsigned_roles), *((i, k.roles) for i, k in self.keys.items())):
            for role in roles:
                if role not in known:
                    raise ValueError(f"{whose}: there is no role {role!r}{instead(role, known)}")
        for role, names in self.roles.items():
            for name in names:
                if name not in COMMANDS:
                    raise ValueError(f"role {role}: there is no command {name!r}{instead(name, COMMANDS)}")

    def allows(self, roles: Iterable[str], command: str) -> bool:
        """Whether one of these roles may issue a command."""
        return command in set().union(*(self._names(role) for role in roles))

    def _names(self, role: str) -> frozenset[CommandName]:
        return self.roles[role] if role in self.roles else ROLES[role]

    def who_may(self, command: str) -> list[str]:
        """The roles that may issue a command."""
        return [role for role in {**ROLES, **self.roles} if command in self._names(role)]


def nobody(_key_id: str, _message: bytes, _signature: bytes) -> bool:
    """Trust no signature: for policies without keys."""
    return False


def screen(
    command: Command, kafka_time_us: int, seen: Container[str], policy: Policy, verify: Verify = nobody
) -> Command | RefusedCommand:
    """The command, if it may take effect; else why not.

    `kafka_time_us` is that of its record, `seen` are the ids of those that took effect before: of the last
    `policy.max_age_us` at least, and only of those, for whoever is refused must not use up another's id.
    """
    found = _wrong_issuer(command, policy, verify) or _wrong_time(command, kafka_time_us, seen, policy)
    if found is None:
        return command
    reason, detail = found
    return RefusedCommand(
        command_id=command.command_id,
        reason=reason,
        detail=detail,
        command=name_of(command),
        issued_by=command.issued_by,
    )


def expires_us(command: Command, policy: Policy) -> int | None:
    """From when on (Kafka's time) it has no effect any more; None: never."""
    ends = [command.expires_us, None if policy.max_age_us is None else command.issued_us + policy.max_age_us]
    return min((end for end in ends if end is not None), default=None)


_Found = tuple["RefusalReason", str]


def _wrong_issuer(command: Command, policy: Policy, verify: Verify) -> _Found | None:
    if not policy.keys or command.key_id is None or command.signature is None:
        return _wrong_unsigned(command, policy)
    key = policy.keys.get(command.key_id)
    if key is None:
        return "unknown_key", f"there is no key {shown(command.key_id)}; the configuration has to hold its public half"
    if not verify(command.key_id, signed_text(command), b64decode(command.signature)):
        return "bad_signature", (
            f"the signature is not of this command by the key {shown(command.key_id)}; docs/control.md says what is "
            "signed"
        )
    if key.issuer != command.issued_by:
        return "wrong_issuer", (
            f"the key {shown(command.key_id)} is of {shown(key.issuer)}, but issued_by says {shown(command.issued_by)}"
        )
    return _wrong_role(command, policy, key.roles)


def _wrong_unsigned(command: Command, policy: Policy) -> _Found | None:
    if policy.require_signatures:
        return "unsigned", "it is not signed, and every command has to be; docs/control.md says how"
    if any(key.issuer == command.issued_by for key in policy.keys.values()):
        return "unsigned", f"{shown(command.issued_by)} has a key, so what they issue has to be signed with it"
    return _wrong_role(command, policy, policy.unsigned_roles)


def _wrong_role(command: Command, policy: Policy, roles: tuple[str, ...]) -> _Found | None:
    name = name_of(command)
    if policy.allows(roles, name):
        return None
    may = ", ".join(policy.who_may(name)) or "nobody"
    return "wrong_role", f"{shown(command.issued_by)} ({', '.join(roles) or 'no role'}) may not {name}; {may} may"


def _wrong_time(command: Command, kafka_time_us: int, seen: Container[str], policy: Policy) -> _Found | None:
    ahead_us = command.issued_us - kafka_time_us
    if ahead_us > AHEAD_US:
        return "not_yet", f"issued_us is {_seconds(ahead_us)} after Kafka took the record; set the issuer's clock right"
    if command.command_id in seen:
        return "replayed", (
            f"{shown(command.command_id)} has taken effect before; to ask for it again, give another command_id"
        )
    end_us = expires_us(command, policy)
    if end_us is not None and kafka_time_us >= end_us:
        return "expired", f"it expired {_seconds(kafka_time_us - end_us)} before Kafka took the record; issue it anew"
    return None


def _seconds(duration_us: int) -> str:
    return f"{duration_us // 1_000_000} s"
