"""Names of parts: ``00003-of-00008``, of several inputs ``00003-of-00008@00001``; each is a range of ids."""


def span(part: str) -> tuple[float, float]:
    """The range of ids, as shares of them all."""
    bucket, _, of = part.split("@")[0].partition("-of-")
    return int(bucket) / int(of or 1), (int(bucket) + 1) / int(of or 1)


def place(part: str) -> float:
    """Where the range begins: parts in this order are in id order."""
    return span(part)[0]


def overlap(a: str, b: str) -> bool:
    """Whether two parts, perhaps of different cuts, may hold the same id."""
    (low, high), (start, end) = span(a), span(b)
    return low < end and start < high
