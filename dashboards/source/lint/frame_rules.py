"""Rules about a dashboard as a whole: its variables, links, annotations and manners."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.source import promql
from dashboards.source.query import VARIABLES

if TYPE_CHECKING:
    from dashboards.source.lint.board import Board, Complaints, Set

_ORDER: Final = ["datasource", *VARIABLES.values()]
_LABEL_VALUES: Final = re.compile(r"label_values\((.+), (\w+)\)")
_MOST_PANELS: Final = 20


def schema(board: Board, _: Set) -> Complaints:
    """The JSON is what Grafana's schema knows: nothing is lost when its types read and write it."""
    register_default_plugins()
    try:
        read = Dashboard.from_json(board.content)
        again = json.loads(JSONEncoder().encode(read))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        yield board.name, f"Grafana's types cannot read it: {error!r}"
        return
    for entry in (*again.get("links", []), *again.get("annotations", {}).get("list", [])):
        entry.pop("placement", None)
    for key in sorted(board.content.keys() | again.keys()):
        if board.content.get(key) != again.get(key):
            yield board.name, f"{key!r} holds something that Grafana's types do not know"


def unique_uid(board: Board, boards: Set) -> Complaints:
    """Every dashboard has a uid of its own, at most 40 letters, digits, "-" or "_"."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", board.uid):
        yield board.name, f"uid {board.uid!r} is none that Grafana takes"
    same = [other.name for other in boards.boards if other.uid == board.uid]
    if len(same) > 1:
        yield board.name, f"uid {board.uid!r} is also that of {', '.join(same)}"


def uneditable_dashboard(board: Board, _: Set) -> Complaints:
    """``editable`` is false: changes are made in the source, or they are lost."""
    if board.content.get("editable") is not False:
        yield board.name, "editable is not false"


def shared_frame(board: Board, _: Set) -> Complaints:
    """Title, question, tag, crosshair, and annotations for open circuits and deploys are there."""
    content = board.content
    if not content.get("title") or not content.get("description"):
        yield board.name, "title or description is missing"
    if "platform-http" not in content.get("tags", []):
        yield board.name, "has no tag platform-http, by which the others find it"
    if content.get("graphTooltip") != 1:
        yield board.name, "graphTooltip is not 1, the shared crosshair"
    asked = " ".join(str(annotation.get("expr")) for annotation in board.annotations)
    for metric in ("platform_http_circuit_state", "platform_http_build_info"):
        if metric not in asked:
            yield board.name, f"no annotation asks for {metric}"


def panel_count(board: Board, _: Set) -> Complaints:
    """There are at most 20 panels."""
    count = sum(1 for _ in board.panels())
    if count > _MOST_PANELS:
        yield board.name, f"{count} panels are more than {_MOST_PANELS}"


def template_datasource(board: Board, _: Set) -> Complaints:
    """The data source is a variable called ``datasource``, of type prometheus."""
    variable = board.variables.get("datasource", {})
    if variable.get("type") != "datasource" or variable.get("query") != "prometheus":
        yield board.name, "has no variable 'datasource' that chooses a Prometheus"
    elif variable.get("label") != "Data source":
        yield board.name, "the variable 'datasource' is not labelled 'Data source'"


def template_job(board: Board, _: Set) -> Complaints:
    """``job`` is a variable of several values."""
    yield from _is_template(board, "job", "Job")


def template_instance(board: Board, _: Set) -> Complaints:
    """``instance`` is a variable of several values."""
    yield from _is_template(board, "instance", "Instance")


def template_client(board: Board, _: Set) -> Complaints:
    """``client`` is a variable of several values."""
    yield from _is_template(board, "client", "Client")


def template_server(board: Board, _: Set) -> Complaints:
    """``server`` is a variable of several values."""
    yield from _is_template(board, "server", "Server")


def template_order(board: Board, _: Set) -> Complaints:
    """The variables are the five of the contract, in their order, so that links keep them all."""
    if list(board.variables) != _ORDER:
        yield board.name, f"its variables are {list(board.variables)}, not {_ORDER}"


def template_on_time_change_reload(board: Board, _: Set) -> Complaints:
    """Variables that are queried are refreshed when the time range changes."""
    for name, variable in board.variables.items():
        if variable.get("type") == "query" and variable.get("refresh") != 2:
            yield f"{board.name}: variable {name}", "refresh is not 2, on time range change"


def template_label_promql(board: Board, boards: Set) -> Complaints:
    """Queries of variables ask for labels that their metric has."""
    for name, variable in board.variables.items():
        if variable.get("type") != "query":
            continue
        place = f"{board.name}: variable {name}"
        asked = variable.get("query")
        text = str(asked.get("query")) if isinstance(asked, dict) else str(asked)
        match = _LABEL_VALUES.fullmatch(text)
        if match is None:
            yield place, f"{text!r} is not label_values(selector, label)"
            continue
        selector, label = match.groups()
        shape, violations = promql.judge(f"count({selector})", boards.vocabulary)
        for violation in violations:
            yield place, violation
        if (
            shape is not None
            and promql.judge(f"count by ({label}) ({selector})", boards.vocabulary)[1] != violations
        ):
            yield place, f"{selector} has no label {label!r}"


def variables_exist(board: Board, _: Set) -> Complaints:
    """Every variable that a query or a link names is one of the dashboard, or Grafana's own."""
    for name in sorted(_variables_in(json.dumps(board.content))):
        if not name.startswith("__") and name not in board.variables:
            yield board.name, f"${name} is no variable of this dashboard"


