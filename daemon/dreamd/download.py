"""One file over HTTP into a .part beside its place, continued where an earlier attempt stopped.

Knows nothing of what is in the file: whoever asks for it compares the hash and moves it into place.
"""

from __future__ import annotations

import http.client
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from dreamwire import __version__
from dreamwire.errors import DreamError
from dreamwire.private import secure_file

#: Called with the bytes that are here and the bytes of the whole file.
Progress = Callable[[int, int], None]

MIB = 1 << 20
CHUNK = 256 * 1024
#: Connections made for one file while they break, and by how many seconds the pause between them grows.
TRIES = 4
PAUSE = 0.5


class PullCancelledError(Exception):
    """The caller's `cancelled` said so; what has come is kept, and the next pull goes on from there."""


class _DroppedError(Exception):
    """The connection ended before the file did; another one may bring the rest."""


def check_url(url: str) -> str:
    """`url` itself if a file can be fetched from it, else `ValueError`, that tells no password."""
    parts = urlsplit(url)  # this and .port raise ValueError too
    if "@" in parts.netloc:
        raise ValueError(
            "an address with a user's name in it cannot be used, because it would be told in messages"
        )
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.port == 0 or not url.isascii():
        raise ValueError(f"{url!r:.200} is no address that begins with https:// or http://")
    return url


