"""The looks of the page: no other file is loaded, and the policy allows this text alone."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

CSS: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #4f5864; --line: #d5dae1; --page: #f4f6f8;
  --card: #fff; --link: #0b5cad; --good: #14652f; --good-bg: #dcf3e3; --bad: #9b1c1c;
  --bad-bg: #fde4e4; --warn: #7a4b00; --warn-bg: #fdf0d5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #a9b3bf; --line: #343c47;
  --page: #14181d; --card: #1c2229; --link: #82b7f5; --good: #8fe0a8; --good-bg: #14361f;
  --bad: #ffb3b3; --bad-bg: #451a1a; --warn: #ffd58a; --warn-bg: #3d2c0a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); overflow-wrap: anywhere;
  font: 15px/1.45 system-ui, sans-serif; }
header, main, footer { max-width: 84rem; margin: 0 auto; padding: 0 1rem; }
header { padding-top: 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; }
h2 { font-size: 1.25rem; margin: 0; }
h3 { font-size: 1rem; margin: 1.25rem 0 .4rem; }
a { color: var(--link); }
a:focus-visible, summary:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
p { margin: .3rem 0; }
.soft, dt, th, footer { color: var(--soft); }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .25rem 1rem; padding: 0; }
nav a { display: inline-block; padding: .3rem 0; }
section { background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: 1rem; margin: 0 0 1rem; }
.title { display: flex; flex-wrap: wrap; align-items: center; gap: .25rem .75rem; }
.badge { border-radius: 1rem; padding: .05rem .6rem; font-size: .85rem; font-weight: 600;
  white-space: nowrap; background: var(--good-bg); color: var(--good); }
.badge.warn { background: var(--warn-bg); color: var(--warn); }
.badge.bad { background: var(--bad-bg); color: var(--bad); }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr));
  gap: .5rem 1rem; margin: .75rem 0 0; }
dt { font-size: .8rem; }
dd { margin: 0; font-variant-numeric: tabular-nums; }
meter { width: 5rem; max-width: 100%; height: .8rem; vertical-align: middle; }
table { width: 100%; border-collapse: collapse; font-size: .9rem; }
th { text-align: left; font-weight: 600; font-size: .8rem; white-space: nowrap; }
th, td { padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; font-variant-numeric: tabular-nums; }
tr:last-child td { border-bottom: 0; }
code { font: .85em/1.4 ui-monospace, monospace; }
summary { cursor: pointer; margin: 1rem 0 .4rem; font-weight: 600; padding: .2rem 0; }
footer { padding-bottom: 2rem; font-size: .85rem; }
@media (max-width: 60rem) {
  table, tbody, tr, td { display: block; width: 100%; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tr { padding: .4rem 0; border-bottom: 1px solid var(--line); }
  tr:last-child { border-bottom: 0; }
  td { display: grid; grid-template-columns: 7.5rem minmax(0, 1fr); gap: .5rem; border: 0;
    padding: .1rem 0; }
  td::before { content: attr(data-label); color: var(--soft); font-size: .8rem; }
}
"""

_DIGEST: Final = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()

POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""The Content-Security-Policy under which the page is shown."""
