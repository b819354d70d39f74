import json
import re
from pathlib import Path

import numpy as np
import pytest
import quantus
import torch
from click.testing import CliRunner
from tiny_models import make_card, make_network
from torch import nn

from fer_core import EXPRESSIONS, ConfigError, ModelError
from fer_core.synthetic.drawn_faces import ACTION_REGIONS, REGIONS, draw_faces
from fer_explain.cli import main
from fer_explain.config import GroundTruthConfig
from fer_explain.evaluation.compared_maps import maps_of
from fer_explain.evaluation.ground_truth import compare_with_ground_truth, draw_expressive_faces, localize
from fer_explain.evaluation.metrics.localization import area_share, mass_share, pointing_hits
from fer_train.runs.checkpoint import save_weights

ARGUMENTS = {"widths": [32], "dropout": 0.0}


class Window(nn.Module):
    """A network that looks at one rectangle of the face and at nothing else."""

    def __init__(self, rows: slice, columns: slice) -> None:
        super().__init__()
        seen = torch.zeros(48, 48)
        seen[rows, columns] = torch.randn(seen[rows, columns].shape, generator=torch.Generator().manual_seed(1))
        self.weights = nn.Parameter(torch.stack([seen, -seen]).flatten(1).T / 255)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.tanh(images.flatten(1) @ self.weights)


