"""The dashboard and the alerts in `docker/` use only metrics that a running service provides."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import promql_parser
import pytest
import yaml
from prometheus_client.samples import Sample
from support.pages import Scrape, scrape
from support.parts import changed, request, serving, submit, wait_event
from support.places import DOCKER
from support.rabbit import Rabbit

from notifier.feed.client import FeedClient

RULES: list[dict[str, Any]] = yaml.safe_load((DOCKER / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((DOCKER / "grafana.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = {
    **{rule["alert"]: rule["expr"] for rule in RULES},
    **{f"{panel['title']} {each['refId']}": each["expr"] for panel in PANELS for each in panel["targets"]},
}
GIVEN_BY_PROMETHEUS = {"job", "instance"}
"""Labels that Prometheus adds to each scrape."""


class Asked(NamedTuple):
    """A metric that an expression uses, with the labels that it names and the values that it matches."""

    name: str
    labels: frozenset[str]
    matchers: tuple[tuple[str, str], ...]


def asked(expression: str) -> list[Asked]:
    """Parse an expression as Grafana would fill it in; raises ValueError if it is not valid PromQL."""
    filled = expression.replace("$__rate_interval", "5m").replace("$instance", ".*")
    assert "$" not in filled
    found: list[Asked] = []
    _walk(promql_parser.parse(filled), frozenset(), found)
    return found


def _walk(node: Any, labels: frozenset[str], found: list[Asked]) -> None:
    match node:
        case promql_parser.VectorSelector():
            matchers = node.matchers.matchers
            assert not [
                each for each in matchers if each.op not in (promql_parser.MatchOp.Equal, promql_parser.MatchOp.Re)
            ]
            named = labels | {each.name for each in matchers}
            found.append(Asked(node.name or "", named, tuple((each.name, each.value) for each in matchers)))
        case promql_parser.MatrixSelector():
            _walk(node.vector_selector, labels, found)
        case promql_parser.AggregateExpr():
            _walk(node.expr, labels | set(node.modifier.labels if node.modifier else ()), found)
        case promql_parser.BinaryExpr():
            matching = node.modifier.matching if node.modifier else None
            for side in (node.lhs, node.rhs):
                _walk(side, labels | set(matching.labels if matching else ()), found)
        case promql_parser.ParenExpr():
            _walk(node.expr, labels, found)
        case promql_parser.Call():
            for each in node.args:
                _walk(each, labels, found)
        case _:
            assert isinstance(node, promql_parser.NumberLiteral)


async def test_every_metric_of_panels_and_alerts_exists(environ: dict[str, str], rabbit: Rabbit) -> None:
    """Every metric has every label that a panel or an alert names, and every value that it matches."""
    await rabbit.prepare()
    settings = changed({**environ, **rabbit.environ}, SEND_QUOTA="50")
    async with serving(settings) as feed, FeedClient.connect(feed) as client:
        await rabbit.publish(request(1))
        await wait_event(client, "mail.sent")
        await submit(client, request(2))
        found = await scrape(feed, lambda found: found.get("notifier_queue_messages") >= 0)
    missing = [(where, why) for where, expression in EXPRESSIONS.items() for why in _missing(expression, found)]
    assert not missing


def _missing(expression: str, found: Scrape) -> Iterator[str]:
    for name, labels, matchers in asked(expression):
        if name == "up":
            continue
        samples = [each for each in found.samples if each.name == name]
        if not samples:
            yield f"{name} is not there"
        for label in labels - GIVEN_BY_PROMETHEUS:
            if not any(label in each.labels for each in samples):
                yield f"{name} has no {label}"
        for label, pattern in matchers:
            for value in pattern.split("|") if label not in GIVEN_BY_PROMETHEUS else ():
                if not any(re.fullmatch(value, each.labels.get(label, "")) for each in samples):
                    yield f"{name} has no {label} {value}"


def test_the_check_finds_unknown_metrics_labels_and_values() -> None:
    """A wrong metric, label or value is named; invalid PromQL is an error."""
    found = Scrape([Sample("mails", {"status": "sent"}, 1)])
    assert list(_missing("rate(lost[5m]) and sum by (kind) (mails)", found)) == [
        "lost is not there",
        "mails has no kind",
    ]
    assert list(_missing('max(mails{status=~"sent|lost"})', found)) == ["mails has no status lost"]
    assert list(_missing('max by (status, instance) (mails{status="sent"}) > 1', found)) == []
    with pytest.raises(ValueError, match="parenthesis"):
        asked("sum by (status (mails)")


def test_every_alert_has_a_summary_and_a_description() -> None:
    """Each alert has a unique name, a severity, and two sentences for the operator."""
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    assert all(name.startswith("Notifier") for name in names)
    for rule in RULES:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert promql_parser.parse_duration(rule.get("for", "1s"))


def test_labels_named_in_an_alert_are_kept_by_its_expression() -> None:
    """A label that the expression aggregates would be empty in the text."""
    for rule in RULES:
        used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        tree = promql_parser.parse(rule["expr"])
        summed = re.findall(r"by \(([^)]*)\)", rule["expr"])
        kept = {label.strip() for labels in summed for label in labels.split(",")}
        assert not summed or used <= kept, (rule["alert"], tree.prettify())


def test_the_panels_fill_the_page_and_do_not_overlap() -> None:
    """The grid has 24 columns, ids are unique, and every panel uses the selected Prometheus."""
    taken: set[tuple[int, int]] = set()
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]} == {"${datasource}"}