def require_space(folder: Path, needed: int) -> None:
    """Raises `DreamError` download if the disk of `folder` has not room for so many more bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DreamError(
            "download",
            f"{needed / MIB:.1f} MB are needed, but the disk of {folder} has {free / MIB:.1f} MB free. Free some,"
            " or set DEEPDREAM_DATA to a folder on another disk.",
        )


def discard(part: Path) -> None:
    """Forgets what has come of a file."""
    _tag(part).unlink(missing_ok=True)
    part.unlink(missing_ok=True)


@dataclass(frozen=True)
class Download:
    """Brings `part` to the whole length of the file at `url`.

    `announced` is the file's size in bytes as far as it is known; twice as much is refused. `stall` is how many
    seconds without a byte are an error. `advice` ends the message of an error: what to do next.
    """

    url: str
    part: Path
    announced: int
    progress: Progress
    cancelled: Callable[[], bool]
    stall: float
    advice: str

    @property
    def host(self) -> str:
        """Whom it comes from, for messages."""
        return urlsplit(self.url).netloc

    def run(self) -> None:
        """Receives until `part` is whole, over at most `TRIES` connections.

        Raises `PullCancelledError` before a read once `cancelled` says so, `DreamError` download, and `OSError`
        only of the disk. All of them keep what has come, unless it is useless.
        """
        reason = ""
        for attempt in range(TRIES):
            time.sleep(PAUSE * attempt)
            try:
                self._receive()
            except _DroppedError as error:
                reason = str(error)
            else:
                return
        raise self._kept(f"The connection to {self.host} broke {TRIES} times ({reason})")

    def check_cancelled(self) -> None:
        """Raises `PullCancelledError` if `cancelled` says so."""
        if self.cancelled():
            raise PullCancelledError(f"The download from {self.host} was cancelled; what has come is kept.")

    def _receive(self) -> None:
        """One connection: appends what `part` lacks, or begins anew if the server's file is another one."""
        self.check_cancelled()
        tag = _tag(self.part)
        offset = self.part.stat().st_size if self.part.exists() and tag.exists() else 0
        validator = tag.read_text("latin-1") if offset else ""
        resume = {"Range": f"bytes={offset}-", "If-Range": validator} if validator else {}
        with self._open(resume) as response:
            if response.status != http.HTTPStatus.PARTIAL_CONTENT:
                offset = 0
            elif not resume or not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
                discard(self.part)
                raise _DroppedError("it sent another part of the file than was asked for")
            missing = response.length  # None if the server does not say
            total = self.announced if missing is None else offset + missing
            self._check_size(total)
            require_space(self.part.parent, total - offset)
            if not offset:
                discard(self.part)  # first, so that no tag ever stands beside the bytes of another file
                self.part.touch(mode=0o600)
                tag.touch(mode=0o600)
                tag.write_text(_validator(response), "latin-1")
            done = offset
            self.progress(done, total)
            with open(self.part, "ab", opener=secure_file) as file:
                for chunk in self._chunks(response, missing):
                    file.write(chunk)
                    done += len(chunk)
                    self._check_size(done)
                    self.progress(done, max(done, total))
        if missing is not None and done < total:
            raise _DroppedError(f"{done} of {total} bytes came")

    def _open(self, resume: dict[str, str]) -> http.client.HTTPResponse:
        """The server's response; `resume` are the headers that ask for the rest of the file, or none."""
        headers = {"User-Agent": f"deep-dream-gimp/{__version__}", **resume}
        request = urllib.request.Request(check_url(self.url), headers=headers)  # noqa: S310 - http(s) alone
        opener = urllib.request.build_opener(_Redirects)  # anew each time: it reads the proxies of the environment
        try:
            response: http.client.HTTPResponse = opener.open(request, timeout=self.stall)
        except urllib.error.HTTPError as error:
            error.close()
            if resume and error.code in (400, 412, 416):  # it is the resume that is refused
                discard(self.part)
                raise _DroppedError(f"it answered {error.code}") from error
            later = error.code == http.HTTPStatus.TOO_MANY_REQUESTS or error.code >= 500
            raise self._failure(
                f"{self.host} answered {error.code} {error.reason:.80}", retryable=later
            ) from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise self._stalled() from error
            raise self._failure(f"No connection to host {self.host} ({error.reason})", retryable=True) from error
        except TimeoutError as error:
            raise self._stalled() from error
        except OSError as error:
            raise _DroppedError(str(error)) from error
        except http.client.HTTPException as error:
            raise self._failure(f"{self.host} does not answer as a web server does ({error!r:.80})") from error
        return response

    def _chunks(self, response: http.client.HTTPResponse, missing: int | None) -> Iterator[bytes]:
        """The body as it comes: `missing` bytes, or until the server ends it."""
        while missing is None or missing > 0:
            self.check_cancelled()
            try:
                chunk = response.read1(CHUNK if missing is None else min(CHUNK, missing))
            except TimeoutError as error:
                raise self._stalled() from error
            except (OSError, http.client.HTTPException) as error:
                raise _DroppedError(str(error)) from error
            if not chunk:
                return
            if missing is not None:
                missing -= len(chunk)
            yield chunk

    def _check_size(self, size: int) -> None:
        limit = 2 * self.announced
        if size > limit:
            discard(self.part)
            raise self._failure(f"{self.host} sends more than {limit / MIB:.1f} MB, twice the size of the file")

    def _stalled(self) -> DreamError:
        return self._kept(f"{self.host} has sent nothing for {self.stall:g} seconds")

    def _kept(self, what: str) -> DreamError:
        return self._failure(f"{what}; what has come is kept", retryable=True)

    def _failure(self, what: str, *, retryable: bool = False) -> DreamError:
        return DreamError("download", f"{what}. {self.advice}", retryable=retryable)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https and within one scheme: nobody on the way may lead a download off https."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in ("https", req.type):
            fp.close()
            raise DreamError(
                "download",
                f"{req.host} leads from {req.type} to {_without_keys(newurl)}, which is not https, so it was not"
                " followed."
                " Set DEEPDREAM_WEIGHTS_URL to another mirror, or try another network connection.",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _without_keys(url: str) -> str:
    """An address for a message: servers sign where they lead to by what stands behind the question mark."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"[:200]


def _tag(part: Path) -> Path:
    """The file that holds the validator of what `part` is a part of."""
    return part.with_name(part.name + ".tag")


def _validator(response: http.client.HTTPResponse) -> str:
    """What names a state of the file for If-Range (RFC 9110, 13.1.5): a strong ETag, else its date, else ""."""
    etag: str = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
