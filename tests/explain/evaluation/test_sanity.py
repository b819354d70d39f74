import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy import stats
from skimage.metrics import structural_similarity
from tiny_models import CNN, make_network
from torch import nn

from fer_core import Faces
from fer_explain.cli import main
from fer_explain.config import SampleConfig
from fer_explain.evaluation.compared_maps import maps_of
from fer_explain.evaluation.metrics.randomization import (
    MEASURES,
    MOST_STAGES,
    Randomization,
    randomize,
    randomized,
    weight_stages,
)
from fer_explain.evaluation.metrics.similarity import spearman, ssim
from fer_explain.evaluation.sanity import check_sanity, judge
from fer_train.models import build_model
from fer_train.runs.checkpoint import weights_sha256


@pytest.fixture
def pairs() -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(1)
    first = chance.normal(size=(4, 48, 48)).astype(np.float32)
    second = (first + chance.normal(size=first.shape)).astype(np.float32)
    return np.round(first, 1), np.round(second, 1)  # rounding makes ties


def slow_saliency(model: nn.Module, image: np.ndarray, target: int) -> np.ndarray:
    pixels = torch.from_numpy(image).float()[None, None].requires_grad_()
    (gradient,) = torch.autograd.grad(model(pixels)[0, target], pixels)
    return gradient[0, 0].abs().numpy()


