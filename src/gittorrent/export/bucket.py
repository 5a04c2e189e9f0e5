"""A bucket of S3, or of what speaks its protocol, by obstore: Apache's object_store.

The library is imported where a bucket is named, and is not among what this program needs. It knows
the usual places of credentials, sends in parts what is large, and tries again what fails. Objects
appear whole or not at all. Source: docs/decisions/0059-exports-are-the-http-resources.md.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

from gittorrent.durable import process_space
from gittorrent.errors import LocalError, UnreachableError, UsageError
from gittorrent.export.inventory import FOLDERS, STATE, is_exported_name
from gittorrent.export.lease import LEASE_SECONDS, MAX_NOTE, RENEW_SECONDS, Note, parse_note
from gittorrent.export.place import BusyPlaceError, LockLostError, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

SCHEME = "s3://"
LOCK = f"{STATE}/lock"

AT_ONCE = 16
"""Short objects sent side by side: each takes as long as the way there and back."""

CHUNK = 8 << 20
"""Bytes of a part of a large object, at least; some are on their way at once."""

MAX_CHUNKS = 9000
"""Parts that a large object may have; S3 takes 10,000."""

CHUNKS_AT_ONCE = 4

RETRIES = 5
RETRY_SECONDS = 60
"""How often, and for how long, what fails is tried again."""

SHORT_SECONDS = 30.0
"""Time for a request that asks for next to nothing."""

LONG_SECONDS = 300.0
"""Time for a request with bytes of files, of which some share the line: at home it takes them in at
1 Mbit/s. A server that is silent then costs twice that."""

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""Variables that name the server for Amazon's own tools, the one that counts first."""

MACHINES_CREDENTIALS = ("/latest/api/token", "/latest/meta-data/")
"""What the library asks Amazon's machines for when it was told no credentials."""

NO_BUCKET = "NoSuchBucket"
"""What S3 answers to one who lists a bucket that is none; for the library that is no own case."""

PLACE_HINT = "make the bucket first; check --endpoint, the bucket's name and AWS_REGION"

CREDENTIALS_HINT = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, of somebody who may list,"
    " read, write and delete there"
)

MAX_LISTED = 1 << 21
"""Objects of a prefix that are looked at: as many files as an inventory has."""

MAX_EXPLANATION = 300
"""Characters that are shown of what a server answers."""


