"""Every code block of the documents runs, or says why it does not."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from platform_http import SessionFactory, load_settings
from platform_http.cli import build_app
from tests.docs.fences import PAGES, ROOT, Block, blocks, name_of
from tests.docs.world import CLIENTS, world
from tests.environ import unmeasured

if TYPE_CHECKING:
    from collections.abc import Iterator

# What an instruction to Sphinx holds is judged by the build of the site.
SHOWN = {"", "text", "promql", "html", "http"}
WITH_TESTS_OF_THEIR_OWN = {
    "README.md": {"python"},  # tests/test_readme.py
    "docs/tutorial.md": {"python", "console"},  # tests/docs/test_tutorial.py
    "docs/choosing-the-numbers.md": {"sh"},  # tests/cli/test_simulate.py
}
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with world() as url:
        yield url


class Page:
    """Runs the blocks of one page, in order, in one namespace and on one loop."""

    def __init__(self, page: Path, base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._page = page
        self._base_url = base_url
        self._monkeypatch = monkeypatch
        self._names: dict[str, object] = {"__name__": "a_page"}
        self._runner = asyncio.Runner()
        self._factory: SessionFactory | None = None
        self.printed = ""

    def run(self, block: Block) -> None:
        language = block.language.partition(" ")[0]
        if block.comment == "prints":
            assert self.printed == block.text, f"line {block.line}"
        elif block.comment == "tests":
            self._run_tests(block)
        elif language not in SHOWN and not language.startswith("{"):
            getattr(self, f"_run_{language}")(block)

    def close(self) -> None:
        if self._factory is not None:
            self._runner.run(self._factory.__aexit__(None, None, None))
        self._runner.close()

    def _run_python(self, block: Block) -> None:
        # Padded, so that a traceback names the line of the page.
        text = "\n" * (block.line - 1) + block.text
        code = compile(text, self._page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        awaits = bool(code.co_flags & inspect.CO_COROUTINE)
        if self._factory is None and {"factory", "billing"} & {*code.co_names} - {*self._names}:
            self._runner.run(self._enter())
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            result = eval(code, self._names)
            if awaits:
                self._runner.run(result)
        self.printed = printed.getvalue()

    async def _enter(self) -> None:
        factory = await SessionFactory(registry=CollectorRegistry()).__aenter__()
        self._factory = factory
        # What the index says that a bare snippet has.
        self._names.setdefault("factory", factory)
        self._names.setdefault("billing", factory.session("billing"))

    def _run_tests(self, block: Block) -> None:
        tests = Path(f"test_line_{block.line}.py")
        tests.write_text(block.text, encoding="utf-8")
        options = ["-q", "-p", "no:cacheprovider", "-W", "error"]
        # By name, because finding them imports every plugin of the environment.
        for plugin in ("asyncio", "platform_http"):
            options += ["-p", plugin]
        for setting in ("asyncio_mode=auto", "asyncio_default_fixture_loop_scope=function"):
            options += ["-o", setting]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, "--rootdir=.", str(tests)],
            env={**unmeasured(), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _run_console(self, block: Block) -> None:
        for line in block.text.splitlines():
            if line.startswith("$ "):
                self._run_command(shlex.split(line[2:], comments=True))

    def _run_sh(self, block: Block) -> None:
        for line in block.text.splitlines():
            self._run_command(shlex.split(line, comments=True))

    def _run_command(self, words: list[str]) -> None:
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            self._monkeypatch.setenv(*words.pop(0).split("=", 1))
        match words:
            case ["platform-http", *arguments]:
                result = CliRunner().invoke(build_app(), arguments)
                assert result.exit_code == 0, f"{words}: {result.output}{result.exception!r}"
                self.printed = result.stdout
            case ["export", assignment]:
                name, _, value = assignment.partition("=")
                # The hosts of the documents do not exist; the world stands for each of them.
                self._monkeypatch.setenv(name, self._base_url if "BASE_URL" in name else value)
            case ["pip", "install", wanted]:
                extras = re.fullmatch(r"platform-http(?:\[([a-z,]+)\])?", wanted)
                assert extras, wanted
                assert set((extras[1] or "cli").split(",")) <= set(EXTRAS)
            case ["make", target, *_]:
                assert target in TARGETS
            case []:
                pass
            case _:
                pytest.fail(f"{words}: mark the block as not run, with the reason")

    def _run_env(self, block: Block) -> None:
        with pytest.MonkeyPatch.context() as monkeypatch:
            for client in CLIENTS:
                monkeypatch.delenv(f"PLATFORM_HTTP_CLIENTS__{client}__BASE_URL")
            for line in block.text.splitlines():
                if line and not line.startswith("#"):
                    name, _, value = line.partition("=")
                    monkeypatch.setenv(name, value.strip("'"))
            settings = load_settings()
            for name in ("default", *settings.client_names):
                settings.client(name)

    def _run_toml(self, block: Block) -> None:
        tomllib.loads(block.text)

    def _run_yaml(self, block: Block) -> None:
        assert list(yaml.safe_load_all(block.text))

    def _run_json(self, block: Block) -> None:
        json.loads(block.text)


@pytest.mark.usefixtures("fresh_opentelemetry")
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_of_a_page_runs(page, base_url, monkeypatch, tmp_path):
    own = WITH_TESTS_OF_THEIR_OWN.get(name_of(page), set())
    chosen = [
        block
        for block in blocks(page.read_text(encoding="utf-8"))
        if not block.not_run and block.language not in own
    ]
    if not any(block.language not in SHOWN for block in chosen):
        return
    for client in CLIENTS:
        monkeypatch.setenv(f"PLATFORM_HTTP_CLIENTS__{client}__BASE_URL", base_url)
    monkeypatch.chdir(tmp_path)
    story = Page(page, base_url, monkeypatch)
    try:
        for block in chosen:
            story.run(block)
    finally:
        story.close()


def test_what_is_not_run_says_why():
    for page in PAGES:
        for block in blocks(page.read_text(encoding="utf-8")):
            if block.comment.startswith("not run"):
                assert len(block.not_run) > 10, f"{name_of(page)}, line {block.line}"


def test_no_fence_is_overlooked():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fences = len(re.findall(r"^[ ]*(?:`{3,}|:{3,})", text, re.MULTILINE))
        assert fences == 2 * len(blocks(text)), name_of(page)


def test_no_sample_lets_its_caller_choose_another_path_of_the_upstream():
    # "{id}" of a route matches "..%2Fadmin", and match_info has it decoded.
    sources = {str(each): each.read_text("utf-8") for each in (ROOT / "examples").rglob("*.py")}
    for page in PAGES:
        page_blocks = blocks(page.read_text(encoding="utf-8"))
        sources |= {f"{name_of(page)}:{each.line}": each.text for each in page_blocks}
    found = {
        (place, name): f"{{{name}:" in source
        for place, source in sources.items()
        for name in re.findall(r"f\"[^\"]*\{request\.match_info\['(\w+)'\]\}", source)
    }
    assert len(found) > 4
    assert [place for place, bounded in found.items() if not bounded] == []


def test_few_blocks_are_not_run():
    found = [block for page in PAGES for block in blocks(page.read_text(encoding="utf-8"))]
    code = [block for block in found if block.language in {"python", "env", "toml", "yaml", "json"}]
    assert len([block for block in code if block.not_run]) <= len(code) // 5
