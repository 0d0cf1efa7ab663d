"""What is wrong with an endpoint's entry of models.yaml, found without asking anybody."""

import os
import urllib.parse

from operators.engines.models import ModelEntry


def endpoint_fault(entry: ModelEntry) -> str | None:
    """Why an entry with backend openai cannot be used, found without asking anybody; None where it may."""
    url, name = entry.serving.endpoint, entry.serving.api_key_env
    if not url:
        return f"model {entry.model!r} has no serving.endpoint; name the server's address up to and with /v1"
    try:
        parts = urllib.parse.urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return f"model {entry.model!r}: serving.endpoint is no address; write http://HOST:PORT/v1"
    if parts.username is not None or parts.query or parts.fragment:
        return f"model {entry.model!r}: serving.endpoint must hold no password and no ?…; the key belongs in api_key_env"
    if not whole:
        return f"model {entry.model!r}: serving.endpoint {url!r} is no http(s) address; write http://HOST:PORT/v1"
    if name and not os.environ.get(name, "").strip():
        return f"model {entry.model!r}: the environment has no {name}, which serving.api_key_env names; set it to the key"
    if name and not (os.environ[name].strip().isascii() and os.environ[name].strip().isprintable()):
        return f"model {entry.model!r}: what {name} holds cannot be a key; set it to the key alone, on one line"
    return None
