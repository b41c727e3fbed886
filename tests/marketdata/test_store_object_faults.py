"""What goes wrong between us and an object store: each is one clear sentence or is got over, and nothing is lost or given away."""

from __future__ import annotations

import socket
from datetime import timedelta
from pathlib import Path

import pytest
from history_kit import equal, make_trades
from obstore.exceptions import GenericError
from s3_kit import KEY_ID, S3, SECRET, shelf_at

from crypy.app.settings import load_settings
from crypy.domain.errors import ConfigError
from crypy.marketdata import object_faults
from crypy.marketdata.object_address import Address, parse_address, without_secrets
from crypy.marketdata.shelf import FolderShelf, open_shelf
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trades import TradeBatch

BTC = ("binance", "BTCUSDT")
TRADES = make_trades(300, seconds=2 * 86_400)


def stored(store: TradeStore) -> TradeBatch:
    return store.trades(*BTC, 0, 2**62)


def error(code: str, sentence: str) -> str:
    """An answer as S3 gives it; that of a wrong signature tells whose key it was."""
    return (
        f"<Error><Code>{code}</Code><Message>{sentence}</Message><AWSAccessKeyId>{KEY_ID}</AWSAccessKeyId>"
        f"<StringToSign>AWS4-HMAC-SHA256 {SECRET}</StringToSign></Error>"
    )


def told(store: TradeStore, does: str) -> str:
    """The sentence a store fails with, in which there is no secret, nor in what stands behind it."""
    with pytest.raises(ConfigError) as caught:
        store.ingest(*BTC, [TRADES]) if does == "write" else store.coverage(*BTC)
    fault: BaseException | None = caught.value
    while fault is not None:
        shown = not fault.__suppress_context__ or fault.__cause__ is not None
        assert SECRET not in str(fault)
        assert KEY_ID not in str(fault)
        fault = (fault.__cause__ or fault.__context__) if shown else None
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("match", ["PUT .*parquet", "GET .*parquet", "GET /trades[^/]*$"])
@pytest.mark.parametrize(
    "fault", [{"status": 503}, {"status": 500}, {"status": 429}, {"cut": "answer"}, {"cut": "request"}]
)
def test_requests_that_fail_are_repeated(s3: S3, tmp_path: Path, match: str, fault: dict[str, object]) -> None:
    address = s3.bucket()
    s3.fault(match, 3, **fault)
    one, two = (TradeStore(shelf_at(address, tmp_path / name)) for name in ("one", "two"))
    one.ingest(*BTC, [TRADES[:200]])
    one.append(*BTC, TRADES[200:])
    assert two.coverage(*BTC).rows == 300
    assert equal(stored(two), TRADES)
    one.merge(*BTC)
    assert equal(stored(two), TRADES)


@pytest.mark.parametrize("match", ["GET .*parquet", "GET /trades[^/]*$"])
def test_an_answer_that_stands_still_is_not_waited_for_for_ever(s3: S3, tmp_path: Path, match: str) -> None:
    address = s3.bucket()
    TradeStore(shelf_at(address, tmp_path / "one")).ingest(*BTC, [TRADES])
    s3.fault(match, 1, stall_s=60)
    store = TradeStore(shelf_at(address, tmp_path / "two", answer_within=timedelta(seconds=1)))
    assert equal(stored(store), TRADES)


@pytest.mark.parametrize("does", ["read", "write"])
def test_a_service_that_goes_on_failing_is_told(s3: S3, tmp_path: Path, does: str) -> None:
    address = s3.bucket()
    store = TradeStore(shelf_at(address, tmp_path))
    s3.fault(address.split("/")[2], 5, status=503, body=error("SlowDown", "Please reduce your request rate."))
    sentence = told(store, does)
    assert "the service failed again and again (503 SlowDown Please reduce your request rate.)" in sentence
    assert "nothing that was stored is lost" in sentence
    store.ingest(*BTC, [TRADES])
    assert equal(stored(store), TRADES)
    assert not list((tmp_path / "staging").iterdir())


@pytest.mark.parametrize(
    ("code", "sentence", "expected"),
    [
        ("AccessDenied", "Access Denied", "must be allowed to list, read, write and delete"),
        ("SignatureDoesNotMatch", "The request signature does not match.", "was denied (403 SignatureDoesNotMatch"),
        ("InvalidAccessKeyId", "The key does not exist.", "was denied (403 InvalidAccessKeyId"),
        ("RequestTimeTooSkewed", "The difference is too large.", "clock is off by minutes"),
    ],
)
@pytest.mark.parametrize("does", ["read", "write"])
def test_a_refusal_says_what_to_mend(
    s3: S3, tmp_path: Path, code: str, sentence: str, expected: str, does: str
) -> None:
    address = s3.bucket()
    s3.fault(address.split("/")[2], 1, status=403, body=error(code, sentence))
    assert expected in told(TradeStore(shelf_at(address, tmp_path)), does)


@pytest.mark.parametrize("does", ["read", "write"])
def test_a_bucket_that_is_not_there_is_told(s3: S3, tmp_path: Path, does: str) -> None:
    assert "there is no such bucket" in told(TradeStore(shelf_at(s3.address("nowhere"), tmp_path)), does)


