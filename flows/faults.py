"""What is wrong with a flow, in one sentence each: the file, the key, the mend. All reported together."""

import difflib
from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from cluster.store import Store
from operators.contract import InputError


def not_stored(store: Store, step: str) -> InputError:
    """What to say of a step whose rows are asked for and not there: mostly a run had other settings."""
    return InputError(
        f"{step}: with these settings it is not stored in {store.uri};"
        f" repeat the --set of its run, or run the flow --until {step}"
    )


class FlowError(InputError):
    """A flow that cannot run, found before it starts; one line a fault."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = list(faults)


def did_you_mean(word: str, among: Iterable[str]) -> str:
    """``; did you mean 'x'?`` or, where nothing is close, what there is."""
    names = sorted(among)
    close = difflib.get_close_matches(word, names, 1, 0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there is {', '.join(names)}" if names else "; there is none"


def sentences(error: ValidationError, where: str, fields: Iterable[str]) -> list[str]:
    """A pydantic error as one sentence a fault, each with the key it is about."""
    found = []
    for fault in error.errors():
        place = ".".join(str(p) for p in (where, *fault["loc"]) if p != "")
        if fault["type"] == "extra_forbidden":
            found.append(f"{place}: no such key{did_you_mean(str(fault['loc'][-1]), fields)}")
        elif fault["type"] == "missing":
            found.append(f"{place}: this key is missing")
        else:
            said = fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
            value = repr(fault["input"])
            got = "" if len(value) > 60 or fault["type"] == "value_error" else f", not {value}"
            found.append(f"{place}: {said[0].lower()}{said[1:]}{got}")
    return found
