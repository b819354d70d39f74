import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from report_page import Page, read_page
from tiny_models import CNN, make_card, write_csv
from torch import nn

from fer_core import ConfigError, DataError, Faces, ModelError, OutputError
from fer_explain.attribution import attributions_of, find_method
from fer_explain.cli import main
from fer_explain.config import ReportConfig
from fer_explain.report.files import _scales
from fer_explain.report.methods import REPORT_SETTINGS, choose_methods, settings_of
from fer_explain.report.report import write_report
from fer_explain.report.selection import select_faces
from fer_explain.verification import load_verified
from fer_train.exporting.graph import stamp, write_graph
from fer_train.exporting.half import halve
from fer_train.prediction import predict_logits
from fer_train.runs.checkpoint import load_model_and_card, save_weights

METHODS = ("saliency", "integrated-gradients", "occlusion")
WORST = ReportConfig(worst=2)


@pytest.fixture(scope="module")
def folder(exports: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(
        data,
        exports,
        tmp_path_factory.mktemp("report") / "out",
        rows=(2, 3, 9),
        methods=METHODS,
        config=ReportConfig(worst=2),
    ).parent


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return read_page(folder / "index.html")


def test_the_page_needs_nothing_from_outside(folder: Path, page: Page) -> None:
    for _, attributes in page.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), value
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://", text)
    assert "@import" not in text
    assert "url(" not in text
    assert not page.all("script")
    (policy,) = [meta for meta in page.all("meta") if "http-equiv" in meta]
    assert policy["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_every_picture_has_an_alternative_text_of_its_own(page: Page) -> None:
    texts = [image["alt"] for image in page.all("img")]
    assert all(texts)
    repeated = [text for text in texts if texts.count(text) > 1]
    assert all((text or "").startswith("Row ") for text in repeated), "only a face may be in two sections"
    assert not [text for text in repeated if ":" in (text or "")], "a face has one card"


def test_the_page_is_usable_without_seeing_it(page: Page) -> None:
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    assert len(page.all("main")) == 1
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for attributes in page.all("a"):
        assert (attributes["href"] or "").removeprefix("#") in ids
    for section in page.all("section"):
        assert section["aria-labelledby"] in ids
    assert all(cell.get("scope") in ("row", "col", "rowgroup") for cell in page.all("th"))


def test_every_section_is_there(page: Page) -> None:
    titles = {section["id"] for section in page.all("section")}
    expected = {"reading", "faces", "mistakes", "accuracy", "confused", "labels", "tests", "classes", "filters"}
    expected |= {"regions", "layer", "maximization", "verification", "card", "limits"}
    assert titles == expected
    assert "Attribution is not causation." in page.text
    assert "Labels are noisy." in page.text
    assert "The data is biased." in page.text


def test_an_id_of_script_stays_text(page: Page) -> None:
    assert "<script>alert(1)</script>" in page.text
    assert not page.all("script")


def test_labels_and_card_entries_stay_text(run: Path, faces: Faces, tmp_path: Path) -> None:
    from dataclasses import replace

    from fer_train.runs.checkpoint import load_model_and_card

    network, card = load_model_and_card(run)
    evil = '"><img src=x onerror=alert(1)>'
    hostile = replace(card, labels=(evil, *card.labels[1:]), selection=evil, versions={evil: evil})
    target = tmp_path / evil.replace("/", "")
    target.mkdir()
    save_weights(target / "ema.safetensors", network.state_dict(), hostile)
    data = write_csv(tmp_path / "faces.csv", faces.images[:3], [0, 1, 2], ["a", "b", "c"])
    page = read_page(write_report(data, target, tmp_path / "out", rows=(2,), methods=("saliency",)))
    assert evil in page.text
    assert all((image["src"] or "").startswith("data:") and "onerror" not in image for image in page.all("img"))


def test_the_verification_contains_both_hashes_and_all_logits(page: Page, exports: Path) -> None:
    assert page.text.count(load_verified(exports).weights_sha256) == 3
    assert "tensors are bitwise identical" in page.text
    assert page.text.count("PyTorch") >= 5


def test_dead_and_duplicate_filters_are_named_and_maximization_is_compared_with_faces(
    cnn: nn.Module, data: Path, page: Page, tmp_path: Path
) -> None:
    convolution = cnn.get_submodule("features.2")
    convolution.bias.data[1] = -1e6
    convolution.weight.data[3] = 2 * convolution.weight.data[0]
    convolution.bias.data[3] = 2 * convolution.bias.data[0]
    folder = tmp_path / "planted"
    folder.mkdir()
    save_weights(folder / "ema.safetensors", cnn.state_dict(), make_card(cnn, "course-cnn", CNN))
    options = {"rows": (2,), "methods": ("saliency",)}
    planted = read_page(write_report(data, folder, tmp_path / "out", layer="features.3", **options))
    assert "Dead channels that are never above zero on 21 faces: 1." in planted.text
    assert "Duplicate channels, with a correlation of outputs of at least 0.95: 0 and 3 (1.00)." in planted.text
    weights = read_page(write_report(data, folder, tmp_path / "weights", layer="features.2", **options))
    assert "Duplicate channels, with a cosine similarity of weights of at least 0.95: 0 and 3 (1.00)." in weights.text
    assert "its ratio to the maximum on 21 real faces spread over the data" in " ".join(page.text.split())
    assert len(re.findall(r"(?:angry|fear|happy): -?[\d.e-]+ \((?:\d+(?:\.\d)?x|faces: .*?)\)", page.text)) == 3


def test_a_cell_of_the_matrix_opens_faces_of_it_and_no_more_than_it_has(
    page: Page, exports: Path, faces: Faces
) -> None:
    scorer = load_verified(exports).scorer
    assert scorer is not None
    predicted = scorer.run(faces.images)[1].argmax(axis=1)
    cells = set(zip(faces.require_labels().tolist(), predicted.tolist(), strict=True))
    drawers = {tag["id"] for tag in page.all("div") if "popover" in tag}
    opened = [tag["popovertarget"] for tag in page.all("button") if tag.get("popovertargetaction") != "hide"]
    assert drawers == set(opened) == {f"cell-{i}-{j}" for i, j in cells}


def test_the_accuracy_comes_with_its_interval_and_number(page: Page, exports: Path, faces: Faces) -> None:
    scorer = load_verified(exports).scorer
    assert scorer is not None
    correct = (scorer.run(faces.images)[1].argmax(axis=1) == faces.require_labels()).mean()
    assert f"{correct:.1%} on 21 faces" in " ".join(page.text.split())
    assert "95% Wilson interval" in page.text


def test_the_values_of_the_maps_are_saved(folder: Path, faces: Faces, exports: Path) -> None:
    found = dict(np.load(folder / "attributions.npz"))
    assert found["rows"].tolist()[:3] == [2, 3, 9]
    assert {len(values) for name, values in found.items() if name != "weights_sha256"} == {len(found["rows"])}
    network = load_verified(exports).network
    for method in METHODS:
        lines = {name: found[name][found["methods"] == method] for name in ("attributions", "targets", "rows")}
        logits = found["logits"][found["methods"] == method]
        places = lines["rows"] - 2
        expected = attributions_of(
            network,
            find_method(method),
            faces.images[places],
            lines["targets"],
            rows=lines["rows"],
            config=settings_of(find_method(method), 0),
        )
        np.testing.assert_allclose(lines["attributions"], expected["attributions"], atol=1e-6)
        (predicted, other), labels = lines["targets"].reshape(2, -1), faces.require_labels()[places].reshape(2, -1)[0]
        wrong = predicted != labels
        np.testing.assert_array_equal(predicted, logits[: len(predicted)].argmax(axis=1))
        np.testing.assert_array_equal(other[wrong], labels[wrong])
        assert (other != predicted).all()


def test_unfinished_maps_are_marked_below_the_map_in_the_table_and_in_the_numbers(
    exports: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REPORT_SETTINGS, "tolerance", 0.0)
    monkeypatch.setitem(REPORT_SETTINGS, "max_samples", 20)
    methods = ("saliency", "integrated-gradients")
    written = write_report(data, exports, tmp_path / "out", rows=(2, 3), methods=methods)
    found = np.load(written.parent / "attributions.npz")
    integrated = found["methods"] == "integrated-gradients"
    assert (found["errors"][integrated] > 0).all()
    assert (found["samples"][integrated] == 20).all()
    assert np.isnan(found["errors"][~integrated]).all()
    assert (found["samples"][~integrated] == 0).all()
    text = " ".join(read_page(written).text.split())
    n = int(integrated.sum())
    assert len(re.findall(r"⚠ sum off by \d+(?:\.\d)?%", text)) == n
    assert f"⚠ {n} of {n} maps are unfinished after 20 samples" in text


def test_finished_maps_have_no_mark(page: Page, folder: Path) -> None:
    errors = np.load(folder / "attributions.npz")["errors"]
    assert np.nanmax(errors) <= 0.05
    assert "⚠" not in page.text


def test_the_figures_are_saved_with_the_page(folder: Path) -> None:
    names = {path.name for path in (folder / "figures").iterdir()}
    assert {
        "confusion.png",
        "layer_outputs.png",
        "maximization.png",
        "classes.png",
        "class_means.png",
        "face_row_2.png",
    } <= names
    for path in (folder / "figures").iterdir():
        with Image.open(path) as image:
            image.verify()


def test_the_pictures_for_other_documents_show_their_scales() -> None:
    strips, captions = _scales(tuple(map(find_method, METHODS)))
    assert captions == ["no / strongest influence", "against / for the class"]
    assert strips.shape == (2, 48, 48, 3)
    low, high = strips[1, 0, 0].astype(int), strips[1, 0, -1].astype(int)
    assert low[2] > low[0]  # blue against
    assert high[0] > high[2]  # orange for
    assert strips[0, 0, -1].sum() > strips[0, 0, 0].sum()
    assert _scales((find_method("saliency"),))[1] == captions[:1]


def test_equal_input_gives_equal_bytes(exports: Path, data: Path, folder: Path, tmp_path: Path) -> None:
    again = write_report(data, exports, tmp_path / "out", rows=(2, 3, 9), methods=METHODS, config=WORST).parent
    for path in sorted(folder.rglob("*.*")):
        assert (again / path.relative_to(folder)).read_bytes() == path.read_bytes(), path.name


def test_a_run_without_labels_is_explained_without_verification(run: Path, faces: Faces, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "faces.csv", faces.images[:5], None, [str(i) for i in range(5)])
    page = read_page(write_report(data, run, tmp_path / "out", layer="0"))
    assert "This folder contains no model.onnx" in page.text
    titles = {section["id"] for section in page.all("section")}
    assert not titles & {"accuracy", "mistakes", "confused", "labels"}
    assert "grad-cam is omitted" in page.text
    assert "The first layer of this network is dense" in page.text
    assert "no label" in page.text
    with pytest.raises(DataError, match="has no labels"):
        write_report(data, run, tmp_path / "other", config=ReportConfig(worst=3))
    with pytest.raises(ModelError, match=r"^grad-cam: .*$"):
        write_report(data, run, tmp_path / "other", methods=("saliency", "grad-cam"))
    assert not (tmp_path / "other").exists()


def test_a_report_of_nothing_is_refused(run: Path, tmp_path: Path) -> None:
    empty = tmp_path / "faces.csv"
    empty.write_text("id,label,feature\n")
    with pytest.raises(DataError, match=r"contains no faces$"):
        write_report(empty, run, tmp_path / "out")


def test_an_existing_report_is_kept_without_force(exports: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputError, match="out: exists already; `force=True` replaces it"):
        write_report(data, exports, tmp_path / "out")


def test_faces_are_spread_over_classes_and_mistakes_sorted_by_confidence(faces: Faces) -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(7), len(faces)).astype(np.float32)
    labels = faces.require_labels()
    found = select_faces(faces, probabilities, None, None)
    assert len(found.chosen) == 12
    assert np.bincount(labels[list(found.chosen)], minlength=7).min() >= 1
    assert len(found.mistakes) == 6
    wrong = [i for i in range(len(faces)) if probabilities[i].argmax() != labels[i]]
    assert list(found.mistakes) == sorted(wrong, key=lambda i: -probabilities[i].max())[:6]


