"""Paths in the checkout, for tests that read files of the project."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
DOCKER = ROOT / "docker"
PICTURES = ROOT / "artefacts"
"""Folder in which tests save screenshots of pages and mails."""
DATA = ROOT.parent / "shared" / "data"
"""Real inputs next to the checkout; tests that use them are skipped if it is missing."""