@pytest.mark.parametrize("does", ["read", "write"])
def test_an_endpoint_that_does_not_answer_is_told(s3: S3, tmp_path: Path, does: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"s3://bucket/prefix?endpoint=http://127.0.0.1:{nobody.getsockname()[1]}"
        assert "cannot be reached" in told(TradeStore(shelf_at(address, tmp_path)), does)


def test_without_credentials_it_says_which_are_wanted(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = s3.bucket()
    for name in s3.environment:
        monkeypatch.delenv(name)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        assert "AWS_ACCESS_KEY_ID" in told(TradeStore(shelf_at(address, tmp_path)), "read")


def test_a_service_that_ignores_conditions_is_not_written_to(s3: S3, tmp_path: Path) -> None:
    address = s3.bucket("careless")
    store = TradeStore(shelf_at(address, tmp_path))
    assert "ignores If-Match or If-None-Match" in told(store, "write")
    assert store.symbols() == ()
    assert stored(store).id.size == 0


@pytest.mark.parametrize("which", ["first", "later"])
def test_an_upload_that_breaks_off_leaves_nothing_behind(s3: S3, tmp_path: Path, which: str) -> None:
    address = s3.bucket()
    store = TradeStore(shelf_at(address, tmp_path / "one"))
    before = TRADES[:0] if which == "first" else TRADES[:100]
    if len(before):
        store.ingest(*BTC, [before])
    s3.fault("PUT .*parquet", 5, cut="request")
    told(store, "write")
    other = TradeStore(shelf_at(address, tmp_path / "two"))
    assert equal(stored(other), before)
    assert other.coverage(*BTC, verify=True).rows == len(before)
    store.ingest(*BTC, [TRADES])
    assert equal(stored(other), TRADES)


def test_an_answer_that_was_lost_does_not_store_twice(s3: S3, tmp_path: Path) -> None:
    """The file was put, but the answer did not come: asked again, the service says that there is one already."""
    address = s3.bucket()
    store = TradeStore(shelf_at(address, tmp_path))
    store.ingest(*BTC, [TRADES[:100]])
    s3.fault("PUT .*parquet", 1, cut="answer")
    store.append(*BTC, TRADES[100:200])
    s3.fault("PUT .*parquet", 1, cut="answer")
    store.ingest(*BTC, [TRADES[200:]])
    assert equal(stored(store), TRADES)
    assert store.coverage(*BTC, verify=True).rows == 300


@pytest.mark.parametrize(
    ("address", "url", "settings"),
    [
        ("s3://bucket", "s3://bucket", {}),
        ("s3://bucket/a/b/", "s3://bucket/a/b", {}),
        ("s3://b/p?endpoint=http://127.0.0.1:9000&region=x", "s3://b/p", {"endpoint": "http://127.0.0.1:9000", "region": "x"}),
        ("gs://bucket/a", "gs://bucket/a", {}),
        ("az://container/a?account_name=me", "az://container/a", {"account_name": "me"}),
        ("memory:///", "memory:///", {}),
    ],
)  # fmt: skip
def test_addresses(address: str, url: str, settings: dict[str, str]) -> None:
    found = parse_address(address)
    assert isinstance(found, Address)
    assert (found.url, found.settings) == (url, settings)


def test_a_folder_is_a_folder(tmp_path: Path) -> None:
    for address in (str(tmp_path), f"file://{tmp_path}"):
        shelf = open_shelf(address, tmp_path / "work")
        assert isinstance(shelf, FolderShelf)
        assert shelf.work == tmp_path


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ftp://host/x", "begins with ftp://"),
        ("http://host/x", "begins with http://"),
        ("s3:///x", "names no bucket"),
        ("s3://b/x?color=red", "does not know"),
        ("s3://b/x?endpoint=host:9000", "must begin with https:// or http://"),
        ("s3://b/x?endpoint=http://host:port", "must begin with https:// or http://"),
        ("s3://b/x?region", "is none"),
        (f"s3://{KEY_ID}:{SECRET}@b/x", "belongs in no address"),
        (f"s3://b/x?secret_access_key={SECRET}", "belongs in no address"),
        (f"s3://b/x?access_key_id={KEY_ID}", "belongs in no address"),
        (f"az://b/x?sas_token={SECRET}", "belongs in no address"),
        (f"s3://b/x?endpoint=https://{KEY_ID}:{SECRET}@host", "belongs in no address"),
        (f"s3://b/x#{SECRET}", "belongs in no address"),
    ],
)
def test_addresses_that_cannot_be_are_told_without_their_secrets(tmp_path: Path, address: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        open_shelf(address, tmp_path)
    config = tmp_path / "crypy.toml"
    config.write_text(f'[data]\nstore = "{address}"\n', "utf-8")
    with pytest.raises(ConfigError, match=expected) as from_settings:
        load_settings(config)
    for text in (str(caught.value), str(from_settings.value), without_secrets(address)):
        assert SECRET not in text
        assert KEY_ID not in text


def test_the_text_of_a_fault_that_is_not_known_is_not_passed_on() -> None:
    fault = object_faults.translated(
        "s3://b", "x", GenericError(f"odd: {SECRET} https://host/?X-Amz-Signature={SECRET}")
    )
    assert isinstance(fault, ConfigError)
    assert "GenericError" in str(fault)
    assert SECRET not in str(fault)
