"""Descriptions of the architectures: a table of all, and a text on one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fer_train.models.registry import ARCHITECTURES, as_json, build_model, find_architecture

if TYPE_CHECKING:
    from rich.table import Table


def architecture_table() -> Table:
    """Return a table of all architectures, from the registry only: no network is built."""
    from rich.table import Table

    table = Table("architecture", box=None, pad_edge=False)
    table.add_column("parameters", justify="right")
    table.add_column("multiply-adds", justify="right")
    table.add_column("description")
    for name, entry in ARCHITECTURES.items():
        table.add_row(name, f"{entry.parameters:,}", f"{entry.multiply_adds:,}", entry.summary)
    return table


def architecture_text(name: str) -> str:
    """Return the description of one architecture in lines, with figures counted on the network.

    Raises
    ------
    ConfigError
        If there is no such architecture.
    """
    from fer_train.models.complexity import count_parameters
    from fer_train.models.int8_suitability import int8_suitability

    entry = find_architecture(name)
    model = build_model(name, mean=0.0, std=1.0)
    suitability = int8_suitability(model)
    config = {key: value for key, value in entry.config.items() if key != "augment"} | dict(
        entry.config.get("augment", {})
    )
    return "\n".join(
        [
            f"{name}: {entry.summary}",
            f"  parameters: {count_parameters(model):,}",
            f"  multiply-adds per face: {suitability.multiply_adds:,}",
            f"  int8: {suitability.to_text()}",
            f"  arguments: {as_json(entry.arguments())}",
            f"  training settings: {as_json(config) or 'the defaults of `fer-train fit`'}",
        ]
    )
