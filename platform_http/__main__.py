"""``python -m platform_http`` is ``platform-http``."""

from platform_http.cli import main

main()
