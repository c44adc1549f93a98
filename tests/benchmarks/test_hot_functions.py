from __future__ import annotations

from pathlib import Path

from benchmarks.hot_functions import Symbols, by_function, total_of

TRAMPOLINES = """\
1000 10 py::outer:/a.py
1010 10 py::inner:/a.py
"""

# Names are spelled out once; the line after "calls=" holds the cost of what was called.
DUMP = """\
totals: 170
fn=(1) 0x0000000000001000
0x1000 0 5
cfn=(2) _PyEval
calls=2 0x9000
0x1000 0 160
fn=(2)
0x9000 0 40
cfn=(3) 0x0000000000001010'2
calls=3 0x1010
0x9000 0 90
cfn=(4) 0x000000000000abcd
calls=1 0xabcd
0x9000 0 7
fn=(5) main
0x1 0 5
cfn=(1)
calls=2 0x1000
0x1 0 165
"""


def test_instructions_are_summed_by_python_function_callees_included(tmp_path: Path) -> None:
    path = tmp_path / "map"
    path.write_text(TRAMPOLINES)
    costs, calls = by_function(DUMP, Symbols(path))
    assert costs == {"py::outer:/a.py": 165, "py::inner:/a.py": 90}
    assert calls == {"py::outer:/a.py": 2, "py::inner:/a.py": 3}
    assert total_of(DUMP) == 170
