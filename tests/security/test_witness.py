"""Had one of the secrets been told, the search would have found it."""

from __future__ import annotations

import base64
import logging
import warnings
from types import SimpleNamespace

import pytest
from opentelemetry import trace

from platform_http.testing import FaultServer
from tests.security.canaries import CANARIES, found_in
from tests.security.stage import ANSWER, answer, stage
from tests.security.witness import Witness, witness

SECRET = CANARIES["query"]


def _log(heard: Witness) -> None:
    logging.getLogger("asyncio").debug("said %s", SECRET)


def _log_extra(heard: Witness) -> None:
    logging.getLogger("platform_http").debug("said", extra={"said": SECRET})


def _log_traceback(heard: Witness) -> None:
    try:
        raise ValueError(SECRET)
    except ValueError:
        logging.getLogger("aiohttp.client").exception("failed")


def _warn(heard: Witness) -> None:
    warnings.warn(f"said {SECRET}", ResourceWarning, stacklevel=1)


def _warn_of_an_object(heard: Witness) -> None:
    warnings.warn("said", ResourceWarning, stacklevel=1, source=SimpleNamespace(said=SECRET))


def _raise_later(heard: Witness) -> None:
    class Broken:
        def __del__(self) -> None:
            raise ValueError(SECRET)

    Broken()


def _cause(heard: Witness) -> None:
    error = ValueError("a")
    error.__cause__ = KeyError("b")
    error.__cause__.__context__ = TypeError(SECRET)
    heard.errors.append(error)


def _note(heard: Witness) -> None:
    error = ValueError("a")
    error.add_note(SECRET)
    heard.errors.append(error)


def _attribute(heard: Witness) -> None:
    error = ValueError("a")
    error.headers = {"X": SECRET}
    heard.errors.append(error)


def _group(heard: Witness) -> None:
    heard.errors.append(ExceptionGroup("a", [ValueError("b"), ValueError(SECRET)]))


def _span(heard: Witness) -> None:
    tracer = heard.observed.provider.get_tracer("test")
    with tracer.start_as_current_span("a"):
        trace.get_current_span().add_event("b", {"said": SECRET})


def _metric(heard: Witness) -> None:
    from prometheus_client import Counter

    Counter("said", "", ["what"], registry=heard.observed.registry).labels(SECRET).inc()


def _exemplar(heard: Witness) -> None:
    from prometheus_client import Counter

    Counter("said", "", registry=heard.observed.registry).inc(exemplar={"what": SECRET})


def _show(heard: Witness) -> None:
    heard.show("thing", {"a": SECRET})


@pytest.mark.parametrize(
    "tell",
    [
        _log,
        _log_extra,
        _log_traceback,
        _warn,
        _warn_of_an_object,
        _raise_later,
        _cause,
        _note,
        _attribute,
        _group,
        _span,
        _metric,
        _exemplar,
        _show,
    ],
)
def test_a_secret_is_found_wherever_it_is_told(tell) -> None:
    with witness() as heard:
        tell(heard)
    assert any(line.startswith("query in") for line in found_in(heard.texts()))


@pytest.mark.parametrize("before", ["", "x", "xx", "user:"])
def test_a_secret_is_found_in_base64(before: str) -> None:
    text = base64.b64encode(f"{before}{SECRET}:end".encode()).decode()
    assert found_in([("a header", text)])


def test_a_secret_is_found_when_it_is_shortened() -> None:
    assert found_in([("a repr", f"'{SECRET[:12]}..."), ("a repr", f"...{SECRET[-12:]}'")])


async def test_the_secrets_are_really_sent_and_received() -> None:
    async with stage() as made, FaultServer([answer()]) as server:
        kept: list[bytes] = []

        async def keep(response) -> None:
            kept.append(await response.read())
            kept.extend(each.encode() for each in response.headers.values())

        assert await made.call(server.url, consume=keep) == 200
    (request,) = server.requests
    sent = f"{request.target} {request.headers} {request.body!r}"
    login = f"{CANARIES['url-user']}:{CANARIES['url-password']}"
    for place in ("query", "header", "cookie", "settings-header", "request-body"):
        assert CANARIES[place] in sent
    assert base64.b64encode(login.encode()).decode() in sent
    assert kept[0] == ANSWER
    for place in ("answer-header", "answer-cookie"):
        assert any(CANARIES[place].encode() in each for each in kept)
