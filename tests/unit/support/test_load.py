"""The load script as a process, on the broker of the tests."""

import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

from support.places import ROOT

PATIENCE = 90


def test_the_figures_are_printed_and_drawn(broker_url: str, tmp_path: Path) -> None:
    """Latency, rate, processor time and memory are a line each, and the plot is an SVG document."""
    plot = tmp_path / "load.svg"
    rates = ("--publish-rate", "50", "--send-rate", "25", "--seconds", "1")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("NOTIFIER_")}
    done = subprocess.run(  # noqa: S603 - our own script
        [ROOT / "scripts" / "load", *rates, "--plot", plot, "--idle", "0.5"],
        env={**clean, "NOTIFIER_AMQP_URL": broker_url},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for figure in ("publish to accepted mail: p50", "starts:", "processor time", "memory of", "idle service:"):
        assert figure in done.stdout
    assert ET.parse(plot).getroot().tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - our own file
