"""The text of a PDF by PDFium, page by page."""

import re
from pathlib import Path
from typing import Any

_HYPHEN = re.compile("[\x02\ufffe]\r?\n?")  # how PDFium writes a hyphen at the end of a line: the word goes on
_NO_TITLE = re.compile(r"untitled|microsoft word|.*\.(docx?|tex|dvi|pdf|indd|qxd|rtf|html?)$|\W*$", re.IGNORECASE)
_ENDS = tuple(".!?:;…\"'”’»。！？")


def read(path: Path, longest: int) -> dict[str, Any]:
    """Title and text, or why there is none. A page that ends within a sentence goes on in the next."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        locked = "password" in str(error).lower()
        return {"fault": ["the PDF is encrypted" if locked else "not a PDF that can be read", "" if locked else str(error)[:100]]}
    try:
        pages, size = [], 0
        for i in range(len(document)):
            try:
                page = document[i]
                said = page.get_textpage().get_text_bounded()
                page.close()
            except pypdfium2.PdfiumError as error:
                return {"fault": ["a page of the PDF cannot be read", f"page {i + 1}: {str(error)[:100]}"]}
            pages.append(plain(said))
            size += len(said)
            if size > longest:
                return {"fault": ["text is longer than max_chars", f"{size} characters to page {i + 1} of {len(document)}"]}
        text = joined(pages)
        if not text:
            return {"fault": ["no text in the PDF, its pages are images or empty", f"{len(document)} pages"]}
        title = " ".join(document.get_metadata_value("Title").split())
        return {"title": "" if _NO_TITLE.match(title) else title, "text": text}
    finally:
        document.close()


def plain(said: str) -> str:
    """A page's text with line feeds alone, and its words whole."""
    lines = _HYPHEN.sub("", said).replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")
    return "\n".join(line.rstrip() for line in lines.split("\n")).strip()


def joined(pages: list[str]) -> str:
    """The pages in order: a blank line where one ends a sentence, else none."""
    text = ""
    for page in filter(None, pages):
        text += ("\n\n" if text.endswith(_ENDS) else "\n" if text else "") + page
    return text
