"""A store's address: a folder, an S3 bucket, or any file system that pyarrow or fsspec knows."""

import os
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from operators.contract import InputError

TRIES = 8  # of a request to S3; with the pauses between them a minute
SAID = ("region", "scheme", "endpoint_override")  # what may follow the ? of an s3:// address


def open_address(uri: str) -> tuple[pafs.FileSystem, str]:
    """The file system of an address, and the path of the store's root in it. Raises `InputError`."""
    if "://" not in uri:
        return pafs.LocalFileSystem(), uri
    if "@" in urlsplit(uri).netloc and urlsplit(uri).password is not None:
        raise InputError(
            f"store {hidden(uri)}: a password does not belong in an address, which is kept beside what a run makes;"
            " give it by the environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if uri.startswith("s3://"):
        return _s3(uri)
    try:
        fs, root = pafs.FileSystem.from_uri(uri)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError):
        import fsspec  # the schemes that pyarrow does not know

        try:
            inner, root = fsspec.core.url_to_fs(uri)
        except (ValueError, ImportError) as error:
            raise InputError(f"store {uri}: {error}") from error
        fs = pafs.PyFileSystem(pafs.FSSpecHandler(inner))
    return fs, root.rstrip("/")


def hidden(uri: str) -> str:
    """The address without a password."""
    parts = urlsplit(uri)
    return uri if parts.password is None else uri.replace(parts.netloc, f"***@{parts.netloc.rpartition('@')[2]}", 1)


def has_folders(fs: pafs.FileSystem) -> bool:
    """Whether a folder must be made before a file in it; an object store has none, and a marker of one costs a request."""
    objects = [getattr(pafs, name, None) for name in ("S3FileSystem", "GcsFileSystem", "AzureFileSystem")]
    return not isinstance(fs, tuple(kind for kind in objects if kind is not None))


def _s3(uri: str) -> tuple[pafs.FileSystem, str]:
    parts = urlsplit(uri)
    said = dict(parse_qsl(parts.query))
    if extra := sorted(set(said) - set(SAID)):
        raise InputError(f"store {uri}: {extra[0]} is nothing that an s3:// address says; it may say {', '.join(SAID)}")
    if not parts.netloc:
        raise InputError(f"store {uri}: no bucket; write s3://BUCKET/FOLDER")
    endpoint = said.get("endpoint_override") or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    more: dict[str, Any] = {k: v for k, v in said.items() if k != "endpoint_override"}
    if endpoint:
        scheme, _, place = endpoint.rpartition("://")
        more |= {"endpoint_override": place.rstrip("/"), "scheme": scheme or said.get("scheme", "https")}
    if "region" not in more:
        more["region"] = _region(parts.netloc, bool(endpoint))
    retries = pafs.AwsStandardS3RetryStrategy(max_attempts=TRIES)
    # delayed: a small file is one request, not the three of a multipart upload
    fs = pafs.S3FileSystem(allow_delayed_open=True, request_timeout=60, connect_timeout=10, retry_strategy=retries, **more)
    return fs, f"{parts.netloc}{unquote(parts.path)}".rstrip("/")


def _region(bucket: str, elsewhere: bool) -> str:
    """The environment's, else the bucket's, else what every other server takes."""
    found = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if found or elsewhere:
        return found or "us-east-1"
    try:
        return str(pafs.resolve_s3_region(bucket))
    except OSError as error:
        raise InputError(f"store s3://{bucket}: its region is not found ({error}); say AWS_REGION or ?region=") from error
