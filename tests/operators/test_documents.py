"""Files of HTML, PDF and Python: their text comes out, and what cannot be read is a reject that says why; no file takes others along."""

import importlib.metadata
import os
import signal

import pytest

from operators import extraction, formats
from operators.contract import InputError
from operators.read_corpus import ReadCorpus, read_corpus
from operators.read_pairs import ReadPairs, read_pairs
from tests.pdfs import LOCKED, pdf

PAGE = """<!doctype html><html><head><meta charset="utf-8"><title>Rivers – Atlas</title></head><body>
<nav><a href="/">Home</a> <a href="/x">Seas</a></nav><main><h1>Rivers of Europe</h1><p>The Danube flows through ten countries.</p>
<h2>Lengths</h2><table><caption>The longest</caption><tr><th>River</th><th>Length</th></tr><tr><td>Volga</td><td>3,530</td></tr></table>
<pre><code>def length():
    return 1
</code></pre><p>A caf\u00e9 &amp; a bar.</p></main><footer>Copyright 2020</footer></body></html>"""


def rows(path, op=read_corpus, of=ReadCorpus, **more):
    p = of(path=str(path), **more)
    outcomes = [o for item in op.items(p) for o in op(item, p)]
    assert all(o.seen == len(o.table) + len(o.rejects) for o in outcomes)
    return [r for o in outcomes for r in o.table.to_pylist()], [r for o in outcomes for r in o.rejects.to_pylist()]


def one(tmp_path, name, body):
    (tmp_path / name).write_bytes(body)
    found, bad = rows(tmp_path / name)
    return [(r["title"], r["text"]) for r in found], [(b["reason"], b["value"]) for b in bad]


def test_a_folder_of_documents_is_a_corpus_and_a_bad_one_costs_itself_alone(tmp_path):
    files = {
        "a.html": PAGE.encode(), "b.PDF": pdf([["The Danube flows through ten", "countries and ends in the"], ["Black Sea."]], "On rivers"),
        "c.md": b"# Lakes\n\nStill water.", "locked.pdf": pdf([["secret"]], extra=LOCKED), "broken.pdf": b"%PDF-1.4 nothing", "empty.pdf": b"",
        "scan.pdf": pdf([[], []]), "none.html": b"<html><body><script>1</script></body></html>", "README.md": b"# About\n\nA folder.",
    }  # fmt: skip
    for name, body in files.items():
        (tmp_path / name).write_bytes(body)
    found, bad = rows(tmp_path)
    assert {r["source_id"]: r["title"] for r in found} == {
        "README.md": "About", "a.html": "Rivers of Europe", "b.PDF": "On rivers", "c.md": "Lakes",
    }  # fmt: skip
    assert sorted(b["reason"] for b in bad) == [
        "no text in the PDF, its pages are images or empty", "no text on the page", "not a PDF that can be read", "not a PDF that can be read",
        "the PDF is encrypted",
    ]  # fmt: skip
    told = {r["source_id"]: r["text"] for r in found}
    assert told["b.PDF"] == "The Danube flows through ten\ncountries and ends in the\nBlack Sea."


def test_html_keeps_headings_tables_and_code_and_loses_what_stands_around_them(tmp_path):
    [(title, said)], bad = one(tmp_path, "p.html", PAGE.encode())
    assert title == "Rivers of Europe"
    for part in ("## Lengths", "The longest\n\n| River | Length |\n|---|---|\n| Volga | 3,530 |", "```\ndef length():\n    return 1\n```", "A café & a bar."):
        assert part in said
    assert "Copyright" not in said
    assert "Seas" not in said


@pytest.mark.parametrize(
    ("head", "encoding"), [("", "utf-8"), ('<meta charset="iso-8859-1">', "cp1252"), ('<meta http-equiv=x content="text/html; charset=koi8-r">', "koi8-r"), ("", "utf-16")]
)
def test_a_page_is_read_in_the_encoding_that_it_states(tmp_path, head, encoding):
    word = "вода" if encoding == "koi8-r" else "café"
    [(_, said)], _ = one(tmp_path, "p.html", f"<html><head>{head}</head><body><p>Here is {word} to drink.</p></body></html>".encode(encoding))
    assert said == f"Here is {word} to drink."


@pytest.mark.parametrize(
    ("head", "body", "reason"),
    [("", b"caf\xe9", "invalid UTF-8"), ("<meta charset=klingon>", b"x", "unknown encoding"), ("<meta charset=euc-jp>", b"\xff\xff", "invalid EUC-JP")],
)
def test_a_page_of_another_encoding_than_it_states_is_a_reject(tmp_path, head, body, reason):
    found, [(said, _)] = one(tmp_path, "p.html", b"<html><head>" + head.encode() + b"</head><body><p>" + body + b"</p></body></html>")
    assert (found, said) == ([], reason)