def test_rows_and_worst_select_these_faces(faces: Faces) -> None:
    right = np.eye(7, dtype=np.float32)[faces.require_labels()]
    assert select_faces(faces, right, (9, 2), None) == select_faces(faces, right, (9, 2), 3)
    assert select_faces(faces, right, (9, 2), 3).shown == (7, 0)
    assert select_faces(faces, right, None, 3).shown == ()
    with pytest.raises(ConfigError, match="worst: expected at least 1, found 0"):
        ReportConfig(worst=0)


def test_confused_faces_are_of_the_pairs_mistaken_most_and_not_shown_elsewhere(faces: Faces) -> None:
    labels = faces.require_labels()
    probabilities = np.full((len(faces), 7), 0.05, np.float32)
    predicted_as = np.where(labels == 2, 4, np.where(labels == 4, 2, labels))  # fear and sad, always
    probabilities[np.arange(len(faces)), predicted_as] = 0.7
    found = select_faces(faces, probabilities, (2,), None)
    assert list(found.confused) == [(2, 4), (4, 2)]
    for (label, predicted), places in found.confused.items():
        assert 1 <= len(places) <= 2
        assert set(labels[list(places)]) == {label}
        assert set(predicted_as[list(places)]) == {predicted}
    shown = [place for places in found.confused.values() for place in places]
    assert not set(shown) & {*found.chosen, *found.mistakes}
    everywhere = select_faces(faces, probabilities, None, 50)
    assert not any(everywhere.confused.values())
    assert sorted(everywhere.mistakes) == np.flatnonzero(predicted_as != labels).tolist()


