from __future__ import annotations

import pytest

from tests.servers import program


def test_a_program_that_is_not_installed_skips_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUIRE_ALL", raising=False)

    with pytest.raises(pytest.skip.Exception, match="apt-get install no-such-program"):
        program("no-such-program")


def test_a_program_that_is_not_installed_fails_the_test_where_everything_is_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUIRE_ALL", "1")

    with pytest.raises(pytest.fail.Exception, match="apt-get install no-such-program"):
        program("no-such-program")


def test_a_missing_program_is_told_with_the_package_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("REQUIRE_ALL", raising=False)

    with pytest.raises(pytest.skip.Exception, match=r"promtool .*apt-get install prometheus\)"):
        program("promtool")
