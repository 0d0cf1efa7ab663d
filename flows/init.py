"""`pithead init DIR`: a project of the user's own, small and running."""

from pathlib import Path

from flows.config import CONFIGS
from operators.contract import InputError

FLOW = """# Your corpus in, a training set of title and body pairs out. `pithead plan flow.yaml` says what would run.
flow: {name}
seed: 7
steps:
  corpus:  {{op: read_corpus, with: {{path: corpus.jsonl, licence: "yours"}}}}
  clean:   {{op: "my_ops.strip_footer:strip_footer", from: corpus, max_rejected: 0.5}}
  pairs:   {{op: structural_pairs, from: clean, max_rejected: 1, with: {{kinds: [title_body]}}}}
  queries: {{op: drop_duplicates, from: pairs, max_rejected: 0.9, with: {{key: query_id}}}}
  unique:  {{op: drop_duplicates, from: pairs, keep: [passage_id, title, passage], max_rejected: 0.9, with: {{key: passage_id}}}}
  texts:   {{op: index_texts, from: unique}}

  # Batches of one cluster each; a larger corpus wants more clusters.
  asked:     {{op: embed, from: queries, using: {{encoder: static}}, with: {{column: query}}}}
  centroids: {{op: fit_clusters, from: asked, with: {{clusters: 1}}}}
  clustered: {{op: assign_clusters, from: asked, using: {{centroids: centroids}}}}
  batches:   {{op: compose_batches, from: clustered, using: {{texts: texts}}, with: {{remainder: short, negatives: false}}}}
  batched:   {{op: assign_batches, from: clustered, using: {{batches: batches}}, max_rejected: 0.5}}
  set:       {{op: write_training_set, from: batched, using: {{texts: texts}}, with: {{negatives: false, scores: false}}}}
"""
OPERATOR = '''"""An operator of your own: a function over a table, with its declaration above it."""

import pyarrow as pa
import pyarrow.compute as pc

from operators.contract import Params, operator, text


class StripFooter(Params):
    """What the YAML may say."""

    footer: str = "All rights reserved."


@operator("map", version="1", reads={"text": text}, writes={"text": text}, rows="same")
def strip_footer(table: pa.Table, p: StripFooter) -> pa.Table:
    """Cut the footer off every text."""
    cut = pc.replace_substring(table["text"], p.footer, "")
    return table.set_column(table.schema.get_field_index("text"), "text", cut)
'''
CORPUS = (
    '{"_id": "1", "title": "The pithead", "text": "The pithead is the top of a mine shaft and the buildings around it. '
    'Coal came up there and men went down. All rights reserved."}\n'
    '{"_id": "2", "title": "Winding gear", "text": "Winding gear raises and lowers the cages of a mine shaft. '
    'It stands above the pithead and is driven by an engine. All rights reserved."}\n'
)
MODELS = "# key: entry; see the package's configs/models.yaml for the entries that come with it.\n{}\n"


def init(folder: str) -> list[str]:
    """Write the project; returns the files. Refuses a folder that holds something."""
    home = Path(folder)
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise InputError(f"{folder}: it is not an empty folder; give another name")
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in home.resolve().name).strip("-_") or "flow"
    files = {
        "flow.yaml": FLOW.format(name=name), "corpus.jsonl": CORPUS, "models.yaml": MODELS,
        "my_ops/__init__.py": "", "my_ops/strip_footer.py": OPERATOR,
        **{f"prompts/{p.name}": p.read_text() for p in sorted((CONFIGS / "prompts").glob("*.md"))},
    }  # fmt: skip
    for path, content in files.items():
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text(content)
    return [f"{folder}/{path}" for path in files]
