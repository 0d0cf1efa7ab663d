"""A server that speaks S3 (moto's), in this process: it counts requests, and fails as often as it is told to."""

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIAPITHEADTEST", "AWS_SECRET_ACCESS_KEY": "s3cret-of-this-test-only", "AWS_EC2_METADATA_DISABLED": "true"}


class Server:
    """What came in, by method and kind; every ``fail_every``-th request is answered with 503."""

    def __init__(self, app: Any) -> None:
        self.app, self.requests, self.fail_every = app, Counter[str](), 0
        self._turn, self._count = threading.Lock(), 0

    def __call__(self, environ: dict[str, Any], start: Any) -> Any:
        kind = "LIST" if "list-type=2" in environ.get("QUERY_STRING", "") else environ["REQUEST_METHOD"]
        with self._turn:
            self.requests[kind] += 1
            self._count += 1
            fail = self.fail_every and self._count % self.fail_every == 0
            self.requests["failed"] += bool(fail)
        if fail:
            start("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(BUSY)))])
            return [BUSY]
        return self.app(environ, start)


@contextmanager
def serving() -> Iterator[tuple[Server, str]]:
    """(the server, where it listens)."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *_: Any) -> None:
            pass

    server = Server(DomainDispatcherApplication(create_backend_app))
    listening = make_server("127.0.0.1", 0, server, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    try:
        yield server, f"127.0.0.1:{listening.server_port}"
    finally:
        listening.shutdown()
        thread.join()


def bucket(place: str, name: str) -> str:
    """Make a bucket; the address of a store in it."""
    import pyarrow.fs as pafs

    assert re.fullmatch(r"[a-z-]+", name)
    pafs.S3FileSystem(endpoint_override=place, scheme="http", region="us-east-1", allow_bucket_creation=True).create_dir(name)
    return f"s3://{name}/sets?scheme=http&endpoint_override={place}"
