"""What the badges of a report say of a model that has learned drawn faces, and of models that have learned nothing."""

import re
from pathlib import Path

import numpy as np
import pytest
from report_page import Page, read_page
from tiny_models import CNN, make_card, make_network, train, write_csv
from torch import nn

from fer_core import TrainingWarning
from fer_core.synthetic.drawn_faces import draw_faces
from fer_explain.evaluation.controls.ranks import first_controls
from fer_explain.report.report import write_report
from fer_train.exporting.graph import write_graph
from fer_train.runs.checkpoint import save_weights

DENSE = {"widths": [32], "dropout": 0.0}
SMALL = {"widths": [[6], [6, 8], [10]]}
METHODS = ("integrated-gradients", "occlusion", "random")


def save(network: nn.Module, architecture: str, arguments: dict[str, object], folder: Path) -> Path:
    folder.mkdir()
    card = make_card(network, architecture, arguments)
    write_graph(network, card, folder / "model.onnx")
    save_weights(folder / "weights.safetensors", network.state_dict(), card)
    card.save_json(folder / "card.json")
    return folder


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn = draw_faces(105, seed=6)
    folder = tmp_path_factory.mktemp("held-out")
    return write_csv(folder / "faces.csv", drawn.images, drawn.labels.tolist(), [str(i) for i in range(105)])


@pytest.fixture(scope="module")
def page(held_out: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The report of a network that has learned drawn faces."""
    drawn, folder = draw_faces(500, seed=5), tmp_path_factory.mktemp("knows")
    network = train(make_network("course-dnn", DENSE), drawn.images, drawn.labels)
    model = save(network, "course-dnn", DENSE, folder / "knows")
    return read_page(write_report(held_out, model, folder / "out", methods=METHODS))


def badges(page: Page, look: str) -> list[dict[str, str | None]]:
    return [tag for tag in page.all("span") if (tag.get("class") or "").split()[-1:] == [look]]


def states_of(page: Page) -> dict[str, tuple[str, list[int]]]:
    """Return by method the state over all faces, and the counts of single maps: better, no different, worse."""
    text = " ".join(page.text.split())
    found = re.findall(r"([a-z-]+)(?: \(control\))? . (better|no different|worse) (\d+) / (\d+) / (\d+) [+-]", text)
    return {method: (state, [int(count) for count in counts]) for method, state, *counts in found}


def test_good_methods_are_better_than_their_controls_and_random_maps_are_not(page: Page) -> None:
    found = states_of(page)
    assert found.keys() == set(METHODS)
    for method in ("integrated-gradients", "occlusion"):
        state, (better, same, worse) = found[method]
        assert state == "better"
        assert worse == 0
        assert better > same / 2
    state, (better, same, worse) = found["random"]
    assert state == "no different"
    assert better <= 3  # 1 of 40 by chance
    assert same > 10


def test_each_map_of_a_predicted_class_has_one_state_in_words_and_its_scores(page: Page) -> None:
    cards = len([tag for tag in page.all("article") if tag.get("class") == "face"])
    text = " ".join(page.text.split())
    state = r"✓ better than all 39 controls|✗ worse than all 39 controls|. no different: better than \d+ of \d+ cont"
    legend = 2
    assert text.count(f"tested against {first_controls(cards)} to 39 controls") == 1
    assert len(re.findall(state, text)) == cards * len(METHODS) + legend
    for score in ("deletion", "insertion"):
        assert len(re.findall(rf"{score} \d\.\d\d \(controls \d\.\d\d\)", text)) == cards * len(METHODS)
    assert text.count("Only the maps of the predicted class are tested") == cards


def test_the_page_says_how_many_badges_chance_alone_would_give(page: Page) -> None:
    cards = len([tag for tag in page.all("article") if tag.get("class") == "face"])
    text, maps = " ".join(page.text.split()), cards * len(METHODS)
    by_chance = f"For {maps} maps, about {maps / 40:.1f} better and {maps / 40:.1f} worse are expected by chance"
    assert by_chance in text
    found = re.search(r"; observed are (\d+) better and (\d+) worse", text)
    assert found is not None
    counts = np.sum([counts for _, counts in states_of(page).values()], axis=0)
    assert [int(each) for each in found.groups()] == [counts[0], counts[2]]


@pytest.mark.parametrize(
    ("architecture", "arguments", "labelled"), [("course-cnn", CNN, True), ("compact", SMALL, False)]
)
def test_with_fresh_weights_no_badge_is_green_and_the_page_says_why_first(
    architecture: str, arguments: dict[str, object], labelled: bool, held_out: Path, tmp_path: Path
) -> None:
    model = save(make_network(architecture, arguments), architecture, arguments, tmp_path / "fresh")
    drawn = draw_faces(9, seed=6)
    unlabelled = write_csv(tmp_path / "faces.csv", drawn.images, None, [str(i) for i in range(9)])
    data = held_out if labelled else unlabelled
    with pytest.warns(TrainingWarning, match="better than chance"):
        found = read_page(write_report(data, model, tmp_path / "out", methods=("integrated-gradients", "saliency")))
    assert_nothing_is_approved(found, "no better than chance" if labelled else "not shown to be better than chance")


def test_of_a_network_that_learned_shuffled_labels_no_badge_is_green(held_out: Path, tmp_path: Path) -> None:
    drawn = draw_faces(500, seed=5)
    labels = np.random.default_rng(0).permutation(drawn.labels)
    network = train(make_network("course-dnn", DENSE), drawn.images, labels)
    model = save(network, "course-dnn", DENSE, tmp_path / "shuffled")
    with pytest.warns(TrainingWarning, match="shuffled: no better than chance. Its accuracy on 105 labeled faces is"):
        found = read_page(write_report(held_out, model, tmp_path / "out", methods=("integrated-gradients",)))
    assert_nothing_is_approved(found, "no better than chance")


def assert_nothing_is_approved(page: Page, title: str) -> None:
    text = " ".join(page.text.split())
    assert text.index(f"This model is {title}.") < text.index("How to read")
    assert "its maps carry no information about the faces" in text
    assert not [tag for tag in badges(page, "good") if "badge" in (tag["class"] or "")]
    assert not badges(page, "bad")
    assert len(badges(page, "good")) == 1, "only the verification of the weights"
    maps = [tag for tag in page.all("span") if (tag.get("class") or "").startswith("badge")]
    assert len(maps) == text.count(f"not tested: model {title}") > 0
    assert "✓ better" not in text
    assert "✓ sanity" not in text
