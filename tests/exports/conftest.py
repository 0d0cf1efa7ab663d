"""A published set to export, once a file of tests; one that wants other rows has a ``table`` of its own."""

import pytest

from tests.exporting import publish, table_of


@pytest.fixture(scope="module")
def table():
    return table_of(40, seed=5)


@pytest.fixture(scope="module")
def made(table, tmp_path_factory):
    return publish(tmp_path_factory.mktemp("set"), table)
