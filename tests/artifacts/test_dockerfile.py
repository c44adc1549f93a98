"""Without a container engine the build is replayed: the same commands on the same files."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
UNPRIVILEGED = 10001


@dataclass(frozen=True)
class Instruction:
    stage: int
    name: str
    rest: str


def instructions() -> list[Instruction]:
    """Return the instructions of the Dockerfile; stage 0 is before the first FROM."""
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found: list[Instruction] = []
    stage = 0
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, rest = line.partition(" ")
            stage += name == "FROM"
            found.append(Instruction(stage, name, " ".join(rest.split())))
    return found


def named(name: str, stage: int | None = None) -> list[str]:
    return [
        each.rest for each in instructions() if each.name == name and stage in {None, each.stage}
    ]


def in_context(path: Path) -> bool:
    """Tell whether the builder is given *path*, relative to the root; the last rule wins."""
    given = True
    parents = [path, *path.parents]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        names = [str(each) for each in parents]
        if pattern.startswith("**/"):
            matches = any(fnmatch.fnmatch(each.name, pattern[3:]) for each in parents)
        else:
            matches = any(fnmatch.fnmatch(name, pattern) for name in names if name != ".")
        if matches:
            given = line.startswith("!")
    return given


def test_the_image_is_built_in_stages_from_a_base_with_a_version():
    bases = named("FROM")
    assert len(bases) == 2
    assert {base.split()[0] for base in bases} == {"${PYTHON_IMAGE}"}
    (base,) = named("ARG", stage=0)
    name, _, tag = base.removeprefix("PYTHON_IMAGE=").partition(":")
    assert name == "python"
    assert re.fullmatch(r"3\.\d+-slim-bookworm", tag)
    assert "latest" not in "".join(each.rest for each in instructions())
    supported = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    assert f"Programming Language :: Python :: {tag.partition('-')[0]}" in supported


def test_it_runs_as_nobody_in_particular_and_holds_no_tools():
    (user,) = named("USER", stage=2)
    assert user == f"{UNPRIVILEGED}:{UNPRIVILEGED}"
    values = yaml.safe_load((ROOT / "charts/platform-http-demo/values.yaml").read_text())
    assert values["pod"]["runAsUser"] == UNPRIVILEGED
    last_stage = [each for each in instructions() if each.stage == 2]
    order = [each.name for each in last_stage]
    assert order.index("USER") > max(i for i, name in enumerate(order) if name in {"RUN", "COPY"})
    assert "pip uninstall" in named("RUN", stage=2)[0]
    # Only what the first stage made comes along.
    assert named("COPY", stage=2) == ["--from=build /opt/platform-http /opt/platform-http"]


def test_it_is_labelled_and_starts_the_program():
    labels = " ".join(named("LABEL"))
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in labels
    assert named("ENTRYPOINT") == ['["platform-http"]']
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"VERSION={version}" in named("ARG", stage=2)


def test_it_opens_the_ports_of_the_chart():
    (ports,) = named("EXPOSE")
    values = yaml.safe_load((ROOT / "charts/platform-http-demo/values.yaml").read_text())
    first = values["upstream"]["port"]
    expected = f"{values['caller']['port']} {values['load']['port']} {first}-{first + 3}"
    assert ports == expected


def test_no_secret_is_part_of_a_build():
    words = re.compile(r"(password|passwd|secret|token|api_?key|credential)", re.IGNORECASE)
    for each in instructions():
        assert not words.search(each.rest), each
    for name in (".env", ".git/config", ".venv/bin/python", "requirements/dev.txt", "id_rsa"):
        assert not in_context(Path(name)), name


def test_everything_that_is_copied_exists_and_reaches_the_builder():
    sources = [Path(source) for rest in named("COPY", stage=1) for source in shlex.split(rest)[:-1]]
    assert len(sources) > 3
    for source in sources:
        assert (ROOT / source).exists(), source
        assert in_context(source), source
    assert in_context(Path("platform_http/cli/demo/run.py"))
    assert not in_context(Path("platform_http/__pycache__/call.cpython-311.pyc"))


def test_requirements_are_pinned_by_hash_and_name_no_host():
    for name in ("build", "runtime", "uv"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        pins = [line for line in text.splitlines() if "==" in line and not line.startswith(" ")]
        assert pins
        assert len(pins) == len(re.findall(r"\\\n(?:    --hash=\S+(?: \\\n)?)+", text))
        assert "://" not in text
    for command in named("RUN", stage=1):
        for install in re.findall(r"pip install .*?(?:&&|$)", command):
            assert "--require-hashes" in install or "--no-deps --no-index" in install


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """Yield the folder that a build leaves at /opt/platform-http."""
    with tempfile.TemporaryDirectory(prefix="platform-http-image-") as name:
        root = Path(name)
        # The user of the image looks at it, whoever made it.
        root.chmod(0o755)
        (root / "source").mkdir()
        for each in instructions():
            if (each.stage, each.name) == (1, "COPY"):
                *sources, target = shlex.split(each.rest)
                for source in sources:
                    _copy(Path(source), root / "source" / target, into=target.endswith("/"))
            elif (each.stage, each.name) == (1, "RUN"):
                _run(each.rest, root)
        yield root / "opt" / "platform-http"


def _run(command: str, root: Path) -> None:
    """Run *command* with *root* in place of the image's root folder."""
    # How packages are reached from here is this machine's business, so its variables stay.
    environ = {name: os.environ[name] for name in os.environ.keys() - {"VIRTUAL_ENV"}}
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    finished = subprocess.run(
        ["sh", "-euc", re.sub(r"(?<!\S)/(?=(?:build|opt|wheel)\b)", f"{root}/", command)],
        cwd=root / "source",
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, f"{command}: {finished.stderr}"


def _copy(source: Path, target: Path, *, into: bool) -> None:
    place = target / source.name if into else target
    place.parent.mkdir(parents=True, exist_ok=True)
    if (ROOT / source).is_dir():
        shutil.copytree(
            ROOT / source,
            place,
            ignore=lambda folder, names: {
                name for name in names if not in_context((Path(folder) / name).relative_to(ROOT))
            },
        )
    else:
        shutil.copy(ROOT / source, place)


def test_the_image_holds_the_library_and_no_installer(image):
    packages = {path.name for path in image.glob("lib/python*/site-packages/*")}
    assert "platform_http" in packages
    assert "typer" in packages
    assert "orjson" in packages
    assert not packages & {"pip", "uv", "hatchling", "pytest", "mypy"}
    (library,) = image.glob("lib/python*/site-packages/platform_http")
    assert (library / "py.typed").exists()
    assert list((library / "__pycache__").glob("call.*.pyc"))


def test_the_installed_program_shows_its_commands(image):
    finished = subprocess.run(
        [image / "bin/platform-http", "--help"],
        capture_output=True,
        text=True,
        env={"PATH": str(image / "bin")},
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "demo" in finished.stdout


def test_a_role_runs_as_an_unprivileged_user_and_ends_on_sigterm(image):
    port = free_port()
    command = [str(image / "bin/platform-http"), "demo", "caller", "--port", str(port)]
    if os.geteuid() == 0:
        user = (f"--reuid={UNPRIVILEGED}", f"--regid={UNPRIVILEGED}", "--clear-groups")
        # It may read everything, because the interpreter may lie in the home of root.
        reads = ("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search")
        command = ["setpriv", *user, *reads, "--no-new-privs", *command]
    process = subprocess.Popen(
        command,
        cwd="/",
        env={"PATH": f"{image / 'bin'}:{os.environ['PATH']}", "DEMO_DRAIN_DELAY": "0"},
        stderr=subprocess.PIPE,
    )
    try:
        page = ready_page(process, f"http://127.0.0.1:{port}/readyz")
        owner = Path(f"/proc/{process.pid}").stat().st_uid
    finally:
        process.terminate()
        try:
            _, errors = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
    assert b"ready" in page
    assert owner == (UNPRIVILEGED if os.geteuid() == 0 else os.geteuid())
    assert process.returncode == 0, errors


def ready_page(process: subprocess.Popen[bytes], url: str) -> bytes:
    """Return the page at *url* as soon as there is one."""
    give_up = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < give_up:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as response:
            return response.read()
        time.sleep(0.05)
    pytest.fail(f"not ready; ended with {process.poll()}")
