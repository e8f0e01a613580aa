"""Many reads or writes of sockets as one system call: Linux's io_uring, driven as columns.

A system call costs more than what it does for a report of 65 bytes. A `Ring` is told descriptors, places in
memory and lengths as arrays, and one call does them all, in order, at once: nothing is left under way when it
returns, as nothing here may wait (MSG_DONTWAIT). Where the kernel is too old or does not allow it (Linux 6.1;
containers often forbid it), `ring_for` gives None, and everything goes one by one.

The layout of the rings is that of io_uring_setup(2).
"""

import ctypes
import errno
import mmap
import os
import socket
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Way: TypeAlias = Literal["auto", "on", "off"]
"""Whether a ring is used where there is one, must be, or must not be."""

ENTRIES: Final = 1024
"""Of one call. More are divided."""

_SETUP, _ENTER = 425, 426
"""Numbers of the system calls, the same for every processor."""
_COOP_TASKRUN, _SINGLE_ISSUER, _DEFER_TASKRUN = 1 << 8, 1 << 12, 1 << 13
"""One thread uses the ring and is never interrupted for it."""
_SINGLE_MMAP: Final = 1
_GETEVENTS: Final = 1
_REQUESTS_AT: Final = 0x10000000
_SEND, _RECEIVE = 26, 27
_FLAGS: Final = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL

_REQUEST: Final = np.dtype(
    {
        "names": ["opcode", "descriptor", "address", "length", "flags", "index"],
        "formats": ["u1", "<i4", "<u8", "<u4", "<u4", "<u8"],
        "offsets": [0, 4, 16, 24, 28, 32],
        "itemsize": 64,
    }
)
_RESULT: Final = np.dtype([("index", "<u8"), ("result", "<i4"), ("flags", "<u4")])


class _Parameters(ctypes.Structure):
    """`struct io_uring_params`. Of the offsets, words 0 to 4 and the place of the entries are used."""

    _fields_ = (
        ("sq_entries", ctypes.c_uint32),
        ("cq_entries", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("unused", ctypes.c_uint32 * 2),
        ("features", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 4),
        ("sq_offsets", ctypes.c_uint32 * 10),
        ("cq_offsets", ctypes.c_uint32 * 10),
    )


_system_call = ctypes.CDLL(None, use_errno=True).syscall
_system_call.restype = ctypes.c_long


class Ring:
    """One ring, for the thread that made it."""

    def __init__(self) -> None:
        """Ask the system for it.

        Raises:
            OSError: the system has none for us.
        """
        wanted = _Parameters(flags=_COOP_TASKRUN | _SINGLE_ISSUER | _DEFER_TASKRUN)
        self._descriptor = int(_system_call(_SETUP, ENTRIES, ctypes.byref(wanted)))
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "io_uring_setup")
        try:
            self._map(wanted)
        except BaseException:
            self.close()
            raise

    def _map(self, given: _Parameters) -> None:
        if not given.features & _SINGLE_MMAP:
            raise OSError("io_uring is too old")
        sq, cq = list(given.sq_offsets), list(given.cq_offsets)
        size = max(sq[6] + 4 * given.sq_entries, cq[5] + _RESULT.itemsize * given.cq_entries)
        shared = mmap.mmap(self._descriptor, size)
        requests = mmap.mmap(self._descriptor, _REQUEST.itemsize * given.sq_entries, offset=_REQUESTS_AT)
        words = np.frombuffer(shared, np.uint32, size // 4)
        self._requests = np.frombuffer(requests, _REQUEST)
        self._requests["flags"] = _FLAGS
        self._requests["index"] = np.arange(given.sq_entries)
        self._head, self._tail = words[sq[0] // 4 :][:1], words[sq[1] // 4 :][:1]
        words[sq[6] // 4 :][: given.sq_entries] = np.arange(given.sq_entries)
        self._done_head, self._done_tail = words[cq[0] // 4 :][:1], words[cq[1] // 4 :][:1]
        self._done = np.frombuffer(shared, _RESULT, given.cq_entries, cq[5])

    def close(self) -> None:
        """Give it back."""
        os.close(self._descriptor)

    def send(
        self, descriptors: npt.NDArray[np.int32], address: int, lengths: npt.NDArray[np.uint32]
    ) -> npt.NDArray[np.int32]:
        """Write to each what stands for it in memory, back to back from `address` on. Give for each how many
        bytes it took, or the error's number, negative: EAGAIN also where the system did not come to it.
        """
        ends = lengths.cumsum(dtype=np.uint64)
        return self._do(_SEND, descriptors, np.uint64(address) + ends - lengths, lengths)

    def receive(
        self, descriptors: npt.NDArray[np.int32], addresses: npt.NDArray[np.uint64], most: int
    ) -> npt.NDArray[np.int32]:
        """Read at most so many bytes of each to its address. Give how many came, or errors, as `send`."""
        return self._do(_RECEIVE, descriptors, addresses, np.full(len(descriptors), most, np.uint32))

    def _do(
        self,
        opcode: int,
        descriptors: npt.NDArray[np.int32],
        addresses: npt.NDArray[np.uint64],
        lengths: npt.NDArray[np.uint32],
    ) -> npt.NDArray[np.int32]:
        results = np.full(len(descriptors), -errno.EAGAIN, np.int32)
        begin = 0
        while begin < len(descriptors):
            # Requests stand in the order of the ring, so those up to its end go in one call.
            first = int(self._tail[0]) % ENTRIES
            some = slice(begin, min(begin + ENTRIES - first, len(descriptors)))
            count = some.stop - begin
            requests = self._requests[first : first + count]
            requests["opcode"] = opcode
            requests["descriptor"] = descriptors[some]
            requests["address"] = addresses[some]
            requests["length"] = lengths[some]
            self._tail += np.uint32(count)
            _system_call(_ENTER, self._descriptor, count, 0, _GETEVENTS, None, 0)
            self._tail[:] = self._head  # short of memory it takes only some
            found = np.arange(count) + self._done_head
            done = self._done[found[: int((self._done_tail - self._done_head)[0])] % len(self._done)]
            results[begin + (done["index"].astype(np.intp) - first)] = done["result"]
            self._done_head[:] = self._done_tail
            begin = some.stop
        return results


def ring_for(way: Way) -> Ring | None:
    """Give a ring where the system has one for us.

    Raises:
        OSError: one must be used, and there is none; the text is for the person who wanted it.
    """
    if way == "off":
        return None
    try:
        return Ring()
    except (OSError, ValueError) as error:
        if way == "on":
            why = f"io_uring is to be used, but this system has none for us ({error}); `auto` does without"
            raise OSError(errno.ENOSYS, why) from None
        return None
