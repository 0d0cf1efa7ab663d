"""The main text of an HTML page by trafilatura (Barbaresi, ACL 2021), as Markdown: headings, lists, code and tables stay."""

import codecs
import copy
import re
from typing import Any

_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_XML = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]+)")
_COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_ROOT = re.compile(r"<(?:html|body|!doctype)\b", re.IGNORECASE)  # without one it is a piece of a page
_SHORT = 1000  # characters
_CELLS = re.compile(r"\| *$", re.MULTILINE)


def read(raw: bytes | str) -> dict[str, Any]:
    """Title (the page's only h1, else its title) and text, or why there is none."""
    if isinstance(raw, bytes):
        found = decoded(raw)
        if isinstance(found, list):
            return {"fault": found}
        raw = found
    import trafilatura

    whole = raw if _ROOT.search(raw) else f"<html><body>{raw}</body></html>"
    tree = trafilatura.load_html(whole)
    if tree is None:
        return {"fault": ["not HTML", raw[:100]]}
    heads = [one.text_content() for one in tree.iter("h1")]
    title = " ".join((heads[0] if len(heads) == 1 and heads[0].strip() else tree.findtext(".//title") or "").split())
    _lift_captions(tree)
    text = _main(tree)
    if len(text) < _SHORT:
        text = _main(tree, short=True) or text
    text = text or trafilatura.html2txt(tree)
    if not text or not text.strip():
        return {"fault": ["no text on the page", title[:100]]}
    return {"title": title, "text": _CELLS.sub("|", text).strip()}


def _main(tree: Any, *, short: bool = False) -> str:
    """By itself trafilatura takes all words of a page whose main text has less than 250 characters, the navigation's, too."""
    import trafilatura
    from trafilatura.settings import use_config

    config = use_config()
    if short:
        config.set("DEFAULT", "MIN_EXTRACTED_SIZE", "1")
    said = trafilatura.extract(
        copy.deepcopy(tree), output_format="markdown", include_formatting=True, include_comments=False, include_tables=True,
        fast=True, config=config,
    )  # fmt: skip
    return said or ""


def decoded(raw: bytes) -> str | list[str]:
    """As browsers find it out: by the mark at its start, its meta element, its XML declaration, else UTF-8; or the fault."""
    name = next((name for mark, name in _MARKS if raw.startswith(mark)), "")
    said = _CHARSET.search(_COMMENT.sub(b"", raw[:4096])) or _XML.match(raw)
    name = name or (said[1].decode("ascii", "replace").lower() if said else "utf-8")
    # What browsers read as another: the web says ISO-8859-1 and means Windows.
    name = {"iso-8859-1": "windows-1252", "latin1": "windows-1252", "ascii": "windows-1252", "utf-16": "utf-8"}.get(name, name)
    try:
        return raw.decode(codecs.lookup(name).name).removeprefix("\ufeff")
    except LookupError:
        return ["unknown encoding", name[:100]]
    except UnicodeDecodeError as error:
        return [f"invalid {name.upper()}", f"byte {error.start}"]
    except UnicodeError:  # of the codec called undefined
        return ["unknown encoding", name[:100]]


def _lift_captions(tree: Any) -> None:
    """A caption is a paragraph before its table; within it would be the header."""
    for caption in list(tree.iter("caption")):
        table = caption.getparent()
        if table is not None and table.getparent() is not None:
            caption.drop_tree() if caption.tail else table.remove(caption)
            caption.tag, caption.tail = "p", None
            table.addprevious(caption)