def test_unsuited_default_methods_are_left_out_and_unknown_ones_refused(run: Path, exports: Path) -> None:
    dense, convolutions = load_verified(run).network, load_verified(exports).network
    assert list(choose_methods(dense, None).left_out) == ["grad-cam"]
    assert not choose_methods(convolutions, None).left_out
    assert [method.name for method in choose_methods(dense, ("occlusion", "occlusion")).methods] == ["occlusion"]
    with pytest.raises(ConfigError, match=r"method: expected one of saliency, .*found 'centre'"):
        choose_methods(dense, ("centre",))


def test_a_report_of_one_face_says_what_could_not_be_tested(run: Path, faces: Faces, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "faces.csv", faces.images[:1], None, ["a"])
    network, card = load_model_and_card(run)
    better = replace(card, scores={"PublicTest": {"n": 3589, "accuracy": 0.7}})
    (tmp_path / "run").mkdir()
    save_weights(tmp_path / "run" / "ema.safetensors", network.state_dict(), better)
    page = read_page(write_report(data, tmp_path / "run", tmp_path / "out", methods=("saliency",)))
    assert "because fewer than two are shown" in page.text
    assert "The sanity check was not run" in page.text
    assert "deletion 0." in page.text
    assert re.search(r"(better than all|worse than all|better than \d+ of) (39|20) controls", page.text)