class Bucket:
    """A `gittorrent.export.place.Place`.

    Args:
        url: ``s3://BUCKET/PREFIX``.
        endpoint: URL of the server; None for the one that the environment names, or Amazon's.
        most: objects that may be listed.
        short_seconds: for a request without bytes of files.

    Raises:
        UsageError: the URL is none, or the library is missing.
    """

    def __init__(
        self,
        url: str,
        endpoint: str | None = None,
        most: int = MAX_LISTED,
        short_seconds: float = SHORT_SECONDS,
    ) -> None:
        self._most = most
        bucket, _, prefix = url.removeprefix(SCHEME).partition("/")
        self._prefix = prefix.strip("/")
        if not bucket or not self._prefix:
            raise UsageError(
                f"{url} names no bucket, or no prefix in it",
                hint="as in s3://BUCKET/PROJECT; each repository has a prefix of its own",
            )
        try:
            import obstore
            from obstore import exceptions, store
        except ImportError as error:
            raise UsageError(
                "buckets need the library obstore, which is not installed here",
                hint="'pipx inject gittorrent obstore', or 'pip install obstore' beside it",
            ) from error
        self._obstore: Any = obstore
        self._errors: Any = exceptions
        self.name = f"{SCHEME}{bucket}/{self._prefix}"
        endpoint = endpoint or _usual_endpoint()
        if endpoint is not None and not endpoint.startswith(("https://", "http://")):
            raise UsageError(
                f"{endpoint} is no URL of a bucket's server", hint=f"write https://{endpoint}"
            )
        plain = endpoint is not None and endpoint.startswith("http://")
        # Without TLS there are no certificates to judge, and the machine may know no authority.
        options: Any = {"allow_http": True, "allow_invalid_certificates": True} if plain else {}
        given: dict[str, Any] = {} if endpoint is None else {"endpoint": endpoint}
        if "AWS_REGION" not in os.environ and "AWS_DEFAULT_REGION" not in os.environ:
            given["region"] = "us-east-1"
        if "AWS_PROFILE" in os.environ:
            given["credential_provider"] = _profile()

        def opened(seconds: float, retrying: float) -> Any:
            client: Any = {**options, "timeout": timedelta(seconds=seconds)}
            retries: Any = {"max_retries": RETRIES, "retry_timeout": timedelta(seconds=retrying)}
            return store.S3Store(
                bucket, prefix=self._prefix, client_options=client, retry_config=retries, **given
            )

        try:
            self._store = opened(short_seconds, RETRY_SECONDS)
            self._files = opened(LONG_SECONDS, LONG_SECONDS + RETRY_SECONDS)
        except (exceptions.BaseError, ValueError) as error:
            raise UsageError(f"{url} cannot be used: {_first_line(error)}") from error

    @contextlib.contextmanager
    def held(self) -> Iterator[_Lease]:
        """Keep others from writing to it."""
        lease = _Lease(self)
        lease.take()
        try:
            yield lease
        finally:
            lease.release()

    def present(self) -> Mapping[str, int]:
        """Return what is there, with sizes.

        Raises:
            LocalError: more is listed than any export has; a server may never come to an end.
        """
        found: dict[str, int] = {}
        listed = 0
        with self._asking():
            for folder in FOLDERS:
                for batch in self._obstore.list(self._store, folder):
                    listed += len(batch)
                    if listed > self._most:
                        raise LocalError(
                            f"{self.name} lists more than {self._most} objects",
                            hint="export to a prefix where nothing else is",
                        )
                    names = ((str(each["path"]), int(each["size"])) for each in batch)
                    found.update((n, size) for n, size in names if is_exported_name(n))
            for name in ("mirror-list", "bundle-list"):
                with contextlib.suppress(FileNotFoundError):
                    found[name] = int(self._obstore.head(self._store, name)["size"])
        return found

    def read(self, name: str, most: int) -> bytes | None:
        """Return a short object."""
        found = self._read(name, most)
        return None if found is None else found[0]

    def _read(self, name: str, most: int) -> tuple[bytes, str] | None:
        """Return a short object, and what tells this state of it from others."""
        with self._asking():
            try:
                store = self._store if name == LOCK else self._files
                answer = self._obstore.get(store, name)
            except FileNotFoundError:
                return None
            if answer.meta["size"] > most:
                raise LocalError(f"{self.name}/{name} has more than {most} bytes")
            return bytes(answer.bytes()), str(answer.meta["e_tag"])

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield an object's bytes."""
        with self._asking(), contextlib.suppress(FileNotFoundError):
            for chunk in self._obstore.get(self._files, name).stream(min_chunk_size=1 << 20):
                yield bytes(chunk)

    def write_small(self, files: Mapping[str, bytes]) -> None:
        """Write short objects, some side by side."""
        with self._asking(), ThreadPoolExecutor(min(AT_ONCE, len(files) or 1)) as threads:
            for _ in threads.map(self._put, files, files.values()):
                pass

    def _put(self, name: str, data: bytes) -> None:
        self._obstore.put(self._files, name, data, attributes=_attributes(name))

    def write(self, name: str, size: int, chunks: Iterator[bytes]) -> None:
        """Write an object, in parts: what ends it before its end leaves none."""
        failed: list[BaseException] = []

        def counted() -> Iterator[bytes]:
            count = 0
            try:
                for chunk in chunks:
                    count += len(chunk)
                    yield chunk
                if count != size:
                    raise LocalError(f"{name} was to have {size} bytes and has {count}")
            except BaseException as error:
                failed.append(error)
                raise

        with self._asking():
            try:
                self._obstore.put(
                    self._files,
                    name,
                    counted(),
                    attributes=_attributes(name),
                    use_multipart=True,
                    chunk_size=max(CHUNK, size // MAX_CHUNKS + 1),
                    max_concurrency=CHUNKS_AT_ONCE,
                )
            except BaseException:
                if failed:  # the library may say it in words of its own
                    raise failed[0] from None
                raise

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects."""
        if names:
            with self._asking():
                self._obstore.delete(self._store, list(names))

    def read_note(self) -> tuple[Note | None, str] | None:
        """Return who holds the bucket, and the state that says so; None if nobody does."""
        found = self._read(LOCK, MAX_NOTE)
        return None if found is None else (parse_note(found[0]), found[1])

    def write_note(self, note: Note, seen: str | None) -> str | None:
        """Write who holds the bucket.

        Args:
            note: says it.
            seen: the state that it may replace; None for none.

        Returns:
            The new state; None if somebody else was faster.
        """
        mode = "create" if seen is None else {"e_tag": seen}
        with self._asking():
            try:
                done = self._obstore.put(self._store, LOCK, note.text(), mode=mode)
            except (self._errors.AlreadyExistsError, self._errors.PreconditionError):
                return self._state_of(note)
            except self._errors.GenericError:
                # It may have been written, and the answer lost.
                state = self._state_of(note)
                if state is None:
                    raise
                return state
            except FileNotFoundError:
                if seen is None:  # nothing was to be there: it is the bucket that is not
                    raise
                return None
        return str(done["e_tag"])

    def _state_of(self, note: Note) -> str | None:
        """Return the state of the bucket if it says just that, as where a request came twice."""
        found = self.read_note()
        return found[1] if found is not None and found[0] == note else None

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Say in this program's words what the library raises."""
        try:
            yield
        except (self._errors.UnauthenticatedError, self._errors.PermissionDeniedError) as error:
            raise _refused(self.name, error) from error
        except PermissionError as error:
            raise _refused(self.name, error) from error
        except (NotImplementedError, self._errors.NotSupportedError) as error:
            raise UnreachableError(
                f"the server of {self.name} lacks what exports need: {_first_line(error)}",
                hint="it has to take conditional writes (If-None-Match), as S3 does",
            ) from error
        except FileNotFoundError as error:
            raise UnreachableError(
                f"{self.name} is not there: {_first_line(error)}", hint=PLACE_HINT
            ) from error
        except self._errors.BaseError as error:
            if NO_BUCKET in str(error):
                raise UnreachableError(f"{self.name} is not there", hint=PLACE_HINT) from error
            if any(path in str(error) for path in MACHINES_CREDENTIALS):
                raise UsageError(
                    f"there are no credentials for {self.name}", hint=CREDENTIALS_HINT
                ) from error
            raise UnreachableError(
                f"cannot use {self.name}: {_first_line(error)}",
                hint=PLACE_HINT,
            ) from error


class _Lease:
    """The right to write to a bucket, which a thread keeps while this process lives."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._space = process_space()
        self._seen: str | None = None
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="lease", daemon=True)

    def take(self) -> None:
        """Become the one who writes.

        Raises:
            BusyPlaceError: somebody else does.
        """
        found = self._bucket.read_note()
        if found is not None:
            note, self._seen = found
            if note is not None and not note.is_over(int(time.time()), self._space, _is_alive):
                raise BusyPlaceError(
                    f"{note.host} exports to {self._bucket.name}, process {note.pid}",
                    hint="wait for it, or end it; if its machine is gone, this works in"
                    f" {note.until - int(time.time())} seconds",
                )
        if not self._renew():
            raise BusyPlaceError(f"another process has just begun to export to {self._bucket.name}")
        self._keeper.start()

    def check(self) -> None:
        """Make sure that nobody has taken the bucket over."""
        with self._guard:
            is_held = self._renew()  # by the server, whatever the clocks of others said
        if not is_held:
            raise LockLostError(
                f"another process took over {self._bucket.name} while this one did not answer"
            )

    def release(self) -> None:
        """Let others write."""
        self._ended.set()
        self._keeper.join()
        with contextlib.suppress(UnreachableError):  # it runs out by itself
            found = self._bucket.read_note()
            if found is not None and found[1] == self._seen:
                self._bucket.remove([LOCK])

    def _renew(self) -> bool:
        note = Note(
            socket.gethostname()[:100], self._space, os.getpid(), int(time.time()) + LEASE_SECONDS
        )
        seen = self._bucket.write_note(note, self._seen)
        if seen is None:
            return False
        self._seen = seen
        return True

    def _keep(self) -> None:
        while not self._ended.wait(RENEW_SECONDS):
            with self._guard, contextlib.suppress(UnreachableError):  # `check` finds out
                if not self._renew():
                    return


def _attributes(name: str) -> dict[str, str]:
    kind = kind_of(name)
    return {"Content-Type": kind.content_type, "Cache-Control": kind.cache}


def _usual_endpoint() -> str | None:
    """Return the server that Amazon's own tools would ask, if the environment names one."""
    return next((found for name in ENDPOINTS if (found := os.environ.get(name))), None)


def _profile() -> object:
    """Return what gives the credentials of the profile that AWS_PROFILE names."""
    try:
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as error:
        raise UsageError(
            "AWS_PROFILE is set, and profiles are read by boto3, which is not installed here",
            hint="pip install boto3, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead",
        ) from error
    try:
        return Boto3CredentialProvider()
    except (BotoCoreError, ValueError) as error:
        raise UsageError(
            f"AWS_PROFILE cannot be used: {_first_line(error)}", hint=CREDENTIALS_HINT
        ) from error


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _refused(name: str, error: Exception) -> UsageError:
    return UsageError(
        f"the server of {name} refuses: {_first_line(error)}",
        hint=CREDENTIALS_HINT,
    )


def _first_line(error: Exception) -> str:
    """Return what an error of the library says, with the first cause that it quotes."""
    text, _, source = str(error).partition("\n\nDebug source:")
    cause = re.search(r'(?:General|Custom|message:)[\s(]*"([^"]+)"', source)
    said = " ".join(text.split()) or type(error).__name__
    return (said if cause is None else f"{said}: {cause[1]}")[:MAX_EXPLANATION]
