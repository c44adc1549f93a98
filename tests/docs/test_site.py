"""The site is built offline without a warning, and everything public has its place in it."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from prometheus_client import CollectorRegistry

from docs.extension.commands import paths
from platform_http import pitfalls
from platform_http.settings.variables import PREFIX, variables
from platform_http.telemetry.metrics import Metrics
from tests.docs.fences import ROOT, blocks
from tests.environ import unmeasured

MODULES = [
    "platform_http",
    "platform_http.auth",
    "platform_http.streaming",
    "platform_http.testing",
    "platform_http.testing.parity",
    "platform_http.web",
    "platform_http.websocket",
]


class _Links(HTMLParser):
    """Collects what one page has, and what it asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.resources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.anchors.add(given["id"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag in {"script", "img", "iframe", "source"} and "src" in given:
            self.resources.append(given["src"])
        elif tag == "link" and given.get("rel") not in {"index", "search", "next", "prev"}:
            self.resources.append(given.get("href", ""))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("site")


@pytest.fixture(scope="module")
def built(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sphinx", "-q", "-n", "-W", "--keep-going", "-c", "docs"]
    return subprocess.run(
        [*command, "-d", str(folder / "doctrees"), ".", str(folder / "html")],
        cwd=ROOT,
        env=unmeasured("PLATFORM_HTTP_"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def site(folder: Path, built: subprocess.CompletedProcess[str]) -> Path:
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, _Links]:
    found = {}
    for page in site.glob("**/*.html"):
        found[page] = _Links()
        found[page].feed(page.read_text(encoding="utf-8"))
    assert len(found) > 60
    return found


def test_the_site_is_built_without_a_warning(built):
    assert (built.returncode, built.stderr) == (0, "")


def test_every_link_and_anchor_inside_of_the_site_resolves(site, pages):
    broken = []
    for page, parsed in pages.items():
        for link in {*parsed.links, *parsed.resources}:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            # Furo's "back to top" has an empty fragment.
            anchor = unquote(parts.fragment) if target.suffix == ".html" else ""
            if not target.is_file() or (anchor and anchor not in pages[target].anchors):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert broken == []


def test_no_page_loads_anything_from_elsewhere(site, pages):
    foreign = [
        resource
        for parsed in pages.values()
        for resource in parsed.resources
        if urlsplit(resource).scheme not in {"", "data"} or resource.startswith("//")
    ]
    assert foreign == []
    for style in site.glob("**/*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", text), style.name


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_in_the_reference(module, site):
    names = importlib.import_module(module).__all__
    text = "".join(page.read_text() for page in (site / "docs" / "reference").glob("*.html"))
    assert [name for name in names if f'id="{module}.{name}"' not in text] == []


def test_every_setting_is_in_the_reference(site):
    text = (site / "docs/reference/settings.html").read_text(encoding="utf-8")
    missing = [each.suffix for each in variables().values() if PREFIX + each.suffix not in text]
    assert missing == []


def test_every_metric_is_in_the_reference_with_its_labels(site):
    text = (site / "docs/reference/metrics.html").read_text(encoding="utf-8")
    registry = CollectorRegistry()
    Metrics.of(registry)
    families = list(registry.collect())
    assert len(families) > 35
    for family in families:
        assert f">{family.name}" in text, family.name
    assert "http_response_status_code" in text


def test_every_command_is_in_the_reference(pages, site):
    anchors = pages[site / "docs/reference/commands.html"].anchors
    assert len(paths()) > 5
    assert {"-".join(path) for path in paths()} <= anchors


def test_every_alert_has_its_runbook_in_the_site(site):
    rules = yaml.safe_load((ROOT / "dashboards/prometheus/alerts.yaml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    assert len(alerts) > 10
    for alert in alerts:
        assert (site / f"dashboards/runbooks/{alert}.html").is_file()


def test_every_pitfall_has_a_section_where_its_warning_says(pages, site):
    kinds = [each for each in vars(pitfalls).values() if isinstance(each, pitfalls.Pitfall)]
    assert len(kinds) > 4
    for pitfall in kinds:
        page, _, anchor = pitfall.docs.partition("#")
        assert anchor in pages[site / f"docs/migration/{page}.html"].anchors


def test_every_row_of_the_guide_has_a_page_and_an_example_that_exists():
    text = (ROOT / "docs/migration/guide-map.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)[1:]
    sections = {each for row in rows for each in re.findall(r"\d+|end", row[0])}
    assert sections == {*map(str, range(1, 14)), "end"}
    assert len(re.findall(r"^\| 8 \|", text, re.MULTILINE)) == 9
    for section, asked, here, examples in rows:
        assert "](" in here or "extra" in here, (section, asked)
        for name in re.findall(r"`(\w+)`", examples):
            assert (ROOT / "examples/recipes" / f"{name}.py").is_file(), (section, asked)


def test_every_page_of_the_checklist_shows_old_code_new_code_changes_and_pitfalls():
    text = (ROOT / "docs/migration/index.md").read_text(encoding="utf-8")
    rows = re.findall(r"\]\(([\w-]+\.md)\) \|$", text, re.MULTILINE)
    assert len(rows) == 9
    for row in rows:
        page = (ROOT / "docs/migration" / row).read_text(encoding="utf-8")
        headings = re.findall(r"^## (.+)$", page, re.MULTILINE)
        wanted = ["Old", "New", "What changes", "Watch out for", "Example"]
        assert [each for each in headings if each in wanted] == wanted, row
        assert "{literalinclude} /examples/recipes/" in page.partition("## Example")[2], row


def test_every_recipe_is_shown_on_a_page():
    recipes = {path.stem for path in (ROOT / "examples/recipes").glob("[a-z]*.py")}
    shown = set()
    for page in (ROOT / "docs").glob("**/*.md"):
        for block in blocks(page.read_text(encoding="utf-8")):
            shown |= set(re.findall(r"examples/recipes/(\w+)\.py", block.language))
    assert shown == recipes


def test_the_page_at_the_root_leads_to_the_first_page(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    (target,) = re.findall(r'<a href="([^"]+)"', text)
    assert (site / target).is_file()
