"""Texts that are kept for long, kept small: JSON of discrepancies and events, deflated against a sample of such texts.

Short texts say little that the sample does not: an event of 250 bytes takes some 60, a discrepancy of 1,400 some 160,
more where accounts and ids are long. It takes some 7 us, so it is for what stays, not for what passes.
"""

from __future__ import annotations

import zlib

_SAMPLE = (
    b'"record":{"type":"order","ledger","balance","position","status":"filled","canceled","cum_qty":"snapshot_id":"'
    b'"order_mismatch","identity":"order","position_mismatch","identity":"position","balance_mismatch","identity":'
    b'"balance","unexplained","known_causes","pending","rounding","interval":{"from_us":,"to_us":,"from_label":"'
    b'"duplicate_conflict","severity":"warning","info","missing_internal","compared":"internal:exchange","side":"sell"'
    b"exchange has this fill, internal never sent it busted this fill, still counts it corrected this fill, the other "
    b'side did not: sent this fill more than once, with different ; no copy is believed","position_side":"short","long"'
    b'"BTCUSDT","ETH-USD","USDC","exec":"correction","bust","ref_trade_id":"","liquidity":"maker","taker","feed_seq":'
    b'"feed_epoch":"","recorded_us":17,"fee":"0.0","liquidity":"maker","source":"gw-1"}}],"size":"0.00'
    b'{"record":"discrepancy","alert_id":"","version":1,"transition":"UPDATED","CLEARED","status":"OPEN","kind":'
    b'"fill_mismatch","identity":"trade","severity":"critical","account":"hyperliquid|0x","venue":"binance",'
    b'"compared":"internal:exchange","cause":"both sides have this fill, but disagree on price","fields":[{"field":'
    b'"price","internal":"1","exchange":"1","difference":"-0.0"}],"evidence":[{"origin":"internal","topic":'
    b'"recon.internal.fills.v1","partition":0,"offset":1,"record":{"type":"fill","origin":"internal","venue":"binance"'
    b',"account_id":"","event_id":"","ts_us":17,"instrument":"BTC-USD","trade_id":"","order_id":"","side":"buy","qty":"'
    b'","price":"","fee":"0.","fee_asset":"USDT"}},{"origin":"exchange","topic":"recon.exchange.fills.v1","partition":1'
    b',"offset":2,"record":{"type":"fill","origin":"exchange","venue":"'
    b'{"record":"discrepancy","alert_id":"","version":1,"transition":"OPENED","status":"OPEN","kind":"missing_exchange"'
    b',"identity":"trade","severity":"critical","account":"venue|account-","venue":"venue","account_id":"account-",'
    b'"compared":"internal:exchange","instrument":"BTC-USD","trade_id":"1","side":"buy","position_side":null,"asset":'
    b'null,"order_id":null,"ledger_id":null,"event_us":17,"due_us":17,"cause":"internal has this fill, exchange never '
    b'sent it","fields":[{"field":"qty","internal":"1","exchange":null},{"field":"price","internal":"1","exchange":null'
    b'},{"field":"fee","internal":"0.","exchange":null},{"field":"fee_asset","internal":"USD","exchange":null},{"field":'
    b'"position_side","internal":"net","exchange":null},{"field":"side","internal":"buy","exchange":null}],"evidence":['
    b'{"origin":"internal","topic":"recon.internal.fills.v1","partition":0,"offset":1,"record":{"type":"fill","origin":'
    b'"internal","venue":"venue","account_id":"account-","event_id":"internal:","ts_us":17,"instrument":"BTC-USD",'
    b'"trade_id":"","order_id":"order-","side":"buy","qty":"","price":"","fee":"0.","fee_asset":"USD"}}],"size":"1",'
    b'"interval":null,"residual":null,"split":[],"explained_by":[],"opened_us":17,"age_limit_us":null,"reopened":0,'
    b'"late":false,"notify":true,"handling":{"by":"","acknowledged_by":""},"strategy":"real_time"}'
)
"""Part of the format of the state: with another sample, what was written before cannot be read."""


_PRIMED = zlib.compressobj(wbits=13, memLevel=5, zdict=_SAMPLE)
"""Has read the sample, with no more room than such texts need: a copy costs a fifth of one made anew."""


def deflate(text: bytes) -> bytes:
    """The text, small."""
    deflating = _PRIMED.copy()
    return deflating.compress(text) + deflating.flush()


def inflate(deflated: bytes) -> bytes:
    """The text that was deflated.

    Raises:
        zlib.error: it was not, or against another sample.
    """
    inflating = zlib.decompressobj(zdict=_SAMPLE)
    return inflating.decompress(deflated) + inflating.flush()
