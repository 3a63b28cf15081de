"""`notifier contract` as a process."""

import json

import yaml
from support.cli import run


def test_the_document_is_the_same_in_both_formats() -> None:
    """YAML is for people, and JSON for programs."""
    code, as_yaml, err = run("contract")
    assert (code, err) == (0, "")
    _, as_json, _ = run("contract", "--json")
    assert json.loads(as_json) == yaml.safe_load(as_yaml)
