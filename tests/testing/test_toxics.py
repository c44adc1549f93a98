"""What each toxic makes of a stream, without a socket."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from platform_http.testing.toxics import (
    Bandwidth,
    End,
    Latency,
    Limit,
    Piece,
    Reset,
    Slicer,
    SlowClose,
    Timeout,
    Toxic,
)

END = Piece(9.0, b"", End.HALF)


def through(toxic: Toxic, *pieces: Piece, seed: int = 0) -> list[Piece]:
    stage = toxic.stage(random.Random(seed))
    return [shaped for piece in pieces for shaped in stage(piece)]


def joined(pieces: Iterable[Piece]) -> bytes:
    return b"".join(piece.data for piece in pieces)


def test_latency_delays_everything_alike_the_end_included() -> None:
    passed = through(Latency(0.5), Piece(1.0, b"a"), Piece(1.25, b"b"), END)
    assert passed == [Piece(1.5, b"a"), Piece(1.75, b"b"), Piece(9.5, b"", End.HALF)]


def test_jitter_varies_the_delay_within_its_bounds_and_keeps_the_order() -> None:
    pieces = [Piece(1.0, b"x") for _ in range(200)]
    dues = [piece.due for piece in through(Latency(0.5, jitter=0.25), *pieces)]
    assert dues == sorted(dues)
    assert len(set(dues)) > 3
    assert 1.25 <= dues[0] < dues[-1] <= 1.75


def test_the_same_seed_gives_the_same_jitter() -> None:
    runs = [through(Latency(1, jitter=1), Piece(0.0, b"x"), seed=seed) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_bandwidth_spreads_bytes_at_its_rate_and_remembers_what_is_under_way() -> None:
    passed = through(Bandwidth(1000), Piece(1.0, b"x" * 500), Piece(1.0, b"y" * 500), END)
    assert joined(passed) == b"x" * 500 + b"y" * 500
    assert passed[-2].due == pytest.approx(2.0)
    assert len(passed) > 10
    assert passed[-1].end is End.HALF


def test_a_line_that_was_idle_has_no_bandwidth_saved_up() -> None:
    passed = through(Bandwidth(100), Piece(1.0, b"x"), Piece(5.0, b"y"))
    assert [piece.due for piece in passed] == pytest.approx([1.01, 5.01])


def test_slow_close_delays_the_end_alone() -> None:
    passed = through(SlowClose(2.0), Piece(1.0, b"a"), END)
    assert passed == [Piece(1.0, b"a"), Piece(11.0, b"", End.HALF)]


@pytest.mark.parametrize(("toxic", "end"), [(Timeout(3.0), End.CLOSE), (Reset(3.0), End.RESET)])
def test_timeout_and_reset_swallow_and_end_once_from_the_first_byte_on(
    toxic: Toxic, end: End
) -> None:
    assert through(toxic, Piece(1.0, b"a"), Piece(2.0, b"b"), END) == [Piece(4.0, b"", end)]


def test_a_timeout_without_seconds_swallows_for_ever() -> None:
    assert through(Timeout(), Piece(1.0, b"a"), END) == []


def test_a_slicer_cuts_and_spaces() -> None:
    passed = through(Slicer(2, delay=0.5), Piece(1.0, b"abcde"), END)
    assert passed == [
        Piece(1.0, b"ab"),
        Piece(1.5, b"cd"),
        Piece(2.0, b"e"),
        END,
    ]


def test_slices_vary_within_their_bounds() -> None:
    passed = through(Slicer(10, variation=5), Piece(1.0, b"x" * 1000))
    sizes = {len(piece.data) for piece in passed[:-1]}
    assert sum(len(piece.data) for piece in passed) == 1000
    assert len(sizes) > 3
    assert min(sizes) >= 5
    assert max(sizes) <= 15


def test_slices_that_arrive_early_wait_for_those_before() -> None:
    passed = through(Slicer(2, delay=0.5), Piece(1.0, b"abcd"), Piece(1.0, b"ef"))
    assert [piece.due for piece in passed] == [1.0, 1.5, 2.0]


def test_a_limit_passes_so_many_bytes_and_closes() -> None:
    passed = through(Limit(3), Piece(1.0, b"ab"), Piece(2.0, b"cd"))
    assert passed == [Piece(1.0, b"ab"), Piece(2.0, b"c"), Piece(2.0, b"", End.CLOSE)]
    assert through(Limit(0), Piece(1.0, b"a")) == [Piece(1.0, b"", End.CLOSE)]


def test_a_stream_within_the_limit_is_left_alone() -> None:
    assert through(Limit(3), Piece(1.0, b"abc"), END) == [Piece(1.0, b"abc"), END]


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (Latency, (-1,), "Latency takes"),
        (Latency, (0.1, 0.2), "Latency takes"),
        (Bandwidth, (0,), "Bandwidth takes"),
        (SlowClose, (-1,), "SlowClose takes"),
        (Timeout, (-1,), "Timeout takes"),
        (Reset, (-1,), "Reset takes"),
        (Slicer, (0,), "Slicer takes"),
        (Slicer, (2, 2), "Slicer takes"),
        (Slicer, (2, 0, -1), "Slicer takes"),
        (Limit, (-1,), "Limit takes"),
    ],
)
def test_a_number_out_of_its_range_is_refused(kind: type, arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(*arguments)
