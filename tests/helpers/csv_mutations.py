"""Kinds of damage to a CSV, each at random places."""

from __future__ import annotations

import random
import re
from collections.abc import Callable


def _cells(line: bytes) -> list[bytes]:
    return line.split(b",")


def _swap(items: list[bytes], rng: random.Random) -> list[bytes]:
    one, other = rng.randrange(len(items)), rng.randrange(len(items))
    items[one], items[other] = items[other], items[one]
    return items


def _replace_value(data: bytes, rng: random.Random, new: bytes) -> bytes:
    """Put `new` in the place of one pixel, the next one after any position."""
    pixel = re.compile(rb"(?<= )[0-9]+(?= )")
    at = pixel.search(data, rng.randrange(len(data))) or pixel.search(data)
    assert at is not None
    return data[: at.start()] + new + data[at.end() :]


def _at(data: bytes, rng: random.Random) -> int:
    """A position, mostly near commas, quotes, line ends and the header."""
    tender = [match.start() for match in re.finditer(rb'[,\n"]', data)] + list(range(24)) + [len(data) - 1]
    at = rng.choice(tender) + rng.randint(-2, 2) if rng.random() < 0.8 else rng.randrange(len(data) + 1)
    return min(max(at, 0), len(data))


def _insert(data: bytes, rng: random.Random, new: bytes) -> bytes:
    at = _at(data, rng)
    return data[:at] + new + data[at + rng.choice([0, 0, 1, 1, 2]) :]


def _cell_changed(data: bytes, rng: random.Random, change: Callable[[list[bytes]], list[bytes]]) -> bytes:
    lines = data.split(b"\n")
    number = rng.randrange(len(lines))
    lines[number] = b",".join(change(_cells(lines[number])))
    return b"\n".join(lines)


LISTS = [rb"[\1]", rb'"[\1]"', rb"[\1", rb" [ \1 ]"]
BLANK_LINES = [b"\n\n", b"\n \t\r\n", b"\r\r\n"]
LABELS = [b"Happy", b"5.0", b" 06 ", b"7"]

MUTATIONS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "cut": lambda data, rng: data[: _at(data, rng)],
    "cut at both ends": lambda data, rng: data[min(_at(data, rng), 30) : _at(data, rng)],
    "byte": lambda data, rng: _insert(data, rng, rng.choice([*b"0129  ,,\"\n\r\t\0-+.aT", 0xC3, 0xFF]).to_bytes()),
    "byte doubled": lambda data, rng: _insert(data, rng, rng.choice([b",,", b"  ", b"\n\n", b'""', b"\r\r", b"00"])),
    "byte lost": lambda data, rng: _insert(data, rng, b""),
    "line doubled": lambda data, rng: b"\n".join([*(lines := data.split(b"\n"))[:2], rng.choice(lines), *lines[2:]]),
    "lines swapped": lambda data, rng: b"\n".join(_swap(data.split(b"\n"), rng)),
    "cells swapped": lambda data, rng: _cell_changed(data, rng, lambda cells: _swap(cells, rng)),
    "cell missing": lambda data, rng: _cell_changed(data, rng, lambda cells: cells[1:]),
    "cell extra": lambda data, rng: _cell_changed(data, rng, lambda cells: [*cells, rng.choice([b"", b"1", cells[0]])]),
    "overlong value": lambda data, rng: _replace_value(data, rng, rng.choice([b"0255", b"1" * 30, b"0000"])),
    "value missing": lambda data, rng: _replace_value(data, rng, b""),
    "two values": lambda data, rng: _replace_value(data, rng, b"1 2"),
    "negative": lambda data, rng: _replace_value(data, rng, b"-1"),
    "float": lambda data, rng: _replace_value(data, rng, rng.choice([b"1.0", b"1.", b"1.5", b"1e1", b"nan", b"inf"])),
    "separator": lambda data, rng: _replace_value(data, rng, rng.choice([b"\t1", b" 1", b"1,", b" \t 1 ", b",1"])),
    "list": lambda data, rng: re.sub(rb'"?([0-9 ]{999,})"?', rng.choice(LISTS), data),
    "commas": lambda data, rng: re.sub(rb"(?<=[0-9]) (?=[0-9])", rng.choice([b",", b", ", b"\t", b"  ", b",,"]), data),
    "blank lines": lambda data, rng: data.replace(b"\n", rng.choice(BLANK_LINES), rng.randint(1, 4)),
    "label": lambda data, rng: re.sub(rb"(?<=[,\n])[0-6](?=[,\r\n])", rng.choice(LABELS), data),
    "split": lambda data, rng: re.sub(rb"Training", rng.choice([b"train", b"TEST", b" val ", b"dev"]), data),
    "over 255": lambda data, rng: _replace_value(data, rng, rng.choice([b"256", b"999", b"300"])),
    "NUL": lambda data, rng: _replace_value(data, rng, rng.choice([b"\0", b"1\0", b"\x001"])),
    "leading zero": lambda data, rng: _replace_value(data, rng, rng.choice([b"007", b"00", b"01"])),
    "quotes": lambda data, rng: _insert(data, rng, b'"'),
    "UTF-16": lambda data, rng: data.decode().encode(rng.choice(["utf-16", "utf-16-le", "utf-16-be"])),
    "CR only": lambda data, rng: data.replace(b"\r", b"").replace(b"\n", b"\r"),
    "CRLF": lambda data, rng: data.replace(b"\r", b"").replace(b"\n", b"\r\n"),
    "empty": lambda data, rng: b"",
    "header only": lambda data, rng: data.split(b"\n")[0] + rng.choice([b"", b"\n", b"\r\n", b"\n\n"]),
    "nothing": lambda data, rng: data,
}  # fmt: skip


def mutated(data: bytes, rng: random.Random, first: str) -> bytes:
    """One kind of damage, and sometimes some bytes more."""
    data = MUTATIONS[first](data, rng)
    while data and rng.random() < 0.3:
        data = MUTATIONS[rng.choice(["byte", "byte doubled", "byte lost"])](data, rng)
    return data
