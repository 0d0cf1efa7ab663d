"""The laws of each shape, over every operator of the package, from its own `example()`.

Adding an operator gets it these tests; an operator without an example fails the first of them.
"""

import importlib
import inspect

import numpy as np
import pyarrow as pa
import pytest

from flows.lookup import shipped_operators
from operators.columns import buckets
from operators.contract import ROW, Outcome, Params, apply, check_columns, numbered

ALL = shipped_operators()


def module(name):
    return importlib.import_module(f"operators.{name}")


def op_of(name):
    return getattr(module(name), name)


def named(shape):
    return [n for n in ALL if op_of(n).shape == shape]


def hidden_free(table: pa.Table) -> pa.Table:
    return table.drop_columns([ROW]) if ROW in table.column_names else table


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    made = {}

    def get(name):
        if name not in made:
            example = module(name).example
            made[name] = example(tmp_path_factory.mktemp(name)) if inspect.signature(example).parameters else example()
        return made[name]

    return get


@pytest.mark.parametrize("name", ALL)
def test_it_has_an_example_a_version_and_a_docstring(name):
    assert callable(module(name).example)
    assert op_of(name).version
    assert op_of(name).fn.__doc__
    assert module(name).__doc__


@pytest.mark.parametrize("name", ALL)
def test_its_params_are_frozen_and_refuse_unknown_keys(name):
    config = op_of(name).params.model_config
    assert config["frozen"]
    assert config["extra"] == "forbid"


@pytest.mark.parametrize("name", ALL)
def test_a_worker_is_told_the_same_params(name, examples):
    e, of = examples(name), op_of(name).params
    params = e if isinstance(e, Params) else e.params
    assert of.model_validate_json(params.model_dump_json()) == params


@pytest.mark.parametrize("name", named("map") + named("group"))
def test_the_declared_schema_holds_and_every_row_is_accounted_for(name, examples):
    e, op = examples(name), op_of(name)
    outcome = apply(op, e.table, e.params, **e.used)
    check_columns(outcome.table, op.columns_written(e.params), name)
    assert len(outcome.table) + len(outcome.rejects) > 0


@pytest.mark.parametrize("name", named("map") + named("group"))
def test_the_empty_table_passes(name, examples):
    e, op = examples(name), op_of(name)
    outcome = apply(op, e.table.slice(0, 0), e.params, **e.used)
    assert len(outcome.table) == 0
    full = apply(op, e.table, e.params, **e.used)
    assert outcome.table.schema.equals(full.table.schema)


@pytest.mark.parametrize("name", named("map"))
def test_a_map_of_two_tables_is_the_map_of_both(name, examples):
    e, op = examples(name), op_of(name)
    whole = apply(op, e.table, e.params, **e.used)
    cut = len(e.table) // 2
    halves = [apply(op, t, e.params, **e.used) for t in (e.table.slice(0, cut), e.table.slice(cut))]
    assert hidden_free(whole.table).equals(pa.concat_tables([hidden_free(h.table) for h in halves]))
    assert len(whole.rejects) == sum(len(h.rejects) for h in halves)


@pytest.mark.parametrize("name", named("map"))
def test_the_order_of_rows_changes_no_row_of_a_map(name, examples):
    e, op = examples(name), op_of(name)
    whole = apply(op, e.table, e.params, **e.used)
    turned = apply(op, e.table.take(pa.array(np.arange(len(e.table))[::-1])), e.params, **e.used)
    for i in range(len(e.table)):
        one = hidden_free(whole.table.filter(pa.compute.equal(whole.table[ROW], i)))
        other = hidden_free(turned.table.filter(pa.compute.equal(turned.table[ROW], len(e.table) - 1 - i)))
        assert one.equals(other)


def sorted_by_key(op, params, table):
    """As the engine hands a bucket to a group: by key, then as the rows came."""
    return numbered(numbered(table).sort_by([(op.key_of(params), "ascending"), (ROW, "ascending")])).combine_chunks()


def grouped(name, e, tables):
    """Rows and rejects of a group over these buckets, in one order, without the places of rows."""
    op = op_of(name)
    outcomes = [apply(op, sorted_by_key(op, e.params, table), e.params, **e.used) for table in tables]
    rows = [row for o in outcomes for row in hidden_free(o.table).to_pylist()]
    return sorted(map(repr, rows)), sorted(repr(row) for o in outcomes for row in hidden_free(o.rejects).to_pylist())


@pytest.mark.parametrize("name", named("group"))
def test_the_order_of_rows_changes_no_row_of_a_group(name, examples):
    e = examples(name)
    whole = grouped(name, e, [e.table])
    for seed in range(5):
        turned = e.table.take(pa.array(np.random.default_rng(seed).permutation(len(e.table))))
        assert grouped(name, e, [turned]) == whole


@pytest.mark.parametrize("name", named("group"))
def test_no_cut_between_keys_changes_a_group(name, examples):
    e, op = examples(name), op_of(name)
    key, whole = e.table[op.key_of(e.params)], grouped(name, e, [e.table])
    for size in (1, 2, 32):
        where = buckets(key, 64 // size) if op.width is None else key.to_numpy() // size
        cut = [e.table.filter(pa.array(where == bucket)) for bucket in np.unique(where)]
        assert grouped(name, e, cut) == whole


def stored(path):
    """A file of an artifact: its bytes, or of an Arrow file, whose bytes tell how it was written, each batch's rows."""
    if path.suffix != ".arrow":
        return path.read_bytes()
    file = pa.ipc.open_file(path)
    return file.schema, [file.get_batch(i).to_pylist() for i in range(file.num_record_batches)]


@pytest.mark.parametrize("name", named("build"))
def test_a_build_of_two_parts_is_the_merge_of_their_builds(name, examples, tmp_path):
    e, op = examples(name), op_of(name)
    reads = [*op.columns_read(e.params)]
    table, cut = e.table.select(reads), len(e.table) // 2

    def files(folder, folds):
        for turn in range(op.passes):
            for fold, part in folds:
                fold.add(part, turn)
        first = folds[0][0]
        for fold, _ in folds[1:]:
            first.merge(fold)
        folder.mkdir()
        first.finish().save(folder)
        return {p.name: stored(p) for p in folder.iterdir()}

    def start():
        return op(e.params, **e.used)

    whole = files(tmp_path / "a", [(start(), table)])
    assert whole == files(tmp_path / "b", [(start(), table.slice(0, cut)), (start(), table.slice(cut))])


@pytest.mark.parametrize("name", named("cross"))
def test_no_cut_of_either_side_changes_a_cross(name, examples):
    e, op = examples(name), op_of(name)
    left = numbered(e.table)
    whole = op.merge([op(left, e.against, e.params, **e.used)], e.params).sort_by(ROW)
    cut = len(e.against) // 2
    parts = [op(left, t, e.params, **e.used) for t in (e.against.slice(cut), e.against.slice(0, cut))]
    assert op.merge(parts, e.params).sort_by(ROW).equals(whole)
    halves = [op(left.slice(i, 1), e.against, e.params, **e.used) for i in range(len(left))]
    assert op.merge(halves, e.params).sort_by(ROW).equals(whole)


@pytest.mark.parametrize("name", named("source"))
def test_a_source_names_every_record_and_its_items_have_digests(name, examples):
    params, op = examples(name), op_of(name)
    items = op.items(params)
    assert items
    assert all(i.digest for i in items)
    for item in items:
        for outcome in op(item, params):
            assert isinstance(outcome, Outcome)
            check_columns(outcome.table, op.columns_written(params), name)
            assert outcome.seen == len(outcome.table) + len(outcome.rejects)
