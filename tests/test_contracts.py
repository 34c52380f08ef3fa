"""Feed contracts, as people write them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from stream_recon.domain.contracts import DEFAULT, Contracts, FeedContract


def test_the_first_contract_that_matches_holds() -> None:
    contracts = Contracts(
        contracts=(
            FeedContract(origin="exchange", venue="binance*", account="desk-?", fills="partial"),
            FeedContract(origin="exchange", venue="binance*", fills="absent"),
        )
    )
    assert contracts.of("exchange", "binance", "desk-1").fills == "partial"
    assert contracts.of("exchange", "binanceusdm", "other").fills == "absent"
    assert contracts.of("exchange", "kraken", "desk-1") is DEFAULT["exchange"]
    assert contracts.of("internal", "binance", "desk-1") is DEFAULT["internal"]


def test_venue_precision_may_be_written_among_the_tolerances() -> None:
    contract = FeedContract.model_validate(
        {"origin": "exchange", "tolerance": {"qty": "0.1", "price": 1, "venue_precision": 9}}
    )
    assert contract.venue_precision == 9
    assert contract.tolerance == {"qty": "0.1", "price": "1"}


@pytest.mark.parametrize("limit", ["-1", "1e-3", "NaN", "", "a", None, True, 0.1])
def test_a_tolerance_is_a_plain_amount(limit: object) -> None:
    with pytest.raises(ValidationError, match="a plain decimal in quotes"):
        FeedContract.model_validate({"origin": "exchange", "tolerance": {"qty": limit}})


@pytest.mark.parametrize(
    "wrong", [{"sources": []}, {"grace_us": -1}, {"fills": "always"}, {"grace": 5}, {"match_keys": ["order_id"]}]
)
def test_what_a_contract_does_not_know_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FeedContract.model_validate({"origin": "exchange", **wrong})
