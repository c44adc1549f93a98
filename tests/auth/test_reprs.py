"""What asyncio's debug log shows of tokens: nothing."""

import pytest

from platform_http.auth.token_endpoint import Grant
from platform_http.auth.token_file import TokenVersion


@pytest.mark.parametrize(
    "value", [Grant("geheim", 60.0), TokenVersion(1, 2, 6, "geheim")], ids=["grant", "file"]
)
def test_no_text_of_a_token_shows_it(value: object) -> None:
    assert "geheim" not in f"{value} {value!r}"
