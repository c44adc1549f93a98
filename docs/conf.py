"""Sphinx settings of the site. ``make docs`` builds it, offline and with warnings as errors.

The source folder is the root of the repository, so that documents which stand beside what they
describe (runbooks, the chart, the examples) are pages of the site where they are, and every link
between them is checked.
"""

from __future__ import annotations

import importlib.metadata

project = "platform_http"
copyright = "the authors of platform_http"  # noqa: A001 - the name that Sphinx reads
release = importlib.metadata.version("platform-http")
version = release

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_parser",
    "docs.extension",
]

root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "benchmarks/RESULTS.md",
    "charts/platform-http-demo/README.md",
    "dashboards/README.md",
    "dashboards/prometheus/README.md",
    "dashboards/runbooks/*.md",
    "docs/**.md",
    "examples/service/README.md",
    "examples/stack/README.md",
]
exclude_patterns = [
    ".*",
    "**/__pycache__",
    "**/node_modules",
    "benchmarks/results",
    "build",
    "dist",
    "docs/_build",
    "docs/pictures",
    "examples/recipes",
    "mutants",
    "platform_http",
    "requirements",
    "scripts",
    "tests",
]

nitpicky = True
# There is no network at build time, so only names of our own can be looked up; type variables and
# their like are no pages.
nitpick_ignore_regex = [(r"py:.*", r"(?!platform_http\.).*|.*\._\w+")]
# Pygments knows no colon in the name of a recorded series.
suppress_warnings = ["misc.highlighting_failure"]

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Source"]

html_theme = "furo"
html_title = f"platform_http {release}"
html_extra_path = ["root"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"source_repository": "", "footer_icons": []}
pygments_style = "friendly"
