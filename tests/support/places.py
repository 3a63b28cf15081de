"""Where things are in the checkout, for tests that read files of the project."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
DOCKER = ROOT / "docker"
PICTURES = ROOT / "artefacts"
"""Where tests leave pictures of pages and mails to look at."""
DATA = ROOT.parent / "shared" / "data"
"""Real inputs beside the checkout; tests that use them are skipped if there are none."""
