"""A model card in a few lines, as a table for notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

HASH_DIGITS: Final = 12
"""Digits of a sha256 that a summary shows."""


def html_table(caption: str, rows: Sequence[tuple[str, str]]) -> str:
    """Return an HTML table of names and texts, all of them escaped.

    Parameters
    ----------
    caption : str
        Title above the table.
    rows : sequence of (str, str)
        Name and text of each row.
    """
    cells = "".join(
        f'<tr><th style="text-align: left">{escape(name)}</th><td style="text-align: left">{escape(text)}</td></tr>'
        for name, text in rows
    )
    return f"<table><caption>{escape(caption)}</caption><tbody>{cells}</tbody></table>"


def card_rows(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the names and texts of a card's summary; `card` is a `ModelCard` as a dict."""
    data = card["training_data"]
    rows = [
        ("Architecture", _architecture_text(card["architecture"], card["architecture_arguments"])),
        ("Classes", ", ".join(card["labels"])),
        ("Precision", card["precision"]),
        *((f"Accuracy on {split}", _score_text(score)) for split, score in card["scores"].items()),
        ("Training data", training_data_text(data)),
    ]
    if lineage := _lineage_text(data):
        rows.append(("Lineage", lineage))
    return [*rows, ("Weights", card["selection"]), ("sha256", card["weights_sha256"][:HASH_DIGITS])]


def _architecture_text(name: str, arguments: Mapping[str, Any]) -> str:
    return f"{name} ({', '.join(f'{key}={value}' for key, value in arguments.items())})" if arguments else name


def training_data_text(data: Mapping[str, Any]) -> str:
    """Return on how many faces a network was trained, and on how many of another split it was validated."""
    cut = f" (faces: {data['faces']})" if "faces" in data else ""
    others = [f"{n:,} {split} faces" for split, n in data["rows"].items() if split != "Training"]
    validated = f"; validated on {', '.join(others)}" if others else ""
    return f"{data['rows']['Training']:,} Training faces of {data['source']}{cut}{validated}"


def _score_text(score: Any) -> str:
    try:
        low, high = score["wilson_95"]
        text = f"{score['accuracy']:.2%} (n = {score['n']:,}; 95% confidence interval {low:.2%} to {high:.2%}"
        return f"{text}; test-time augmentation: {score['tta']})"
    except (KeyError, TypeError, ValueError):  # a card may hold any scores
        return str(score)


def _lineage_text(data: Mapping[str, Any]) -> str:
    parts = []
    if "initial" in data:
        parts.append(f"initialized with {_network_text(data['initial'])}")
    if "teachers" in data:
        parts.append(f"taught by {' and '.join(map(_network_text, data['teachers']))}")
    if "members" in data:
        parts.append(f"ensemble of {', '.join(map(_network_text, data['members']))}")
    return "; ".join(parts)


def _network_text(network: Mapping[str, Any]) -> str:
    return f"{network['architecture']} {network['weights_sha256'][:HASH_DIGITS]}"
