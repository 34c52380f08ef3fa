"""Amounts are exact: whatever fits on the wire is compared and subtracted without rounding."""

from __future__ import annotations

import json
from decimal import Decimal, Inexact, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_recon.domain.amounts import EXACT, difference, plain, relative_size, to_decimal

DATA = Path(__file__).parent / "data"

amounts = st.from_regex(r"-?(0{0,3}[0-9]{1,20})(\.[0-9]{1,18})?", fullmatch=True, alphabet="-.0123456789")


@given(amounts, amounts)
def test_a_difference_is_exactly_that_of_the_fractions(one: str, other: str) -> None:
    assert Fraction(difference(one, other)) == Fraction(one) - Fraction(other)


@given(amounts, amounts)
def test_two_texts_are_the_same_amount_if_the_fractions_are(one: str, other: str) -> None:
    assert (difference(one, other) == 0) == (Fraction(one) == Fraction(other))


@given(amounts)
def test_the_plain_text_is_the_number_in_its_only_form(text: str) -> None:
    written = plain(to_decimal(text))
    assert Fraction(written) == Fraction(text)
    assert plain(to_decimal(written)) == written
    assert plain(to_decimal(text + ("0" if "." in text else ".0"))) == written


@pytest.mark.parametrize(
    ("number", "text"),
    [("1.500", "1.5"), ("100", "100"), ("1E+3", "1000"), ("-0.00", "0"), ("0E-18", "0"), ("1E-18", f"0.{'0' * 17}1")],
)
def test_a_plain_text_has_no_exponent_and_no_idle_zeros(number: str, text: str) -> None:
    assert plain(Decimal(number)) == text


@given(amounts, amounts)
def test_a_size_is_the_quotient_rounded_up_to_twelve_decimals(one: str, other: str) -> None:
    larger = max(abs(Fraction(one)), abs(Fraction(other)))
    true = abs(Fraction(one) - Fraction(other)) / larger if larger else Fraction(0)
    assert true <= Fraction(relative_size(one, other)) < true + Fraction(1, 10**12)


def test_a_size_is_above_a_threshold_exactly_if_the_true_one_is() -> None:
    assert relative_size("100", "99") == Decimal("0.01")
    assert relative_size(f"1{'0' * 19}", f"99{'0' * 17}.{'0' * 17}1") <= Decimal("0.01")
    assert relative_size(f"1{'0' * 19}", f"98{'9' * 17}.{'9' * 18}") > Decimal("0.01")


@pytest.mark.parametrize(("one", "other", "size"), [("1", "-1", "2"), ("0", "5", "1"), ("0", "-0.0", "0")])
def test_opposite_signs_are_twice_and_nothing_is_once_as_large(one: str, other: str, size: str) -> None:
    assert plain(relative_size(one, other)) == size


def test_what_would_have_to_be_rounded_is_refused() -> None:
    with pytest.raises(Inexact):
        EXACT.divide(Decimal(1), Decimal(3))
    with pytest.raises(InvalidOperation):
        to_decimal("1_0x")


def _cases() -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((DATA / "blnk" / "boundary_cases.json").read_bytes())["amount_equals"]
    return cases


@pytest.mark.parametrize("case", _cases(), ids=lambda case: case["name"])
def test_the_boundaries_of_another_reconciler_hold_exactly(case: dict[str, Any]) -> None:
    """Its rule: |external - internal| <= |internal| * drift."""
    gap = abs(difference(case["external"], case["internal"]))
    assert (gap <= EXACT.multiply(abs(to_decimal(case["internal"])), to_decimal(case["drift"]))) is case["match"]
