"""`make audit` fails where it cannot tell, and looks at everything that is pinned."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.servers import free_port

ROOT = Path(__file__).parents[2]
BIN = str(Path(sys.executable).parent)


def _command() -> str:
    recipe = re.search(r"^audit:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    return recipe[1].replace("\\\n", " ").replace("$$", "$").replace("$(BIN)", BIN)


def test_it_passes_over_nothing() -> None:
    # Without --strict a package that the service does not know is skipped, and the audit passes.
    assert " --strict " in _command()
    names = re.search(r"for lock in ([^;]+);", _command())
    assert names is not None
    # The wheel that carries helm has no code of its own.
    audited = {*names[1].split(), "helm"}
    assert audited == {each.stem for each in (ROOT / "requirements").glob("*.txt")}


def test_without_the_advisories_it_fails_and_says_so(tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    finished = subprocess.run(
        ["sh", "-c", _command()],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "HTTPS_PROXY": nowhere,
            "https_proxy": nowhere,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert finished.returncode != 0
    assert "No known vulnerabilities" not in finished.stdout + finished.stderr
    assert "pypi.org" in finished.stderr
