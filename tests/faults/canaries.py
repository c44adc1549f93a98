"""Secrets planted in every scene, and where they could come out again."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Iterator, Mapping

from opentelemetry.sdk.trace import ReadableSpan
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from yarl import URL

from tests.security.canaries import CANARIES

HEADERS = {"Private-Token": CANARIES["header"], "Cookie": f"sid={CANARIES['cookie']}"}
BODY = f'{{"iban": "{CANARIES["request-body"]}"}}'.encode()
ANSWER = CANARIES["answer-body"].encode()

# The proxy is configured and serves nobody, so that its credentials are there in every case.
SETTINGS: Mapping[str, object] = {
    "headers": {"X-Api-Key": CANARIES["settings-header"]},
    "proxy": {
        "url": f"http://{CANARIES['proxy-user']}:{CANARIES['proxy-password']}@127.0.0.1:9",
        "no_proxy": ["*"],
    },
}


def planted(url: URL) -> URL:
    """Return *url* with secrets in it. The key is one whose value telemetry hides by default."""
    with_login = url.with_user(CANARIES["url-user"]).with_password(CANARIES["url-password"])
    return with_login.update_query({"access_token": CANARIES["query"]})


def of_exception(error: BaseException) -> Iterator[tuple[str, str]]:
    """Yield all that a log or an error tracker prints of *error*."""
    yield "str", str(error)
    yield "repr", repr(error)
    yield "args", repr(error.args)
    yield "traceback", "".join(traceback.format_exception(error))


def of_spans(spans: Iterable[ReadableSpan]) -> Iterator[tuple[str, str]]:
    """Yield all that is exported of *spans*."""
    for span in spans:
        yield "span", span.to_json()


def of_metrics(registry: CollectorRegistry) -> Iterator[tuple[str, str]]:
    """Yield the metrics page, exemplars included."""
    yield "metrics", generate_latest(registry).decode()


def of_log(records: Iterable[logging.LogRecord]) -> Iterator[tuple[str, str]]:
    """Yield every field of *records* and every traceback in them."""
    for record in records:
        yield f"log of {record.name}", f"{record.getMessage()} {vars(record)!r}"
        if record.exc_info and record.exc_info[1] is not None:
            for where, text in of_exception(record.exc_info[1]):
                yield f"log of {record.name}, {where}", text
