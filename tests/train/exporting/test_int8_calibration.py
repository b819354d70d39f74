from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from fer_core import DataError, Faces
from fer_core.io.csv.writer import write_csv
from fer_infer.runtime.onnx_runtime import load_runtime_module
from fer_train.exporting import int8_calibration as calibration
from fer_train.exporting.graph import write_graph
from fer_train.exporting.int8_calibration import CALIBRATION_BATCH, METHODS, calibrate, load_calibration
from fer_train.models import build_model
from fer_train.runs.checkpoint import load_model_and_card


@pytest.fixture
def write(tmp_path: Path, drawn: Faces) -> Callable[..., Any]:
    """Write drawn faces, 160 Training, 20 PublicTest, 20 PrivateTest; all but some rows, or without a column."""

    def written(keep: Any = slice(None), without: Any = None) -> Any:
        path = tmp_path / "data.csv"
        write_csv(drawn.take(keep), path)
        rows = [line.split(",") for line in path.read_text().splitlines()]
        kept = [column for column, name in enumerate(rows[0]) if name != without]
        path.write_text("".join(",".join(row[column] for column in kept) + "\n" for row in rows))
        return path

    return written


def test_the_ranges_come_from_evenly_spaced_training_rows(
    write: Callable[..., Any], drawn: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "CALIBRATION_FACES", 8)
    data = load_calibration(write())
    assert set(data.training.splits) == {"Training"}
    assert len(data.training) == 8
    assert set(np.diff(data.training.rows)) <= {20, 21, 22}


def test_labelled_public_test_rows_choose_and_private_test_rows_never_do(
    write: Callable[..., Any], drawn: Faces
) -> None:
    data = load_calibration(write())
    expected = drawn.of_split("PublicTest")
    np.testing.assert_array_equal(data.selection.images, expected.images)
    np.testing.assert_array_equal(data.selection.labels, expected.labels)


@pytest.mark.parametrize("missing", ["rows", "labels"])
def test_without_labelled_public_test_rows_held_out_training_rows_choose(
    write: Callable[..., Any], drawn: Faces, missing: str
) -> None:
    path = write(drawn.splits != "PublicTest") if missing == "rows" else write(without="emotion")
    data = load_calibration(path)
    assert data.selection.labels is None
    assert set(data.selection.splits) == {"Training"}
    assert len(data.selection) == len(data.training) == 80
    assert not set(data.selection.rows) & set(data.training.rows)


def test_data_without_training_rows_are_refused(write: Callable[..., Any], drawn: Faces) -> None:
    with pytest.raises(DataError, match=r"data\.csv: has no row of split 'Training'; found PrivateTest, PublicTest$"):
        load_calibration(write(drawn.splits != "Training"))


def test_data_without_usage_are_refused(write: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match=r"data\.csv: has no Usage column; cannot select Training rows$"):
        load_calibration(write(without="Usage"))


def test_one_training_row_is_refused(write: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match=r"data\.csv: expected at least two Training faces to calibrate on, found one$"):
        load_calibration(write(slice(1)))


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory, run: Path) -> tuple[Any, ...]:
    """A network of one dense layer behind a hidden one, its graph, and the names of the tensors around its layers."""
    torch.manual_seed(0)
    model = build_model("course-dnn", mean=100.0, std=50.0, widths=(3,)).eval()
    path = tmp_path_factory.mktemp("dense") / "model.onnx"
    write_graph(model, load_model_and_card(run)[1], path)
    first = next(node for node in onnx.load(path).graph.node if node.op_type == "Gemm")
    return model, path, first.input[0]


def limits(dense: Any, faces: Any, method: Any, folder: Any) -> Any:
    """Return the range of the standardized pixels and that of the logits."""
    _, path, pixels = dense
    calibrate(path, faces, method, ["Gemm", "Relu"], folder / "ranges.json")
    ranges = load_runtime_module("quantization").load_tensors_data(folder / "ranges.json")
    assert ranges.calibration_method is load_runtime_module("quantization").CalibrationMethod[method]
    return [tuple(float(np.ravel(end)[0]) for end in ranges[name].range_value) for name in (pixels, "logits")]


def test_min_max_is_the_range_over_all_batches(tmp_path: Path, dense: tuple[Any, ...], drawn: Faces) -> None:
    assert len(drawn) > 2 * CALIBRATION_BATCH
    images = torch.from_numpy(drawn.images).unsqueeze(1).float()
    with torch.no_grad():
        logits = dense[0](images)
    found = limits(dense, drawn, "MinMax", tmp_path)
    ends = [(float(images.min()) - 100) / 50, (float(images.max()) - 100) / 50]
    np.testing.assert_allclose(found, [ends, [logits.min(), logits.max()]], rtol=1e-5)


def test_percentile_leaves_outliers_out(tmp_path: Path, dense: tuple[Any, ...]) -> None:
    """One bright pixel of 64 faces is less than the 0.001 % that may be left out."""
    images = np.random.default_rng(0).integers(90, 111, (64, 48, 48), dtype=np.uint8)
    images[63, 5, 5] = 255
    faces = Faces(images, np.arange(64))
    (_, brightest), _ = limits(dense, faces, "MinMax", tmp_path)
    assert brightest == pytest.approx((255 - 100) / 50)
    (_, brightest), _ = limits(dense, faces, "Percentile", tmp_path)
    assert brightest == pytest.approx((110 - 100) / 50, abs=0.01)


def test_entropy_has_more_than_the_range_of_min_max_to_choose_from(tmp_path: Path, dense: tuple[Any, ...]) -> None:
    images = np.random.default_rng(0).integers(90, 111, (64, 48, 48), dtype=np.uint8)
    images[:, 0, 0] = 255
    (_, brightest), _ = limits(dense, Faces(images, np.arange(64)), "Entropy", tmp_path)
    assert brightest < (255 - 100) / 50


@pytest.mark.parametrize("method", METHODS)
def test_calibration_prints_nothing(
    tmp_path: Path, dense: tuple[Any, ...], drawn: Faces, method: str, capfd: pytest.CaptureFixture[str]
) -> None:
    limits(dense, drawn.take(slice(2)), method, tmp_path)
    assert capfd.readouterr() == ("", "")
