"""The smallest service, against the demo's upstreams."""

from __future__ import annotations

import ast
import json
import sys
import urllib.error
import urllib.request

import pytest

from tests.examples.commands import PLATFORM_HTTP, ROOT, get, printing_its_url

GATEWAY = "examples/service/gateway.py"


def test_it_answers_and_says_so_when_an_upstream_has_failed_for_good() -> None:
    with printing_its_url(
        PLATFORM_HTTP, "demo", "upstream", DEMO_PORT="0", DEMO_DAY="0"
    ) as control:
        phases = json.loads(get(f"{control}phases"))
        environ = {
            f"PLATFORM_HTTP_CLIENTS__{name.upper()}__BASE_URL": phases[name]["url"]
            for name in ("billing", "inventory")
        }
        with printing_its_url(sys.executable, GATEWAY, PORT="0", **environ) as gateway:
            order = json.loads(get(f"{gateway}orders/42"))
            assert set(order) == {"invoice", "stock"}
            assert "platform_http_calls_total" in get(f"{gateway}metrics")
            incident = {"client": "billing", "fault": "unavailable", "seconds": 60}
            request = urllib.request.Request(
                f"{control}phases", json.dumps(incident).encode(), method="PUT"
            )
            with urllib.request.urlopen(request, timeout=10):
                pass
            with pytest.raises(urllib.error.HTTPError, match="502"):
                get(f"{gateway}orders/42")


def test_it_uses_only_what_is_public() -> None:
    tree = ast.parse((ROOT / GATEWAY).read_text(encoding="utf-8"))
    imported = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    import platform_http
    import platform_http.web

    public = {f"platform_http.{name}" for name in platform_http.__all__}
    public |= {f"platform_http.web.{name}" for name in platform_http.web.__all__}
    assert {name for name in imported if name.startswith("platform_http")} <= public
