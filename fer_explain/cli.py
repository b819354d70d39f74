"""The program `fer-explain`: the commands of `fer_explain.commands` under one name."""

from __future__ import annotations

import click

from fer_core.terminal.program import Program
from fer_explain.commands.attribution import attribute, methods, preflight
from fer_explain.commands.evaluation import faithfulness, ground_truth, regions, sanity
from fer_explain.commands.layers import feature_maps, filters, layers
from fer_explain.commands.maximization import maximize
from fer_explain.commands.report import report


@click.group(name="fer-explain", cls=Program)
@click.version_option(package_name="fer-toolkit", prog_name="fer-explain")
def main() -> None:
    """Explain the decisions of a model, and verify that the explained model is the deployed one."""


for command in (
    report,
    attribute,
    methods,
    preflight,
    maximize,
    filters,
    feature_maps,
    layers,
    faithfulness,
    sanity,
    ground_truth,
    regions,
):
    main.add_command(command)
