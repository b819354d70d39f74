"""Measure where on the faces of a data set the attribution maps of a model lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import DataError
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.rejects import REJECTS_FILE, save_rejects
from fer_core.outputs.staging import staged
from fer_core.terminal.progress import progress
from fer_explain.config import RegionConfig, RegionSampleConfig, SampleConfig
from fer_explain.evaluation.compared_maps import maps_of
from fer_explain.evaluation.files import write_json, write_table
from fer_explain.evaluation.intervals import RESAMPLES
from fer_explain.evaluation.method_names import require_methods, with_controls
from fer_explain.evaluation.regions.geometry import REGIONS
from fer_explain.evaluation.regions.landmarks import is_located, locate_landmarks
from fer_explain.evaluation.regions.picture import draw_regions, mean_face
from fer_explain.evaluation.regions.shares import FaceShares, compare_regions, measure_shares
from fer_explain.evaluation.regions.summary import RegionResults
from fer_explain.evaluation.sample import Sample, load_sample
from fer_explain.plots import save_figure
from fer_infer.photos.find import shared_detector

DEFAULT_METHODS: Final = ("saliency", "occlusion")
"""A gradient, and a method without gradients; both suit every architecture."""
FOLDER: Final = OutputFolder(
    always=("regions.json", "regions.csv"),
    sometimes=("shares.npz", "regions.png", REJECTS_FILE),
)
"""Names of all output files."""


def regions(
    data: str | Path,
    model: str | Path,
    output: str | Path,
    *,
    methods: Sequence[str] = DEFAULT_METHODS,
    sample: SampleConfig | None = None,
    config: RegionConfig | None = None,
    force: bool = False,
) -> RegionResults:
    """Measure which regions of the face attribution maps prefer, per class and over a data set, and write the results.

    The regions follow the landmarks of each face. Faces without landmarks are left out and counted. The class of a face
    is the one that its maps explain: by default the predicted class, with ``target="true"`` the label.

    Parameters
    ----------
    data : str or Path
        Faces, as `fer_core.read_faces` takes them.
    model : str or Path
        An exports folder or a run.
    output : str or Path
        The folder to write: `regions.json` with all results and settings, `regions.csv` with one row per method, class
        and region, `shares.npz` with the shares of each face, and `regions.png`.
    methods : sequence of str
        Names in `fer_explain.METHODS`, or ``center``. The controls ``random`` and ``center`` are always measured too.
    sample : SampleConfig, optional
        Faces to use and class to explain; by default 1000 faces.
    config : RegionConfig, optional
        Number of control maps, and random seed, also of the sample.
    force : bool
        Replace an existing folder.

    Returns
    -------
    RegionResults

    Raises
    ------
    DataError
        If fewer than two faces have landmarks.
    FerError
        If the detector of landmarks is not installed (extra `photos`), or data, model, a setting or the output is not
        as expected. No output is left in this case.

    Examples
    --------
    >>> from fer_explain import SampleConfig, regions
    >>> few = SampleConfig(sample_size=20)
    >>> found = regions("faces.csv", "exports/compact", "regions", methods=["saliency"], sample=few)
    >>> found.n, [each.region for each in found.of("saliency")]
    (20, ['forehead', 'brows', 'eyes', 'nose', 'cheeks', 'mouth', 'chin', 'outside'])
    """
    sample, config = sample or RegionSampleConfig(), config or RegionConfig()
    require_methods(methods)
    with staged(output, force=force, folder=FOLDER, inputs=(data, model)) as stage:
        shared_detector()  # an error before anything is read if it is not installed
        drawn = load_sample(data, model, with_controls(methods), sample, seed=config.seed)
        save_rejects(stage, drawn.faces.rejected)
        landmarks = locate_landmarks(drawn.faces.images)
        located = is_located(landmarks)
        if located.sum() < 2:
            found = f"{located.sum()} of {len(located)} faces"
            raise DataError(drawn.faces.source, f"expected landmarks in at least 2 faces, found them in {found}")
        measured = replace(drawn, faces=drawn.faces.take(np.flatnonzero(located)), targets=drawn.targets[located])
        shares = _measure(measured, with_controls(methods), landmarks[located], config)
        left_out = drawn.faces.rows[~located]
        results = summarize(shares, measured.targets, measured.model.card.labels, left_out, seed=config.seed)
        settings = {"target": sample.target, "split": sample.split, **asdict(config), "resamples": RESAMPLES}
        arrays = {"landmarks": landmarks[located], "rows_without_landmarks": left_out}
        _write(results, measured, shares, arrays, settings, stage)
    return results


def summarize(
    measured: FaceShares,
    classes: NDArray[np.int64],
    labels: Sequence[str],
    rows_without_landmarks: NDArray[np.int64],
    *,
    seed: int = 0,
) -> RegionResults:
    """Compare the regions, and count the faces; parameters as for `compare_regions`."""
    counts = np.bincount(classes, minlength=len(labels)).tolist()
    return RegionResults(
        tuple(compare_regions(measured, classes, labels, seed=seed)),
        len(classes),
        dict(zip(labels, counts, strict=True)),
        tuple(rows_without_landmarks.tolist()),
    )


def _measure(
    sample: Sample, methods: tuple[str, ...], landmarks: NDArray[np.float64], config: RegionConfig
) -> FaceShares:
    """Compute the maps of each method and their shares."""
    network, faces = sample.model.network, sample.faces
    chosen = faces.images, sample.targets, faces.rows
    with progress("maps", len(methods) * len(faces), "maps") as advance:
        maps = {method: maps_of(method, network, *chosen, seed=config.seed, advance=advance) for method in methods}
    return measure_shares(maps, landmarks, faces.rows, controls=config.controls, seed=config.seed)


def _write(
    results: RegionResults,
    sample: Sample,
    measured: FaceShares,
    arrays: Mapping[str, NDArray[Any]],
    settings: Mapping[str, Any],
    stage: Path,
) -> None:
    from fer_explain.evaluation.plots import region_figure

    about = {
        **sample.provenance,
        "without_landmarks": len(results.rows_without_landmarks),
        "rows_without_landmarks": results.rows_without_landmarks,
        "faces_per_class": results.faces_per_class,
        "settings": settings,
    }
    write_json(stage / "regions.json", {**about, "shares": [each.as_json() for each in results.shares]})
    write_table(stage / "regions.csv", [each.table_row() for each in results.shares])
    stored: dict[str, Any] = {
        "shares": np.stack(list(measured.shares.values())),
        "areas": measured.areas,
        **{f"controls_{method}": values for method, values in measured.controls.items()},
        "methods": np.array(list(measured.shares)),
        "regions": np.array(REGIONS),
        "rows": sample.faces.rows,
        "targets": sample.targets,
        **arrays,
        "weights_sha256": np.array(sample.model.weights_sha256),
    }
    np.savez(stage / "shares.npz", **stored)
    picture = draw_regions(*mean_face(sample.faces.images, arrays["landmarks"]))
    save_figure(region_figure(results, picture), stage / "regions.png")
