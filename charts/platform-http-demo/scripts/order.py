# ruff: noqa: INP001, S310 - runs by "python -c", and asks only addresses that the chart gives
"""Check that an order comes through the caller; run by ``helm test`` within the image."""

import json
import os
import sys
import time
import urllib.request

# The upstreams fail on purpose at times, so a refused order is asked for again.
PATIENCE = 60.0


def missing_from(url: str) -> list[str]:
    """Return the parts that the order had to do without.

    Raises:
        OSError: If there is no answer of 200.
        ValueError: If the answer is not an order with an invoice.
    """
    with urllib.request.urlopen(url, timeout=10) as response:
        order = json.loads(response.read())
    if not isinstance(order, dict) or not order.get("invoice"):
        raise ValueError("the answer is no order with an invoice")
    return list(order["missing"])


def main() -> None:
    """Ask until an order comes; end with 1 and the last problem when patience is over."""
    # The caller is in the cluster, whatever proxy the image was given.
    urllib.request.install_opener(urllib.request.build_opener(urllib.request.ProxyHandler({})))
    url = f"{os.environ['CALLER']}/orders/42"
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            missing = missing_from(url)
        except (OSError, ValueError) as error:
            if time.monotonic() > give_up:
                sys.exit(f"{url}: {error}")
            time.sleep(0.5)
        else:
            sys.stdout.write(f"{url}: an order, missing {missing or 'nothing'}\n")
            return


main()