def links_resolve(board: Board, boards: Set) -> Complaints:
    """Links lead to dashboards of this set, keep time and variables, and fill variables there."""
    links = board.content.get("links", [])
    if not links:
        yield board.name, "has no link to the others"
    for link in links:
        tags = set(link.get("tags", []))
        found = [other for other in boards.boards if tags <= set(other.content.get("tags", []))]
        if link.get("type") != "dashboards" or not tags or len(found) < 2:
            yield board.name, f"the link {link.get('title')!r} finds no other dashboard by its tags"
        if not (link.get("includeVars") and link.get("keepTime") and link.get("asDropdown")):
            yield board.name, f"the link {link.get('title')!r} is no dropdown that keeps all"
    for place, panel in board.panels():
        for url in _urls(panel):
            yield from ((place, message) for message in _unresolved(url, board, boards))


def _is_template(board: Board, name: str, label: str) -> Complaints:
    place = f"{board.name}: variable {name}"
    variable = board.variables.get(name)
    if variable is None:
        yield board.name, f"has no variable {name!r}"
        return
    expected = {
        "type": "query",
        "label": label,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
    }
    for key, value in expected.items():
        if variable.get(key) != value:
            yield place, f"{key} is {variable.get(key)!r}, not {value!r}"
    if variable.get("datasource", {}).get("uid") != "${datasource}":
        yield place, "does not ask the chosen data source"


def _variables_in(text: str) -> set[str]:
    names = re.findall(r"\$\{?([A-Za-z_]\w*)|\[\[(\w+)", text)
    return {first or second for first, second in names}


def _urls(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["url"]] if isinstance(part.get("url"), str) else []
        return own + [url for value in part.values() for url in _urls(value)]
    if isinstance(part, list):
        return [url for value in part for url in _urls(value)]
    return []


def _unresolved(url: str, board: Board, boards: Set) -> list[str]:
    split = urlsplit(url)
    parts = split.path.split("/")
    if split.netloc or parts[:2] != ["", "d"] or parts[2] not in boards.by_uid:
        return [f"{url} leads to no dashboard of this set"]
    target = boards.by_uid[parts[2]]
    # Both var-name=value and ${name:queryparam}, which Grafana turns into the former.
    named = [
        key.removeprefix("var-")
        for key, _ in parse_qsl(split.query, keep_blank_values=True)
        if key.startswith("var-")
    ]
    named += re.findall(r"\$\{(\w+):queryparam\}", split.query)
    messages = [
        f"{url} fills {name!r}, which {target.name} does not have"
        for name in named
        if name not in target.variables
    ]
    if "${__url_time_range}" not in split.query:
        messages.append(f"{url} does not keep the time range")
    missing = [name for name in board.variables if name not in named]
    if missing:
        messages.append(f"{url} loses {', '.join(missing)}")
    return messages