def test_a_word_that_goes_on_in_the_next_line_of_a_pdf_is_whole():
    from operators.pdf_text import joined, plain

    assert plain("man\ufffe\r\nagement is \r\nhard\r\n") == "management is\nhard"
    assert joined(["One page.", "", "two and", "three"]) == "One page.\n\ntwo and\nthree"


def test_functions_of_python_are_documents_and_pairs(tmp_path):
    (tmp_path / "tool.py").write_text(
        'import x\n\nclass Box:\n    @property\n    def size(self):\n        """How much fits.\n\n        In litres."""\n        return 1\n\n'
        "def plain(a):\n    return a\n"
    )
    (tmp_path / "bad.py").write_text("def (:\n")
    found, bad = rows(tmp_path)
    assert [(r["source_id"], r["title"]) for r in found] == [("tool.py:4", "tool.Box.size"), ("tool.py:11", "tool.plain")]
    assert found[0]["text"].startswith('@property\ndef size(self):\n    """How much')
    assert [b["reason"] for b in bad] == ["not Python"]
    pairs, bad = rows(tmp_path / "tool.py", read_pairs, ReadPairs)
    assert [(r["query"], r["passage"]) for r in pairs] == [("How much fits.", "@property\ndef size(self):\n    return 1")]
    assert [b["reason"] for b in bad] == ["empty query"]


def test_the_script_beside_records_is_no_document(tmp_path):
    (tmp_path / "load.py").write_text("def f():\n    return 1\n")
    (tmp_path / "a.jsonl").write_text('{"text": "a line"}\n')
    assert [r["text"] for r in rows(tmp_path)[0]] == ["a line"]
    assert [p.name for p in formats.files_of(str(tmp_path), "python")] == ["load.py"]


def test_a_file_that_hangs_or_kills_its_reader_is_a_reject_and_the_next_is_read(tmp_path, monkeypatch):
    (tmp_path / "a.html").write_bytes(PAGE.encode())
    assert rows(tmp_path)[0]
    child = extraction._child(os.getpid())
    for number, reason in ((signal.SIGXCPU, "takes more than"), (signal.SIGSEGV, "crashes the library")):
        child._process.send_signal(number)
        child._process.wait()
        assert reason in rows(tmp_path)[1][0]["reason"]
        assert rows(tmp_path)[0], "a new process reads the next"


def test_a_document_that_takes_too_long_or_too_much_is_stopped(tmp_path):
    run = "import resource, sys; from operators import extraction as e; e.SECONDS, e.MEMORY = 1, {memory}; e.extracted = lambda a: {work}; e.main()"
    import subprocess
    import sys

    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", run.format(memory=3 << 30, work="sum(iter(int, 1))")], input=b"{}\n", env=env, capture_output=True)
    assert done.returncode == -signal.SIGXCPU
    work = "{'fault': [str(len(bytes(1 << 30)))]}"
    done = subprocess.run([sys.executable, "-c", run.format(memory=512 << 20, work=work)], input=b"{}\n", env=env, capture_output=True)
    assert b"MemoryError" in done.stderr


def test_a_page_nested_without_end_and_one_of_many_megabytes_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "LINE", 1 << 20)
    found, [(reason, _)] = one(tmp_path, "big.html", b"<p>" + b"x" * (2 << 20))
    assert (found, reason) == ([], "a file longer than 1 MB")
    found, bad = one(tmp_path, "deep.html", b"<div>" * 50_000 + b"deep down here" + b"</div>" * 50_000)
    assert len(found) + len(bad) == 1


