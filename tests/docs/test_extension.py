"""Generated parts are put where a page asks for them, and say what the code says."""

from __future__ import annotations

import re

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from docs.extension import PARTS, filled
from platform_http import PlatformHttpError, outcomes
from platform_http.settings.variables import PREFIX, variables
from platform_http.telemetry.metrics import Metrics
from tests.docs.fences import PAGES, ROOT


def test_a_place_is_filled_and_the_rest_stays():
    text = filled("before\n\n<!-- generated: errors -->\n\nafter\n")
    assert text.startswith("before\n\n```text\nPlatformHttpError(Exception)\n")
    assert text.endswith("\nafter\n")


def test_a_place_for_something_unknown_is_an_error():
    with pytest.raises(KeyError, match="colours"):
        filled("<!-- generated: colours -->\n")


def test_a_setting_stands_below_its_section_with_type_and_default():
    text = PARTS["settings"]()
    section = text.partition("\n## TIMEOUT\n")[2].partition("\n## ")[0]
    assert "`PLATFORM_HTTP_TIMEOUT__READ`\n: silence between two reads" in section
    assert "default: `4`" in section
    assert text.count(f"\n`{PREFIX}") == len(variables())


def test_the_tree_of_errors_has_those_of_every_module():
    text = PARTS["errors"]()
    assert "├ CircuitOpenError" in text
    assert "ChecksumError(aiohttp.ClientPayloadError)" in text
    assert "| `WebSocketClosedError` | `response_ended` |" in text


def test_help_is_plain_text_whatever_the_terminal():
    text = PARTS["commands"]()
    assert "## platform-http demo upstream\n" in text
    assert "\x1b" not in text
    assert "╭" not in text


def _page(name: str) -> str:
    return (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")


def test_errors_that_code_for_aiohttp_does_not_catch_are_named():
    PARTS["errors"]()
    ours = [PlatformHttpError]
    for each in ours:
        ours += each.__subclasses__()
    foreign = {
        each.__name__
        for each in ours[1:]
        if each.__module__.startswith("platform_http.")
        and not issubclass(each, aiohttp.ClientError | TimeoutError)
    }
    assert "ConfigurationError" in foreign
    first = _page("errors.md").partition("<!--")[0]
    assert [name for name in foreign if f"`{name}`" not in first] == []


def test_every_word_of_error_type_is_explained():
    words = {word for _, word in outcomes._ERROR_TYPES} | {"invalid_response", "_OTHER"}
    words |= set(re.findall(r"^    error_type = \"(\w+)\"", _source("errors.py"), re.MULTILINE))
    assert len(words) > 15
    explained = set(re.findall(r"^\| `(\w+)` \| ", _page("errors.md"), re.MULTILINE))
    assert words - explained == set()


def test_every_reason_not_to_resend_is_explained():
    reasons = set()
    for module in ("policies/retry.py", "middlewares/retry.py"):
        reasons |= set(re.findall(r"Stop\(\"(\w+)\"\)", _source(module)))
    assert len(reasons) > 6
    explained = set(re.findall(r"^\| `(\w+)` \| ", _page("errors.md"), re.MULTILINE))
    assert reasons - explained == set()


def test_every_attribute_of_a_span_is_explained():
    attributes = set(re.findall(r"\"((?:platform_http|http|url|network)\.[\w.]+)\"", _spans()))
    assert len(attributes) > 20
    text = _page("spans.md")
    assert [each for each in sorted(attributes) if f"`{each}`" not in text] == []


def test_settings_and_metrics_that_pages_name_exist():
    settings = {each.suffix for each in variables().values()}
    registry = CollectorRegistry()
    Metrics.of(registry)
    metrics = {family.name for family in registry.collect()}
    # Fixtures and options of the pytest plugin have the same prefix.
    plugin = (ROOT / "pytest_platform_http.py").read_text(encoding="utf-8")
    unknown = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"\b([A-Z]+__[A-Z_]+[A-Z])\b", text):
            suffix = re.sub(r"^(PLATFORM_HTTP_)?(CLIENTS__[A-Z]+__)?", "", name)
            if not any(each.startswith(suffix) for each in settings):
                unknown.add(name)
        for name in re.findall(r"\b((?:platform_http|http_client)_[a-z_]+[a-z])\b", text):
            family = re.sub(r"_(total|bucket|count|sum)$", "", name)
            if not any(each.startswith(family) for each in metrics) and name not in plugin:
                unknown.add(name)
    assert unknown == set()


def _spans() -> str:
    return "".join(_source(f"telemetry/{name}.py") for name in ("spans", "websocket_spans"))


def _source(module: str) -> str:
    return (ROOT / "platform_http" / module).read_text(encoding="utf-8")
