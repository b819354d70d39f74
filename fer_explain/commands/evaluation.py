"""Commands that evaluate attribution methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fer_core.terminal.options import (
    data_argument,
    force_option,
    given,
    output_option,
    seed_option,
    settings_options,
)
from fer_explain.commands.options import methods_option, model_option, sample_of, sample_options
from fer_explain.config import (
    FaithfulnessConfig,
    GroundTruthConfig,
    RegionConfig,
    RegionSampleConfig,
    SampleConfig,
    SanitySampleConfig,
)

METHODS_HELP = "Comma-separated attribution methods; `fer-explain methods` lists them."


@click.command()
@data_argument
@model_option
@methods_option(METHODS_HELP)
@output_option("The folder to write: faithfulness.json and .csv, scores.npz, curves.png, ranking.png.")
@settings_options(FaithfulnessConfig)
@sample_options(SampleConfig)
def faithfulness(data: Path, model: Path, methods: tuple[str, ...], output: Path, force: bool, **options: Any) -> None:
    """Measure how faithful attribution maps are (deletion, insertion, infidelity, max-sensitivity, sparsity).

    Each map is compared with random control maps of the same roughness and centering: a method is better, no
    different or worse than its controls, by a 95% bootstrap interval over faces. Methods are ranked by insertion minus
    deletion. Maps of `random` and `center`, which ignore the model, are measured as well.

    \b
    Example:
      fer-explain faithfulness faces.csv --model exports/compact --methods saliency,grad-cam --output faithfulness
    """
    sample = sample_of(SampleConfig, options)
    config = FaithfulnessConfig(**given(options))
    from fer_explain.evaluation.faithfulness import measure_faithfulness
    from fer_explain.evaluation.metrics.faithfulness import RANKED_BY

    for score in measure_faithfulness(data, model, methods, output, sample=sample, config=config, force=force):
        if score.score == RANKED_BY:
            click.echo(str(score))
    click.echo(f"{output}: faithfulness.json, faithfulness.csv, scores.npz, curves.png, ranking.png")


@click.command()
@data_argument
@model_option
@methods_option(METHODS_HELP)
@output_option("The folder to write: sanity.json and .csv, similarity.npz, cascading.png, independent.png.")
@sample_options(SanitySampleConfig)
@seed_option
def sanity(
    data: Path, model: Path, methods: tuple[str, ...], output: Path, seed: int, force: bool, **options: Any
) -> None:
    """Check whether attribution maps depend on the learned weights (sanity checks, Adebayo et al. 2018).

    The weights of a copy of the network are randomized layer by layer. A method fails if its maps stay similar. The
    controls `random` and `center` ignore the weights and are expected to fail.

    \b
    Example:
      fer-explain sanity faces.csv --model exports/compact --methods saliency,guided-backprop --output sanity
    """
    sample = sample_of(SanitySampleConfig, options)
    from fer_explain.evaluation.sanity import check_sanity

    for verdict in check_sanity(data, model, methods, output, sample=sample, seed=seed, force=force):
        click.echo(str(verdict))
    click.echo(f"{output}: sanity.json, sanity.csv, similarity.npz, cascading.png, independent.png")


@click.command("ground-truth")
@model_option
@methods_option(METHODS_HELP)
@output_option("The folder to write: ground_truth.json and .csv, scores.npz, ranking.png.")
@settings_options(GroundTruthConfig)
@force_option
def ground_truth(model: Path, methods: tuple[str, ...], output: Path, force: bool, **settings: Any) -> None:
    """Compare attribution maps with the regions that define the expression of drawn faces.

    The model must be better than chance on drawn faces, and misclassified faces are left out. For meaningful results,
    train it on the output of `fer-train synthesize` with another seed.

    \b
    Example:
      fer-explain ground-truth --model exports/compact --methods saliency,occlusion --output ground-truth
    """
    config = GroundTruthConfig(**given(settings))
    from fer_explain.evaluation.ground_truth import RANKED_BY, compare_with_ground_truth

    compared = compare_with_ground_truth(model, methods, output, config=config, force=force)
    click.echo(f"{compared[0].value.n} of {config.faces} drawn faces recognized")
    for score in compared:
        if score.score == RANKED_BY:
            click.echo(str(score))
    click.echo(f"{output}: ground_truth.json, ground_truth.csv, scores.npz, ranking.png")


@click.command()
@data_argument
@model_option
@methods_option(f"{METHODS_HELP}  [default: saliency, occlusion]", required=False)
@output_option("The folder to write: regions.json and .csv, shares.npz, regions.png.")
@settings_options(RegionConfig)
@sample_options(RegionSampleConfig)
def regions(
    data: Path, model: Path, methods: tuple[str, ...] | None, output: Path, force: bool, **options: Any
) -> None:
    """Measure which regions of the face attribution maps prefer (brows, eyes, nose, mouth, ...), per class.

    The regions follow the landmarks of each face, which the extra `photos` finds; faces without landmarks are left out
    and counted. For each region, the share of the map is divided by the share of the area: 1.0x means no preference.
    Each map is compared with random control maps of the same roughness and centering. A face counts for the class that
    its maps explain, see --target.

    \b
    Example:
      fer-explain regions faces.csv --model exports/compact --methods saliency,grad-cam --output regions
    """
    sample = sample_of(RegionSampleConfig, options)
    config = RegionConfig(**given(options))
    from fer_explain.evaluation.regions.measurement import DEFAULT_METHODS
    from fer_explain.evaluation.regions.measurement import regions as measure

    results = measure(
        data, model, output, methods=methods or DEFAULT_METHODS, sample=sample, config=config, force=force
    )
    click.echo(str(results))
    click.echo(f"{output}: regions.json, regions.csv, shares.npz, regions.png")
