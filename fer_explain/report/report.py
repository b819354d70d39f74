"""The report as a folder: computes the results, then writes the page, its figures and the maps as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fer_core.io.crop import ALIGNED
from fer_core.outputs.rejects import save_rejects
from fer_core.outputs.staging import staged
from fer_explain.config import ReportConfig
from fer_explain.evaluation.skill import assess_skill
from fer_explain.face_file import DataSource, FaceFile, load_faces, path_of
from fer_explain.layers.structure import Layer, find_layer
from fer_explain.report.face_maps import explain_faces, mean_maps
from fer_explain.report.files import FIGURES, FOLDER, save_attributions, save_figures
from fer_explain.report.internals import default_layer, examine_network
from fer_explain.report.map_checks import check_maps
from fer_explain.report.methods import ChosenMethods, choose_methods
from fer_explain.report.page.render import render
from fer_explain.report.photo_maps import map_photos
from fer_explain.report.predictions import ScoredFaces, require_known_labels, score_faces
from fer_explain.report.regions import measure_regions
from fer_explain.report.results import GraphComparison, MapResults, ReportResults
from fer_explain.report.selection import select_faces
from fer_explain.verification import VerifiedModel, compare_logits, compare_precisions, load_verified


def write_report(
    data: DataSource,
    model: str | Path,
    output: str | Path,
    *,
    rows: Sequence[int] | None = None,
    methods: Sequence[str] | None = None,
    layer: str | int | None = None,
    config: ReportConfig | None = None,
    force: bool = False,
) -> Path:
    """Write a report that explains the decisions of a model on a set of faces.

    Parameters
    ----------
    data : path, FaceFile, Faces, ndarray of uint8, PIL images or DataFrame
        Faces, see `fer_core.as_faces`, and `FaceFile` for one split of a file or for photos. With labels, the accuracy
        on all of them is reported. Faces that were cut from photos are also shown in their photos, with their maps.
    model : str or Path
        Exports folder or run. For a run without an ONNX graph the comparison with the graph is omitted, and the report
        states this.
    output : str or Path
        Folder to create: `index.html`, which needs no other file; `figures/` with its images as PNG files; and
        `attributions.npz` with one entry per map: `attributions` float32 (R, 48, 48), `targets` int64 (R,), `logits`
        float32 (R, classes), `rows` int64 (R,), `methods` str (R,); `deltas` float32 (R,), the convergence delta of
        methods with completeness, else NaN; `samples` int64 (R,) and `errors` float32 (R,), number of gradients and
        relative error of maps that average gradients, else 0 and NaN; and `weights_sha256`.
    rows : sequence of int, optional
        Row numbers of the faces to show; the header of a CSV is row 1. Default, unless ``config.worst`` is given: 12
        faces of all classes and, with labels, the 6 most confident mistakes. With labels, up to 8 faces of the two most
        confused pairs of classes are added.
    methods : sequence of str, optional
        Names in `fer_explain.METHODS`; the first one is used for masked faces and mean maps. Default: saliency,
        integrated-gradients, grad-cam, occlusion and smoothgrad, as far as they suit the network.
    layer : str or int, optional
        Layer to show, see `fer_explain.list_layers`. Default: the last activation before the first pooling.
    config : ReportConfig, optional
        Number of mistakes, fraction of salient pixels, and seed.
    force : bool
        Replace an existing folder.

    Returns
    -------
    Path
        The page, `index.html` in `output`.

    Raises
    ------
    CardError, ModelError
        If the weights are not those of the ONNX graph, their outputs differ, or the maps of a named method would be
        wrong for the network.
    FerError
        If the data, a row, a method, the layer or the output is invalid. After an error there is no output.

    Examples
    --------
    >>> from fer_explain import write_report
    >>> page = write_report("faces.csv", "exports/course-cnn", "report", rows=[2, 17], methods=["saliency"])
    >>> page.name, sorted(path.name for path in page.parent.iterdir())
    ('index.html', ['attributions.npz', 'figures', 'index.html'])
    """
    config = config or ReportConfig()
    with staged(output, force=force, folder=FOLDER, inputs=(path_of(data), model)) as stage:
        verified = load_verified(model)
        shown_layer = default_layer(verified.network) if layer is None else find_layer(verified.network, layer)
        chosen = choose_methods(verified.network, methods)
        faces = load_faces(data)
        require_known_labels(faces, verified)
        scored = score_faces(verified, faces)
        results = _compute(verified, Path(model), data, scored, rows, chosen, shown_layer, config)
        save_attributions(stage / "attributions.npz", results.maps.explained, verified)
        save_figures(stage / FIGURES, results)
        save_rejects(stage, faces.rejected)
        page = render(results, stage / FIGURES)
        (stage / "index.html").write_text(page, encoding="utf-8", errors="backslashreplace")
    return Path(output) / "index.html"


def _compute(
    verified: VerifiedModel,
    model: Path,
    data: DataSource,
    scored: ScoredFaces,
    rows: Sequence[int] | None,
    chosen: ChosenMethods,
    layer: Layer,
    config: ReportConfig,
) -> ReportResults:
    """Compute the results of a report from the predictions."""
    faces = scored.faces
    selection = select_faces(faces, scored.probabilities, rows, config.worst)
    shown = faces.take(selection.shown)
    logits = compare_logits(verified, shown.images)
    comparison = GraphComparison(logits, compare_precisions(verified, shown.images, logits))
    explained = explain_faces(
        verified,
        shown,
        scored.probabilities[list(selection.shown)],
        chosen.methods,
        config,
        logits=None if logits is None else logits.pytorch,
    )
    skill = assess_skill(verified.card, faces, scored.probabilities)
    skill.warn(str(model))
    means = mean_maps(verified, scored, chosen.methods[0], seed=config.seed)
    maps = MapResults(
        chosen,
        explained,
        check_maps(verified, explained, scored, skill),
        means,
        measure_regions(verified, scored, means, explained, skill),
        map_photos(data, explained),
    )
    internals = examine_network(verified, layer, shown if len(shown) else faces, faces, seed=config.seed)
    taken = data.faces if isinstance(data, FaceFile) else ALIGNED
    return ReportResults(model.resolve().name, verified, comparison, scored, selection, maps, internals, taken)
