"""Cut a CSV stream into blocks of complete lines."""

from __future__ import annotations

from io import BufferedReader
from typing import Final, NamedTuple

from fer_core.io.csv import decoder as csv_decoder
from fer_core.io.csv.lines import MAX_LINE_BYTES, PADDING

BLOCK_BYTES: Final = 1 << 20
"""Bytes that are decoded at once: they fit into a core's cache, and amortize a call over some 120 faces."""

FIRST_BLOCKS: Final = 4
"""Number of blocks after which a file is assumed to be read to its end, and not only its first rows."""


class Block(NamedTuple):
    """Complete lines in `text[begin:size]`; the last byte is LF, followed by padding for the kernel."""

    text: bytearray
    begin: int
    size: int


class BlockReader:
    """Cuts a stream into blocks, whose memory is reused after `give_back`."""

    def __init__(self, stream: BufferedReader, size: int | None) -> None:
        self._stream = stream
        self._size = size
        self._n_read = 0
        self._rest = b""
        self._free: list[bytearray] = []
        self._ended = False

    def give_back(self, block: Block) -> None:
        """Return the memory of a block that is no longer needed."""
        self._free.append(block.text)

    def read(self) -> Block | None:
        """Return the next lines, at least one and as many as are available; None at the end of the stream.

        A line that is longer than a block is skipped, except for its first MAX_LINE_BYTES.
        """
        self._n_read += 1
        if self._n_read == FIRST_BLOCKS and self._size is not None:
            csv_decoder.expect(self._size)
        text = self._free.pop() if self._free else bytearray(BLOCK_BYTES + PADDING)
        size, searched = len(self._rest), 0
        text[:size] = self._rest
        while (end := text.rfind(b"\n", searched, size) + 1) == 0:
            searched = size
            if self._ended and size == 0:
                return None
            if self._ended:
                text[size] = ord("\n")
                end = size = size + 1
                break
            if size == BLOCK_BYTES:
                self._rest = self._rest_after_line()
                text[MAX_LINE_BYTES] = ord("\n")
                return Block(text, 0, MAX_LINE_BYTES + 1)
            got = self._stream.readinto1(memoryview(text)[size:BLOCK_BYTES])
            self._ended = got == 0
            size += got
        self._rest = bytes(text[end:size])
        return Block(text, 0, end)

    def _rest_after_line(self) -> bytes:
        while piece := self._stream.read1(BLOCK_BYTES // 2):
            _before, newline, after = piece.partition(b"\n")
            if newline:
                return after
        self._ended = True
        return b""
