# ruff: noqa: INP001, S310 - runs by "python -c", and asks only addresses that the chart gives
"""Check that every role is alive, ready and measured; run by ``helm test`` within the image."""

import os
import sys
import time
import urllib.request

# What a page must hold beside answering 200.
PAGES = {"/healthz": "", "/readyz": "", "/metrics": "platform_http_build_info"}
PATIENCE = 60.0


def problem_of(url: str, needle: str) -> str | None:
    """Return what is wrong with the page, or ``None``."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            text = response.read().decode()
    except (OSError, ValueError) as error:
        return f"{url}: {error}"
    return None if needle in text else f"{url}: holds no {needle}"


def main() -> None:
    """Ask until all pages are right; end with 1 and the first problem when patience is over."""
    # The pages are in the cluster, whatever proxy the image was given.
    urllib.request.install_opener(urllib.request.build_opener(urllib.request.ProxyHandler({})))
    give_up = time.monotonic() + PATIENCE
    for address in os.environ["ADDRESSES"].split():
        for path, needle in PAGES.items():
            while problem := problem_of(address + path, needle):
                if time.monotonic() > give_up:
                    sys.exit(problem)
                time.sleep(0.5)
            sys.stdout.write(f"{address}{path} is fine\n")


main()
