"""The journal's files: torn lines, other cuts, object stores, two parts at once."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

from cluster.journal import FileJournal, Growth, Kept
from cluster.store import Store
from operators.engines.llm import Answer

HOME = "ledger/model/generate_queries"


def _answer(i: int) -> Answer:
    return Answer(f"answer {i}\n\u2028 ü", "stop", i, 2, "")


def test_an_answer_is_there_for_the_next_attempt_and_a_torn_line_is_not(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    journal = FileJournal(store, HOME, "00000-of-00002", "r1-0")
    for i in range(3):
        journal.put(f"k{i}", "row", _answer(i))
    file = tmp_path / HOME / "00000-of-00002" / "r1-0.jsonl"
    file.write_bytes(file.read_bytes()[:-9])  # as a kill of the machine leaves it
    again = FileJournal(store, HOME, "00000-of-00002", "r2-0")
    assert [again.get(f"k{i}") for i in range(3)] == [_answer(0), _answer(1), None]


def test_half_a_character_is_read_as_it_was_written(tmp_path: Path) -> None:
    store, odd = Store(str(tmp_path)), Answer("a \ud83d \u2028 b\x85")
    FileJournal(store, HOME, "00000-of-00001", "r1-0").put("k", "row", odd)
    assert FileJournal(store, HOME, "00000-of-00001", "r2-0").get("k") == odd


def test_another_cut_finds_the_answers_of_its_range_of_ids(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for part in ("00000-of-00002", "00001-of-00002"):
        FileJournal(store, HOME, part, "r1-0").put(part, "row", _answer(1))
    quarter = FileJournal(store, HOME, "00001-of-00004", "r2-0")
    assert quarter.get("00000-of-00002") == _answer(1)
    assert quarter.get("00001-of-00002") is None
    assert FileJournal(store, HOME, "00000-of-00001", "r2-0").get("00001-of-00002") == _answer(1)


def _write_for_ever(folder: str) -> None:
    journal = FileJournal(Store(folder), HOME, "00000-of-00001", "r1-0")
    for i in range(10**9):
        journal.put(f"k{i}", "row", _answer(i))


def test_a_killed_process_has_lost_at_most_the_line_it_was_writing(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_write_for_ever, args=(str(tmp_path),))
    process.start()
    file = tmp_path / HOME / "00000-of-00001" / "r1-0.jsonl"
    while not file.exists() or file.stat().st_size < 100_000:
        time.sleep(0.01)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    lines = file.read_bytes().count(b"\n")
    again = FileJournal(Store(str(tmp_path)), HOME, "00000-of-00001", "r2-0")
    assert [again.get(f"k{i}") for i in range(lines)] == [_answer(i) for i in range(lines)]


def remote(store: Store) -> FileJournal:
    """A journal that cannot append, as on an object store."""
    journal = FileJournal(store, HOME, "00000-of-00001", "r1-0")
    journal._store = type("Remote", (), {"local": None, "write": store.write})()  # type: ignore[assignment]
    return journal


def test_on_an_object_store_lines_gather_and_closing_writes_them(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}")
    journal = remote(store)
    journal.put("a", "row", _answer(1))
    assert FileJournal(store, HOME, "00000-of-00001", "r2-0").get("a") is None
    journal.close()
    assert FileJournal(store, HOME, "00000-of-00001", "r2-0").get("a") == _answer(1)


def test_threads_write_whole_lines(tmp_path: Path) -> None:
    journal = FileJournal(Store(str(tmp_path)), HOME, "00000-of-00001", "r1-0")

    def write(n: int) -> None:
        for i in range(200):
            journal.put(f"{n}-{i}", "row", _answer(i))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = FileJournal(Store(str(tmp_path)), HOME, "00000-of-00001", "r2-0")
    assert all(again.get(f"{n}-{i}") == _answer(i) for n in range(4) for i in range(200))


def test_two_steps_that_ask_one_model_keep_both_answers_on_an_object_store(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for key in ("a", "b"):  # the same run, part, operator and model: of two steps
        journal = remote(store)
        journal.put(key, "row", _answer(1))
        journal.close()
    again = FileJournal(store, HOME, "00000-of-00001", "r2-0")
    assert again.get("a") == again.get("b") == _answer(1)


def test_growth_counts_what_this_run_keeps_from_now_on(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    FileJournal(store, HOME, "00000-of-00002", "r0-0").put("old", "row", _answer(0))
    mine = FileJournal(store, HOME, "00000-of-00002", "r1-0")
    mine.put("before", "row", _answer(0))
    growth = Growth(store, [HOME, "ledger/none/none"], "r1")
    assert growth.look() == Kept(0, 0)
    mine.put("k1", "row", _answer(1))
    FileJournal(store, HOME, "00000-of-00002", "r10-0").put("k2", "row", _answer(2))
    FileJournal(store, HOME, "00001-of-00002", "r1-0").put("k2", "row", _answer(2))
    assert growth.look(9) == Kept(2, 4, 9)
    file = tmp_path / HOME / "00000-of-00002" / "r1-0.jsonl"
    with file.open("ab") as torn:
        torn.write(b'{"key": "k3", "tokens_out"')
    assert growth.look() == Kept(2, 4)
    with file.open("ab") as torn:
        torn.write(b": 5}\nno json\n")
    assert growth.look() == Kept(4, 9)
    file = remote(store)
    for i in range(3):
        file.put(f"r{i}", "row", _answer(i))
    file.close()
    assert growth.look() == Kept(7, 15)
