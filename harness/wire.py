"""JSON lines between processes: one message a line, whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from collections.abc import Iterable

from harness.jsontypes import JSON

Message = dict[str, JSON]


class PeerGone(ConnectionError):
    """The other side closed the pipe before a whole message came."""


class WireTimeout(TimeoutError):
    """No whole message came in time."""


class Interrupted(Exception):
    """Something else happened that makes waiting pointless; `ready` holds the descriptors."""

    def __init__(self, ready: set[int]) -> None:
        super().__init__(f"descriptors {sorted(ready)} became ready first")
        self.ready = ready


class Wire:
    """A pair of file descriptors that carry JSON lines. Not thread-safe."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd
        self._pending = bytearray()
        self._open = True

    def send(self, message: Message) -> None:
        """Write one message.

        Raises:
            PeerGone: nobody reads any more.
            ValueError, TypeError: the message is not JSON (NaN, an object); nothing was written.
        """
        text = json.dumps(message, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
        # half of a surrogate pair (an undecodable file name in an error) is no text: shown as "?"
        data = text.encode(errors="replace") + b"\n"
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self.write_fd, view) :]
        except OSError as error:
            raise PeerGone(str(error)) from error

    def receive(self, timeout_s: float | None = None, watch: Iterable[int] = ()) -> Message:
        """The next message.

        Args:
            timeout_s: how long to wait for it; None waits for ever.
            watch: other descriptors; when one of them is ready and no message is, waiting is in vain.

        Raises:
            WireTimeout: none came within `timeout_s` seconds.
            PeerGone: end of file.
            Interrupted: a watched descriptor became ready first.
            ValueError: the line is not a JSON object.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        poll = select.poll()
        for fd in (self.read_fd, *watch):
            poll.register(fd, select.POLLIN)
        searched = 0
        while (end := self._pending.find(b"\n", searched)) < 0:
            searched = len(self._pending)
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = {fd for fd, _ in poll.poll(None if left is None else left * 1000)}
            if not ready:
                raise WireTimeout(f"no answer within {timeout_s} s")
            if self.read_fd not in ready:
                raise Interrupted(ready)
            data = os.read(self.read_fd, 1 << 16)
            if not data:
                raise PeerGone("end of file")
            self._pending += data
        line = bytes(self._pending[:end])
        del self._pending[: end + 1]
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError(f"expected a JSON object, got {line[:80]!r}")  # noqa: TRY004 - the text is wrong
        return message

    def close(self) -> None:
        """Close both ends that are ours. A second call does nothing: the numbers may be another's by then."""
        if not self._open:
            return
        self._open = False
        for fd in {self.read_fd, self.write_fd}:
            with contextlib.suppress(OSError):
                os.close(fd)
