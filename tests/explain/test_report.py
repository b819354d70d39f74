import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_models import write_csv

from fer_core import ConfigError, DataError, Faces, OutputError
from fer_explain.attribution import saliency
from fer_explain.proof import load_proven
from fer_explain.report import report
from fer_explain.report.selection import select_faces

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Parses a page, checks that its tags are balanced, and keeps what the tests ask about."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def read_page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(exports: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(data, exports, tmp_path_factory.mktemp("report") / "out", rows=(2, 3, 9), worst=2).parent


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
    assert all((text or "").startswith("Row ") for text in repeated), "only a face may stand in two sections"


def test_the_page_is_usable_without_seeing_it(page: Page) -> None:
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    assert len(page.all("main")) == 1
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for attributes in page.all("a"):
        assert (attributes["href"] or "").removeprefix("#") in ids
    for section in page.all("section"):
        assert section["aria-labelledby"] in ids
    assert all(cell.get("scope") in ("row", "col") for cell in page.all("th"))


def test_every_section_is_there(page: Page) -> None:
    titles = {section["id"] for section in page.all("section")}
    expected = {"reading", "faces", "mistakes", "accuracy", "layer", "maximization", "proof", "card", "limits"}
    assert titles == expected
    assert "An attribution is no cause." in page.text
    assert "Labels are noisy." in page.text
    assert "The data is biased." in page.text


def test_an_id_of_script_stays_text(page: Page) -> None:
    assert "<script>alert(1)</script>" in page.text
    assert not page.all("script")


def test_labels_and_card_entries_stay_text(run: Path, faces: Faces, tmp_path: Path) -> None:
    from dataclasses import replace

    from fer_train.checkpoint import load_model_and_card, save_weights

    network, card = load_model_and_card(run)
    evil = '"><img src=x onerror=alert(1)>'
    hostile = replace(card, labels=(evil, *card.labels[1:]), selection=evil, versions={evil: evil})
    target = tmp_path / evil.replace("/", "")
    target.mkdir()
    save_weights(target / "ema.safetensors", network.state_dict(), hostile)
    data = write_csv(tmp_path / "faces.csv", faces.images[:3], [0, 1, 2], ["a", "b", "c"])
    page = read_page(report(data, target, tmp_path / "out", rows=(2,)))
    assert evil in page.text
    assert all((image["src"] or "").startswith("data:") and "onerror" not in image for image in page.all("img"))


def test_the_proof_is_told_with_both_hashes_and_every_logit(page: Page, exports: Path) -> None:
    assert page.text.count(load_proven(exports).weights_sha256) == 3
    assert "tensors stand in the graph bit for bit" in page.text
    assert page.text.count("PyTorch") >= 5


def test_the_accuracy_comes_with_its_interval_and_number(page: Page, exports: Path, faces: Faces) -> None:
    scorer = load_proven(exports).scorer
    assert scorer is not None
    correct = (scorer.score(faces.images).argmax(axis=1) == faces.require_labels()).mean()
    assert f"{correct:.1%} of 21 faces" in " ".join(page.text.split())
    assert "95% Wilson interval" in page.text


def test_the_numbers_behind_the_maps_are_kept(folder: Path, faces: Faces, exports: Path) -> None:
    found = np.load(folder / "attributions.npz")
    assert found["rows"].tolist()[:3] == [2, 3, 9]
    places = found["rows"] - 2
    network = load_proven(exports).network
    for name, targets in (("attributions", "targets"), ("other_attributions", "other_targets")):
        expected = saliency(network, faces.images[places], found[targets])
        np.testing.assert_allclose(found[name], expected, atol=1e-6)
    labels = faces.require_labels()[places]
    wrong = found["targets"] != labels
    np.testing.assert_array_equal(found["targets"], found["logits"].argmax(axis=1))
    np.testing.assert_array_equal(found["other_targets"][wrong], labels[wrong])
    assert (found["other_targets"] != found["targets"]).all()


def test_the_figures_stand_beside_the_page(folder: Path) -> None:
    names = {path.name for path in (folder / "figures").iterdir()}
    assert {"confusion.png", "layer_outputs.png", "maximization.png", "face_row_2.png"} <= names
    for path in (folder / "figures").iterdir():
        with Image.open(path) as image:
            image.verify()


def test_equal_input_gives_equal_bytes(exports: Path, data: Path, folder: Path, tmp_path: Path) -> None:
    again = report(data, exports, tmp_path / "out", rows=(2, 3, 9), worst=2).parent
    for path in sorted(folder.rglob("*.*")):
        assert (again / path.relative_to(folder)).read_bytes() == path.read_bytes(), path.name


def test_a_run_without_labels_is_explained_and_says_that_nothing_was_compared(
    run: Path, faces: Faces, tmp_path: Path
) -> None:
    data = write_csv(tmp_path / "faces.csv", faces.images[:5], None, [str(i) for i in range(5)])
    page = read_page(report(data, run, tmp_path / "out", layer="0"))
    assert "This folder was not exported: it holds no model.onnx" in page.text
    titles = {section["id"] for section in page.all("section")}
    assert not titles & {"accuracy", "mistakes"}
    assert "no label" in page.text
    with pytest.raises(DataError, match="has no labels"):
        report(data, run, tmp_path / "other", worst=3)
    assert not (tmp_path / "other").exists()


def test_a_report_of_nothing_is_refused(run: Path, tmp_path: Path) -> None:
    empty = tmp_path / "faces.csv"
    empty.write_text("id,label,feature\n")
    with pytest.raises(DataError, match=r"has no face$"):
        report(empty, run, tmp_path / "out")


def test_an_existing_report_is_kept_without_force(exports: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputError, match="out: exists already; --force replaces it"):
        report(data, exports, tmp_path / "out")


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


def test_rows_and_worst_choose_what_they_say(faces: Faces) -> None:
    right = np.eye(7, dtype=np.float32)[faces.require_labels()]
    assert select_faces(faces, right, (9, 2), None) == select_faces(faces, right, (9, 2), 3)
    assert select_faces(faces, right, (9, 2), 3).shown == (7, 0)
    assert select_faces(faces, right, None, 3).shown == ()
    with pytest.raises(ConfigError, match="worst: expected at least 1, found 0"):
        select_faces(faces, right, None, 0)


def test_a_model_without_mistakes_still_gets_a_report(run: Path, faces: Faces, tmp_path: Path) -> None:
    network = load_proven(run).network
    from fer_train.prediction import predict_logits

    predicted = predict_logits(network, faces.images[:4]).argmax(axis=1)
    data = write_csv(tmp_path / "faces.csv", faces.images[:4], predicted.tolist(), ["a", "b", "c", "d"])
    page = read_page(report(data, run, tmp_path / "out", worst=2))
    assert "100.0%" in page.text
    assert "nothing: every face is right" in page.text