def test_a_page_without_faces_is_verified_on_drawn_faces(exports: Path, faces: Faces, tmp_path: Path) -> None:
    predicted = predict_logits(load_verified(exports).network, faces.images[:4]).argmax(axis=1)
    data = write_csv(tmp_path / "faces.csv", faces.images[:4], predicted.tolist(), ["a", "b", "c", "d"])
    text = " ".join(
        read_page(
            write_report(data, exports, tmp_path / "out", methods=("saliency",), config=ReportConfig(worst=1))
        ).text.split()
    )
    assert "on the 0 faces shown and 8 drawn faces, PyTorch compared with ONNX Runtime" in text
    assert "at most 0.0e+00" not in text


def test_the_graph_of_lower_precision_is_compared(exports: Path, data: Path, faces: Faces, tmp_path: Path) -> None:
    folder = tmp_path / "both"
    shutil.copytree(exports, folder)
    network, card = load_model_and_card(folder)
    lower = replace(card, precision="fp16", scores={})
    write_graph(halve(network), lower, folder / "model.fp16.onnx")
    stamp(folder / "model.fp16.onnx", lower)
    page = read_page(write_report(data, folder, tmp_path / "out", rows=(2, 3), methods=("integrated-gradients",)))
    text = " ".join(page.text.split())
    found = r"exported from the same weights in lower precision; not used by default on this CPU. Its logits differ "
    found = rf"model\.fp16\.onnx ?{found}by up to [\d.e-]+; it predicts another class for \d of the \d faces shown"
    assert re.search(found, text)
    assert re.search(
        r"In this report the sum of a map differs from its theoretical value by (less than 1|\d+)% \(median of the",
        text,
    )


def test_a_model_without_mistakes_still_gets_a_report(run: Path, faces: Faces, tmp_path: Path) -> None:
    network = load_verified(run).network
    predicted = predict_logits(network, faces.images[:4]).argmax(axis=1)
    data = write_csv(tmp_path / "faces.csv", faces.images[:4], predicted.tolist(), ["a", "b", "c", "d"])
    page = read_page(write_report(data, run, tmp_path / "out", methods=("saliency",), config=WORST))
    assert "100.0%" in page.text
    assert "All predictions are correct." in page.text


def test_rows_that_cannot_be_read_are_left_out_on_request_and_listed(exports: Path, data: Path, tmp_path: Path) -> None:
    wrong, output = tmp_path / "wrong.csv", tmp_path / "out"
    text = data.read_text()
    wrong.write_text(text + ",".join(["0"] * len(text.splitlines()[0].split(","))) + "\n")
    arguments = ["report", wrong, "--model", exports, "--output", output, "--rows", 2, "--methods", "saliency"]
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 1
    assert re.search(r"wrong\.csv row \d+, column ", result.stderr)
    result = CliRunner().invoke(main, [*map(str, arguments), "--on-error", "skip"])
    assert result.exit_code == 0, result.output
    assert f"{output / 'rejects.csv'}: rows that could not be read" in result.stdout
    lines = (output / "rejects.csv").read_text().splitlines()
    assert (lines[0], len(lines)) == ("file,row,column,message", 2)
