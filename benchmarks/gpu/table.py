"""Print results as Markdown.

python benchmarks/gpu/table.py results.json...    where two files have an entry of one name, the later one's is taken

Shares of the peak are counted operations, 2 for a multiply-add, over the measured ceiling of the same precision.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from record import leaves, read_entries

from fer_core import FerError

Results = dict[str, dict[str, dict[str, Any]]]


def merged(paths: list[Path]) -> Results:
    """Join several files of results."""
    found: Results = {}
    for path in paths:
        for step, entries in read_entries(path).items():
            found.setdefault(step, {}).update(entries)
    return found


def shares(results: Results) -> list[str]:
    """Return a table of the share of the chip's measured peak that scoring reaches."""
    lines = []
    for key, entry in results.get("score-speed", {}).items():
        model, precision, what = key.split("/", 2)
        peak = results.get("ceilings", {}).get(f"matmul {precision}", {}).get("flop_per_s")
        if what == "csv" and peak and "multiply_adds" in entry:
            for way in ("csv to predictions", "decoded faces to scores", "ONNX Runtime alone"):
                share = 2 * entry["multiply_adds"] * entry[way]["per_s"] / peak
                lines.append(f"| {model} | {precision} | {way} | {share:.2%} | {entry['n']} |")
    head = [
        "",
        "### share of the measured peak",
        "",
        "| model | precision | way | share | n |",
        "|---|---|---|---:|---:|",
    ]
    return head + lines if lines else []


def to_markdown(results: Results) -> str:
    """Return a section a step, with a row for every figure."""
    lines: list[str] = []
    for step, entries in results.items():
        on = "; ".join(sorted({entry["on"] for entry in entries.values()}))
        lines += ["", f"### {step}: {on}", "", "| entry | n | figure | value |", "|---|---:|---|---:|"]
        for key, entry in entries.items():
            for name, value in leaves(entry):
                if name not in ("n", "on", "took_s"):
                    lines.append(f"| {key} | {entry.get('n', '')} | {name} | {_cell(value)} |")
    return "\n".join([*lines, *shares(results)]).strip() + "\n"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.6g}"
    return str(value).replace("\n", " ").replace("|", "/")


def main(argv: list[str]) -> int:
    """Print the table of the files named."""
    if not argv:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        print(to_markdown(merged([Path(name) for name in argv])), end="")
    except FerError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
