"""What every exporter may be told: which positives, how many negatives, which scores, where the instructions go."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from operators.contract import Params

if TYPE_CHECKING:
    from operators.exporters.examples import Examples
    from operators.exporters.files import Sink

Positives = Literal["first", "explode", "all"]
Count = int | Literal["most", "all"]
TEMPLATE = "Instruct: {instruction}\nQuery: {query}"  # E5-mistral (Wang et al., 2024, arXiv 2401.00368), section 3.1


class Export(Params):
    """Base of the exporters' options. What a subclass narrows its trainer cannot take."""

    least: ClassVar[int] = 0  # negatives that a row must have
    positives: Positives = Field("first", description="first: the first alone; explode: a row a positive; all: the list")
    negatives: Count = Field(
        "most", description="a number: as many in every row, rows with fewer are dropped and counted; most: the number that"
        " most rows have; all: as many as a row has",
    )  # fmt: skip
    scores: bool = Field(False, description="the teacher's scores, beside the texts that they are of")

    @property
    def scored(self) -> bool:
        """Whether scores are written."""
        return self.scores

    @model_validator(mode="after")
    def _enough(self) -> "Export":
        if isinstance(self.negatives, int) and self.negatives < self.least:
            raise ValueError(f"negatives: this trainer takes no row with fewer than {self.least}; give more, or all")
        return self


class Told(Export):
    """Of trainers that have a place for instructions beside the query."""

    place: ClassVar[str] = ""  # where it is, if the template has no part in it
    prompts: Literal["trainer", "text", "none"] = Field(
        "trainer", description="trainer: where it reads them; text: in the query, by the template; none: left out"
    )
    template: str = Field(TEMPLATE, description="of {instruction} and {query}; a query without instruction stays as it is")

    @model_validator(mode="after")
    def _template_acts(self) -> "Told":
        if self.place and self.prompts == "trainer" and self.moved("template"):
            raise ValueError(f"template does nothing where prompts is trainer: {self.place}")
        check_template(self.template, self.prompts, self.moved("template"))
        return self


class Rendered(Export):
    """Of trainers that have none: an instruction stands in the query's text or nowhere."""

    prompts: Literal["text", "none"] = Field("text", description="text: in the query, by the template; none: left out")
    template: str = Field(TEMPLATE, description="of {instruction} and {query}; a query without instruction stays as it is")

    @model_validator(mode="after")
    def _template_acts(self) -> "Rendered":
        check_template(self.template, self.prompts, self.moved("template"))
        return self


def check_template(template: str, prompts: str, moved: bool) -> None:
    """Raise a `ValueError` where a template lacks a field, or nothing would read it."""
    if prompts == "none" and moved:
        raise ValueError("template does nothing where prompts is none; leave it out")
    if not {"{instruction}", "{query}"} <= {part for part in ("{instruction}", "{query}") if template.count(part) == 1}:
        raise ValueError("template: it names {instruction} and {query}, each once")


def rendered(query: str, instruction: str, template: str) -> str:
    """A query below its instruction; as it is where it has none."""
    head, _, tail = template.partition("{query}")
    if not instruction:
        return query
    return head.replace("{instruction}", instruction) + query + tail.replace("{instruction}", instruction)


@dataclass(frozen=True)
class Exporter:
    """One trainer: what it takes, who writes it, and the lines of the README that say how to load it."""

    line: str
    params: type[Export]
    write: Callable[["Examples", Any, "Sink"], None]
    usage: Callable[[Any], str]  # Markdown
    configs: Callable[[Any], Mapping[str, str]] = lambda p: {}  # of the README: configuration → data files
    carries: frozenset[str] = field(default_factory=frozenset)  # columns beside texts, scores and instructions
    version: str = "1"  # raised where equal rows become other files
    dealt: bool = False  # files of a set that ranks share stay files of one rank, in turn


def options(params: type[Export]) -> Mapping[str, str]:
    """Each option with its default and what it does."""
    return {
        name: f"{info.get_default(call_default_factory=True)!r}: {info.description or ''}".rstrip(": ")
        for name, info in params.model_fields.items()
    }
