"""JSON lines between processes: one message a line, whole or not at all."""

from __future__ import annotations

import json
import os
import select
import time

from harness.jsontypes import JSON

Message = dict[str, JSON]


class PeerGone(ConnectionError):
    """The other side closed the pipe before a whole message came."""


class WireTimeout(TimeoutError):
    """No whole message came in time."""


class Wire:
    """A pair of file descriptors that carry JSON lines. Not thread-safe."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd
        self._pending = b""

    def send(self, message: Message) -> None:
        """Write one message.

        Raises:
            PeerGone: nobody reads any more.
        """
        data = json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self.write_fd, view) :]
        except (BrokenPipeError, OSError) as error:
            raise PeerGone(str(error)) from error

    def receive(self, timeout_s: float | None = None) -> Message:
        """The next message.

        Raises:
            WireTimeout: none came within `timeout_s` seconds.
            PeerGone: end of file.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while b"\n" not in self._pending:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self.read_fd], [], [], left)
            if not ready:
                raise WireTimeout(f"no answer within {timeout_s} s")
            data = os.read(self.read_fd, 1 << 16)
            if not data:
                raise PeerGone("end of file")
            self._pending += data
        line, self._pending = self._pending.split(b"\n", 1)
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError(f"expected a JSON object, got {line[:80]!r}")
        return message

    def close(self) -> None:
        """Close both ends that are ours."""
        for fd in {self.read_fd, self.write_fd}:
            try:
                os.close(fd)
            except OSError:
                pass
