from crypy.domain.orders import LIVE, NEXT
from crypy.domain.settlement import Settlement, decide_outcome


def test_every_status_has_a_row_and_leads_only_to_known_ones():
    assert {after for row in NEXT.values() for after in row} <= set(NEXT)


def test_only_live_orders_can_still_change():
    assert {status for status, row in NEXT.items() if row} == LIVE


def test_an_order_is_never_sent_again():
    assert [status for status, row in NEXT.items() if "sent" in row] == ["intended"]


def test_a_tie_goes_as_the_rule_says():
    assert decide_outcome(1.0, 1.0, Settlement("average", "chainlink", 60)) == "up"
    assert decide_outcome(1.0, 1.0, Settlement("closes", "binance", tie="half")) == "half"
    assert decide_outcome(1.0, 0.9, Settlement("candle", "binance")) == "down"
    assert decide_outcome(1.0, 1.1, Settlement("candle", "binance")) == "up"