@pytest.fixture(scope="module")
def knows_drawn_faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a tiny dense network, trained on drawn faces, that looks at nothing above the eyes."""
    network = make_network("course-dnn", ARGUMENTS)
    drawn = draw_faces(500, seed=5)
    images, labels = torch.from_numpy(drawn.images).float()[:, None], torch.from_numpy(drawn.labels)
    parameters = list(network.parameters())
    velocities = [torch.zeros_like(parameter) for parameter in parameters]
    for _ in range(80):
        gradients = torch.autograd.grad(nn.functional.cross_entropy(network(images), labels), parameters)
        for parameter, velocity, gradient in zip(parameters, velocities, gradients, strict=True):
            velocity.mul_(0.9).add_(gradient)
            parameter.data.sub_(0.05 * velocity)
        parameters[0].data.view(-1, 48, 48)[:, :24] = 0
    return save_run(network, tmp_path_factory.mktemp("runs") / "drawn")


def save_run(network: nn.Module, folder: Path) -> Path:
    folder.mkdir()
    save_weights(folder / "ema.safetensors", network.state_dict(), make_card(network, "course-dnn", ARGUMENTS))
    return folder


@pytest.fixture
def maps_and_regions() -> tuple[np.ndarray, np.ndarray]:
    drawn = draw_expressive_faces(6, seed=2)
    return np.random.default_rng(3).normal(size=drawn.images.shape).astype(np.float32), drawn.regions


def test_regions_are_those_whose_action_units_define_the_label() -> None:
    expressive = draw_expressive_faces(12, seed=4)
    drawn = draw_faces(12, seed=4, labels=expressive.labels)
    np.testing.assert_array_equal(expressive.images, drawn.images)
    for face, label in enumerate(expressive.labels):
        expected = np.zeros((48, 48), bool)
        for name in ACTION_REGIONS[EXPRESSIONS[label]]:
            expected |= drawn.regions[face, REGIONS.index(name)]
        np.testing.assert_array_equal(expressive.regions[face], expected)
        assert 0 < expected.mean() < 0.5
    assert sorted(set(expressive.labels.tolist())) == [
        label for label, name in enumerate(EXPRESSIONS) if name != "neutral"
    ]


def test_the_map_of_a_network_that_looks_at_a_window_lies_in_that_window() -> None:
    rows, columns = slice(30, 40), slice(12, 36)
    network = Window(rows, columns)
    drawn = draw_expressive_faces(6, seed=2)
    inside = np.zeros((6, 48, 48), bool)
    inside[:, rows, columns] = True
    found = maps_of("saliency", network, drawn.images, np.zeros(6, np.int64), drawn.rows)
    for regions, share in ((inside, 1.0), (~inside, 0.0)):
        for score, values in localize({"saliency": found}, regions).items():
            np.testing.assert_allclose(values, share, atol=1e-6, err_msg=score)


def test_shares_are_those_of_quantus(maps_and_regions: tuple[np.ndarray, np.ndarray]) -> None:
    maps, regions = maps_and_regions
    accuracy = quantus.RelevanceMassAccuracy(normalise=False, disable_warnings=True)
    expected = accuracy.evaluate_batch(a_batch=np.abs(maps)[:, None], s_batch=regions[:, None])
    np.testing.assert_allclose(mass_share(maps, regions), expected, rtol=1e-5)
    game = quantus.PointingGame(normalise=False, disable_warnings=True)
    expected = game.evaluate_batch(a_batch=maps[:, None], s_batch=regions[:, None])
    np.testing.assert_array_equal(pointing_hits(maps, regions), np.array(expected, float))


def test_scores_are_those_of_a_loop_over_pixels(maps_and_regions: tuple[np.ndarray, np.ndarray]) -> None:
    maps, regions = maps_and_regions
    found = localize({"mine": maps}, regions)
    for face in range(len(maps)):
        inside, total, best = {"mass": 0.0, "positive": 0.0}, {"mass": 0.0, "positive": 0.0}, (-np.inf, False)
        for place in np.ndindex(48, 48):
            value, within = float(maps[face][place]), bool(regions[face][place])
            for name, weight in (("mass", abs(value)), ("positive", max(value, 0.0))):
                total[name] += weight
                inside[name] += weight * within
            best = max(best, (value, within))
        assert found["mass_share"][0, face] == pytest.approx(inside["mass"] / total["mass"])
        assert found["positive_share"][0, face] == pytest.approx(inside["positive"] / total["positive"])
        assert found["pointing_hits"][0, face] == best[1]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_map_of_one_value_scores_chance(maps_and_regions: tuple[np.ndarray, np.ndarray], value: float) -> None:
    regions = maps_and_regions[1]
    flat = np.full(regions.shape, value, np.float32)
    for values in localize({"flat": flat}, regions).values():
        np.testing.assert_allclose(values[0], area_share(regions))


def test_maps_and_regions_must_fit(maps_and_regions: tuple[np.ndarray, np.ndarray]) -> None:
    maps, regions = maps_and_regions
    with pytest.raises(ConfigError, match=r"regions: expected bool \(6, 48, 48\), found bool \(5, 48, 48\)"):
        mass_share(maps, regions[:5])
    maps[4, 0, 0] = np.nan
    with pytest.raises(ConfigError, match="attributions: expected finite values, found NaN or Inf in map 4"):
        pointing_hits(maps, regions)


def test_the_folder_holds_all_figures_of_the_faces_that_were_recognized(
    knows_drawn_faces: Path, tmp_path: Path
) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        compared = compare_with_ground_truth(
            knows_drawn_faces, ["integrated-gradients"], folder, config=GroundTruthConfig(faces=90)
        )
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert sorted(first) == ["ground_truth.csv", "ground_truth.json", "ranking.png", "scores.npz"]
    assert {name for name in first if first[name] != second[name]} == set()
    written, arrays = json.loads(first["ground_truth.json"]), np.load(folders[0] / "scores.npz")
    assert written["drawn"] == 90
    assert 30 < written["n"] == len(arrays["rows"]) < 90
    drawn = draw_expressive_faces(90, seed=1000)
    np.testing.assert_allclose(arrays["area_share"], drawn.regions[arrays["rows"]].mean(axis=(1, 2)))
    lines = {(line.method, line.score): line for line in compared}
    for place, method in enumerate(arrays["methods"].tolist()):
        assert lines[method, "mass_share"].value.mean == pytest.approx(arrays["mass_share"][place].mean())
    # What it goes by lies in the regions; what chance draws lies there as often as anywhere.
    assert lines["integrated-gradients", "mass_share"].gains["controls"].state == "better"
    assert abs(lines["random", "mass_share"].gains["controls"].value.mean) < 0.005
    place = arrays["methods"].tolist().index("integrated-gradients")
    matched = lines["integrated-gradients", "mass_share"].controls
    assert matched is not None
    assert matched.mean == pytest.approx(arrays["controls_mass_share"][place].mean())
    assert abs(lines["random", "mass_share"].value.mean - written["area_share"]["mean"]) < 0.01


def test_a_network_that_does_not_know_drawn_faces_is_refused(tmp_path: Path) -> None:
    network = make_network("course-dnn", ARGUMENTS)
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    last.bias.data[EXPRESSIONS.index("neutral")] = 1e6
    model = save_run(network, tmp_path / "run")
    with pytest.raises(ModelError, match="expected a model trained on drawn faces, found 0 of 30 drawn"):
        compare_with_ground_truth(model, ["saliency"], tmp_path / "out", config=GroundTruthConfig(faces=30))
    last.bias.data[EXPRESSIONS.index("happy")] = 1e7  # one answer to all: more are right than one in seven
    model = save_run(network, tmp_path / "one-answer")
    with pytest.raises(ModelError, match=r"trained on drawn faces, found 2\d\d of 1500"):
        compare_with_ground_truth(model, ["saliency"], tmp_path / "out", config=GroundTruthConfig(faces=1500))
    with pytest.raises(ConfigError, match="faces: expected at least 2, found 1"):
        GroundTruthConfig(faces=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one-answer", "run"]


def test_the_command_says_how_much_of_each_map_lies_where_the_truth_does(
    knows_drawn_faces: Path, tmp_path: Path
) -> None:
    output = tmp_path / "truth"
    options = ("--methods", "saliency", "--faces", "40", "--seed", "77", "--output", str(output))
    result = CliRunner().invoke(main, ["ground-truth", "--model", str(knows_drawn_faces), *options])
    assert result.exit_code == 0, result.output
    recognized, *ranking, written = result.stdout.splitlines()
    assert re.fullmatch(r"\d\d of 40 drawn faces recognized", recognized)
    assert written == f"{output}: ground_truth.json, ground_truth.csv, scores.npz, ranking.png"
    assert sorted(line.split()[0] for line in ranking) == ["center", "random", "saliency"]
