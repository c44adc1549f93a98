"""Stop with a plain sentence when the interpreter is too old."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this file exists to run on older interpreters
    version = ".".join(map(str, sys.version_info[:3]))
    sys.exit(
        f"platform_http needs Python 3.11 or newer, this is {version}: run make PYTHON=python3.x"
    )