def test_rank_correlation_is_that_of_scipy(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    expected = [stats.spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(*pairs, strict=True)]
    np.testing.assert_allclose(spearman(*pairs), expected, rtol=1e-9)


def test_structural_similarity_is_that_of_scikit_image(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    expected = [
        structural_similarity(
            np.abs(a) / np.abs(a).max(),
            np.abs(b) / np.abs(b).max(),
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(*(pair.astype(np.float64) for pair in pairs), strict=True)
    ]
    np.testing.assert_allclose(ssim(*pairs), expected, rtol=1e-6)


def test_a_flat_map_is_like_a_flat_map_alone(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    flat = np.zeros_like(pairs[0])
    np.testing.assert_array_equal(spearman(flat, flat + 3), 1)
    np.testing.assert_array_equal(spearman(flat, pairs[0]), 0)
    np.testing.assert_allclose(ssim(flat, flat), 1)


def test_stages_go_from_the_logits_to_the_first_layer(cnn: nn.Module, dnn: nn.Module) -> None:
    assert weight_stages(dnn) == (("classifier.7",), ("classifier.4",), ("classifier.1",))
    names = [name for stage in weight_stages(cnn) for name in stage]
    assert names[:3] == ["classifier.7", "classifier.4", "classifier.1"]
    assert names[-1] == "features.0"


def test_a_deep_network_has_few_stages_and_none_without_its_normalization() -> None:
    network = build_model("residual-small", mean=128.0, std=64.0)
    stages = weight_stages(network)
    assert len(stages) == MOST_STAGES
    with_weights = {name for name, module in network.named_modules() if list(module.parameters(recurse=False))}
    assert sorted(name for stage in stages for name in stage) == sorted(with_weights)
    modules = dict(network.named_modules())
    for stage in stages:
        assert not isinstance(modules[stage[0]], nn.BatchNorm2d)
    plain = make_network("course-cnn", {**CNN, "batch_norm": True})
    assert ("features.0", "features.1") in weight_stages(plain)


def test_only_the_named_modules_of_a_copy_are_replaced(cnn: nn.Module) -> None:
    fresh = make_network("course-cnn", CNN, seed=7)
    before = weights_sha256(cnn.state_dict())
    other = randomized(cnn, fresh, ["features.2", "classifier.7"])
    assert weights_sha256(cnn.state_dict()) == before
    for name, tensor in other.state_dict().items():
        source = fresh if name.startswith(("features.2.", "classifier.7.")) else cnn
        assert torch.equal(tensor, source.state_dict()[name]), name


def test_similarity_is_that_of_maps_made_one_by_one(cnn: nn.Module, faces: Faces) -> None:
    few = faces.take(slice(0, 3))
    targets = few.require_labels()
    fresh = make_network("course-cnn", CNN, seed=7)
    before = weights_sha256(cnn.state_dict())

    def explain(model: nn.Module, images: np.ndarray, targets: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return maps_of("saliency", model, images, targets, rows)

    found = randomize(cnn, fresh, {"saliency": explain}, few.images, targets, few.rows)
    assert weights_sha256(cnn.state_dict()) == before
    assert len(found.stages) == 10
    for stage, names in enumerate(found.stages):
        for mode, replaced in enumerate(([n for group in found.stages[: stage + 1] for n in group], names)):
            other = make_network("course-cnn", CNN)
            state = other.state_dict()
            state |= {key: value for key, value in fresh.state_dict().items() if key.rsplit(".", 1)[0] in replaced}
            other.load_state_dict(state)
            for face in range(3):
                maps = [slow_saliency(model, few.images[face], int(targets[face])) for model in (cnn, other)]
                expected = stats.spearmanr(maps[0].ravel(), maps[1].ravel()).statistic
                for measure in ("spearman_absolute", "spearman_signed"):
                    assert found.similarity[measure][0, mode, stage, face] == pytest.approx(expected, abs=1e-3)
    np.testing.assert_array_equal(found.similarity["ssim"][:, 0, 0], found.similarity["ssim"][:, 1, 0])


@pytest.mark.parametrize(
    ("absolute", "signed", "failed"),
    [(0.9, 0.1, "yes"), (0.1, 0.9, "yes"), (0.2, 0.1, "no"), (0.5, 0.1, "undecided")],
)
def test_a_method_fails_where_either_order_of_its_pixels_survives(absolute: float, signed: float, failed: str) -> None:
    spread = np.linspace(-0.05, 0.05, 9)
    values = {"spearman_absolute": absolute, "spearman_signed": signed, "ssim": 0.99}
    similarity = {measure: np.full((1, 2, 2, 9), 0.99) for measure in MEASURES}
    for measure, value in values.items():
        similarity[measure][0, 0, -1] = value + spread
    (verdict,) = judge(Randomization(("mine",), (("b",), ("a",)), np.arange(9), similarity))
    assert (verdict.method, verdict.failed) == ("mine", failed)
    assert verdict.similarity["spearman_absolute"].mean == pytest.approx(absolute)


def test_maps_that_know_no_network_fail_and_a_network_drawn_from_the_same_seed_is_drawn_anew(
    exports: Path, data: Path, tmp_path: Path
) -> None:
    verdicts = {
        v.method: v
        for v in check_sanity(data, exports, ["saliency"], tmp_path / "out", sample=SampleConfig(sample_size=8))
    }
    assert verdicts["random"].failed == verdicts["center"].failed == "yes"
    assert verdicts["random"].similarity["ssim"].mean == pytest.approx(1)
    # The network of the folder was constructed from seed 0, which is also the default here.
    assert verdicts["saliency"].similarity["spearman_signed"].mean < 0.9


def test_the_folder_holds_all_figures_and_the_same_input_gives_the_same_bytes(
    run: Path, data: Path, tmp_path: Path
) -> None:
    seed = torch.initial_seed()
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        check_sanity(data, run, ["saliency"], folder, sample=SampleConfig(sample_size=3), seed=5)
    assert torch.initial_seed() == seed
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert sorted(first) == ["cascading.png", "independent.png", "sanity.csv", "sanity.json", "similarity.npz"]
    assert {name for name in first if first[name] != second[name]} == set()
    written = json.loads(first["sanity.json"])
    arrays = np.load(folders[0] / "similarity.npz")
    assert arrays["stages"].tolist() == ["classifier.7", "classifier.4", "classifier.1"]
    assert arrays["methods"].tolist() == ["saliency", "random", "center"]
    assert len(written["similarity"]) == 3 * 2 * 3 * len(MEASURES)
    for line in written["similarity"]:
        at = (
            arrays["methods"].tolist().index(line["method"]),
            arrays["modes"].tolist().index(line["mode"]),
            arrays["stages"].tolist().index(line["stage"]),
        )
        assert line["mean"] == pytest.approx(arrays[line["measure"]][at].mean())
    assert written["verdicts"][0]["similarity"]["ssim"]["mean"] == pytest.approx(arrays["ssim"][0, 0, -1].mean())


def test_the_command_says_which_methods_failed(run: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "sanity"
    options = ("--methods", "saliency,center", "--rows", "2-9", "--target", "happy")
    result = CliRunner().invoke(main, ["sanity", str(data), "--model", str(run), "--output", str(output), *options])
    assert result.exit_code == 0, result.output
    saliency, center, random, files = result.stdout.splitlines()
    assert saliency.startswith("saliency")
    assert (
        "center                 control, expected to fail: with all weights randomized, spearman_absolute 1.00"
        in center
    )
    assert (
        "random                 control, expected to fail: with all weights randomized, spearman_absolute 1.00"
        in random
    )
    assert files == f"{output}: sanity.json, sanity.csv, similarity.npz, cascading.png, independent.png"
    assert "FAILED" not in center + random
    written = json.loads((output / "sanity.json").read_text())
    assert written["settings"]["target"] == "happy"
    assert [verdict["is_control"] for verdict in written["verdicts"]] == [False, True, True]
