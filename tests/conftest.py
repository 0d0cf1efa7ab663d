"""What tests share: where the real collections are, and flows written in a few lines."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# No test is timed: a busy machine is no defect. CI judges a change by the same cases each time; elsewhere new ones are looked for.
settings.register_profile("pithead", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("pithead")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
DATA = Path(os.environ.get("PITHEAD_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real collections; skips where it is missing."""
    if not DATA.exists():
        pytest.skip(f"real collections are not at {DATA}; set PITHEAD_DATA to their folder")
    return DATA