@pytest.mark.parametrize("kind", ["pdf", "html"])
def test_a_missing_library_is_one_sentence_with_the_extra(tmp_path, monkeypatch, kind):
    def gone(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(extraction.importlib.metadata, "version", gone)
    (tmp_path / f"a.{kind}").write_bytes(b"x")
    with pytest.raises(InputError, match=rf"reading {kind.upper()} needs \w+, which is not installed; pip install 'pithead\[{kind}\]'"):
        read_corpus.items(ReadCorpus(path=str(tmp_path)))


def test_another_version_of_a_library_is_another_input(tmp_path, monkeypatch):
    (tmp_path / "a.html").write_bytes(PAGE.encode())
    digests = []
    for version in ("1", "2"):
        monkeypatch.setattr(extraction.importlib.metadata, "version", lambda name, v=version: v)
        digests += [item.digest for item in read_corpus.items(ReadCorpus(path=str(tmp_path)))]
    assert digests[0] != digests[1]


def test_functions_are_found_below_a_form_feed_and_in_blocks_and_code_beside_its_docstring_makes_no_pair(tmp_path):
    (tmp_path / "m.py").write_text(
        'x = 1\n\x0c\ndef one(a):\n    """First\u2028thing."""\n    return a\n\ntry:\n    import y\nexcept ImportError:\n    if x:\n        def two(b):\n'
        '            """Second."""\n            return b\n\ndef three(): "Third."; return 3\n\ndef four():\n    "Fourth."; return 4\n'
    )
    found, bad = rows(tmp_path / "m.py")
    assert bad == []
    assert [(r["source_id"], r["title"]) for r in found] == [("m.py:3", "m.one"), ("m.py:11", "m.two"), ("m.py:15", "m.three"), ("m.py:17", "m.four")]
    assert found[0]["text"] == 'def one(a):\n    """First\u2028thing."""\n    return a'
    pairs, bad = rows(tmp_path / "m.py", read_pairs, ReadPairs)
    assert [r["passage"] for r in pairs] == ["def one(a):\n    return a", "def two(b):\n    return b"]
    assert [b["reason"] for b in bad] == ["empty positive"] * 2


def test_a_reader_that_sleeps_is_stopped_and_one_that_was_killed_or_stopped_in_mid_answer_is_told_so(tmp_path, monkeypatch):
    (tmp_path / "a.html").write_bytes(PAGE.encode())
    assert rows(tmp_path)[0]
    child = extraction._child(os.getpid())
    with monkeypatch.context() as patch:
        patch.setattr(extraction, "WAIT", 0.5)
        child._process.send_signal(signal.SIGSTOP)
        assert rows(tmp_path)[1][0]["reason"] == "its text takes more than 0.5 s"
    assert rows(tmp_path)[0]
    child._process.kill()
    child._process.wait()
    assert "was killed" in rows(tmp_path)[1][0]["reason"]
    import subprocess
    import sys

    child._process = subprocess.Popen([sys.executable, "-c", "import os; input(); os.write(1, b'{\"ti'); os.abort()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert rows(tmp_path)[1][0] == {"_row": 1, "reason": "it crashes the library that reads it", "value": "SIGABRT"}
    assert rows(tmp_path)[0]


def test_code_that_takes_the_parser_down_costs_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(extraction, "WAIT", 1)
    (tmp_path / "slow.py").write_text("f'" + "{a}" * 100_000 + "'")
    assert rows(tmp_path)[1][0]["reason"] == "its text takes more than 1 s"


def test_a_module_of_the_users_folder_is_not_taken_for_ours(tmp_path, monkeypatch):
    (tmp_path / "operators").mkdir()
    for name in ("__init__", "extraction"):
        (tmp_path / "operators" / f"{name}.py").write_text("")
    monkeypatch.chdir(tmp_path)
    child = extraction.Child()
    monkeypatch.setattr(extraction, "_child", lambda process: child)
    assert extraction.extract("html", "<p>A paragraph of some words.</p>") == {"title": "", "text": "A paragraph of some words."}


@pytest.mark.parametrize("head", [b'<?xml version="1.0" encoding="ISO-8859-1"?>', b"<!-- <meta charset=euc-jp> --><meta charset=iso-8859-1>"])
def test_an_xml_declaration_states_an_encoding_and_a_comment_does_not(tmp_path, head):
    [(_, said)], _ = one(tmp_path, "p.xhtml", head + "<html><body><p>Here is café to drink.</p></body></html>".encode("latin-1"))
    assert said == "Here is café to drink."


def test_hidden_folders_are_no_part_of_a_corpus(tmp_path):
    (tmp_path / ".venv").mkdir()
    for name in ("a.md", ".venv/b.md"):
        (tmp_path / name).write_text("A text.")
    assert [r["source_id"] for r in rows(tmp_path)[0]] == ["a.md"]


def test_pairs_say_their_own_source_and_licence(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"query": "a", "positive": "b", "source": "faq", "licence": "MIT"}\n{"query": "a", "positive": "c"}\n')
    told = [[(r["source"], r["licence"]) for r in rows(tmp_path / "p.jsonl", read_pairs, ReadPairs, **more)[0]] for more in ({}, {"licence": "CC0-1.0"})]
    assert told == [[("faq", "MIT"), ("p", "")], [("faq", "CC0-1.0"), ("p", "CC0-1.0")]]
