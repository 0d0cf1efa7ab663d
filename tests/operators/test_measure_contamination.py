"""The counts are written as JSON and told to the manifest; the laws of what is counted stand in test_drop_contaminated."""

import json

from operators.measure_contamination import Contamination, example, measure_contamination, told


def test_it_is_saved_and_loaded_as_it_was(tmp_path):
    e = example()
    fold = measure_contamination(e.params, **e.used)
    fold.add(e.table, 0)
    made = fold.finish()
    made.save(tmp_path)
    assert Contamination.load(tmp_path).counts == made.counts == json.loads((tmp_path / "contamination.json").read_text())
    assert told(made, e.params)["nq: rows"] == 1
    assert sum(counts["found"] for counts in made.counts.values()) == 2
