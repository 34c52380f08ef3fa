"""The parameters of a run, as a command gives them: which there are, and what each may be."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from stream_recon.domain import checks
from stream_recon.domain.config import ReconciliationConfig
from stream_recon.domain.nearest import instead
from stream_recon.domain.strict_json import Refusal, shown
from stream_recon.domain.wording import dotted, told

if TYPE_CHECKING:
    from collections.abc import Callable


class UnknownField(Refusal):
    """A command says something that there is no name for."""

    def __init__(self, detail: str) -> None:
        super().__init__("bad_value", detail)


class _Meant(NamedTuple):
    is_it: Callable[[object], bool]
    words: str


def _is_number(value: object) -> bool:
    if isinstance(value, str):
        return _is_amount(value)
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _is_amount(text: str) -> bool:
    try:
        checks.amount("", text)
    except Refusal:
        return False
    return True


# Beside names. pydantic alone takes "yes" for true, true for 1 and " 1_000 " for 1000.
_MEANT: dict[Any, _Meant] = {
    bool: _Meant(lambda value: isinstance(value, bool), "true or false"),
    int: _Meant(lambda value: type(value) is int, "a whole number"),
    Decimal: _Meant(_is_number, "a fraction, such as 0.01"),
}
_THRESHOLDS = {"auto_resolve_threshold", "max_discrepancy_threshold"}


def check_parameters(name: str, params: dict[str, Any]) -> None:
    """Refuse what no run could be tuned by. What holds between fields that are not all given is not looked at.

    Raises:
        UnknownField: there is none of a name.
        Refusal: a value that its field cannot have.
    """
    fields = ReconciliationConfig.model_fields
    for given, value in params.items():
        if given not in fields:
            raise UnknownField(f"{name} has no field {shown(given)}{instead(given, fields)}")
        meant = _MEANT.get(fields[given].annotation)
        if meant is None:
            checks.identifier(f"{name}.{given}", value)
        elif not meant.is_it(value):
            raise Refusal("wrong_type", f"{name}.{given} must be {meant.words}, not {shown(value)}")
    try:
        ReconciliationConfig.model_validate(params)
    except ValidationError as error:
        wrong = [one for one in error.errors(include_url=False) if one["loc"]]
        if wrong or params.keys() >= _THRESHOLDS:  # else the configuration has the other, which is not known here
            raise Refusal(
                "bad_value", told(error, ReconciliationConfig, lambda place: dotted((name, *place)))[0]
            ) from None
