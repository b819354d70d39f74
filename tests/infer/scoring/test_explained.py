"""`score` with `explain`: the same predictions, and a map of each face in the same pass."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fer_core import EXPRESSIONS, ConfigError, DataWarning, Faces, ModelError, OutputError
from fer_core.io.csv.writer import write_csv
from fer_infer import SaliencyModel, attributions_of, find_faces, score
from fer_infer.cli import main
from fer_infer.config import MapConfig

MODEL = Path(__file__).resolve().parents[3] / "exports" / "compact"


@pytest.fixture
def faces_csv(tmp_path: Path, drawn_faces: Faces) -> Path:
    write_csv(drawn_faces.take(slice(70)), tmp_path / "faces.csv")  # more than one batch
    return tmp_path / "faces.csv"


def test_predictions_are_those_of_the_float_graph_and_maps_those_of_single_calls(
    faces_csv: Path, tmp_path: Path, drawn_faces: Faces
) -> None:
    done = score(
        faces_csv, MODEL, tmp_path / "with.csv", explain=str(tmp_path / "maps.npz"), device="cpu", target="sad"
    )
    score(faces_csv, MODEL, tmp_path / "without.csv", precision="fp32", device="cpu")
    assert (tmp_path / "with.csv").read_bytes() == (tmp_path / "without.csv").read_bytes()
    assert f"{tmp_path / 'maps.npz'}: 70 maps by saliency\nran on CPUExecutionProvider in fp32" in done.to_text()
    maps = np.load(tmp_path / "maps.npz")
    assert {"attributions", "targets", "logits", "rows", "method", "target", "settings", "weights_sha256"} < set(
        maps.files
    )
    with SaliencyModel(MODEL, device="cpu") as model:
        expected = attributions_of(model, drawn_faces.images[:70], EXPRESSIONS.index("sad"))
        assert str(maps["weights_sha256"]) == model.card.weights_sha256
    np.testing.assert_allclose(maps["attributions"], expected.attributions, atol=1e-6)
    assert maps["rows"].tolist() == list(range(2, 72))
    assert set(maps["targets"].tolist()) == {4}
    assert json.loads(str(maps["settings"])) == {**MapConfig().__dict__}


def test_parquet_has_the_same_maps_in_rows(faces_csv: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for name in ("maps.npz", "maps.parquet"):
        score(
            faces_csv,
            MODEL,
            tmp_path / f"{name}.csv",
            explain=str(tmp_path / name),
            device="cpu",
            limit=5,
            method="integrated-gradients",
        )
    table, arrays = parquet.read_table(tmp_path / "maps.parquet"), np.load(tmp_path / "maps.npz")
    assert table.column_names == ["attributions", "targets", "logits", "rows", "deltas", "samples", "errors"]
    for name in table.column_names:
        found = np.array(table[name].to_pylist(), arrays[name].dtype).reshape(arrays[name].shape)
        np.testing.assert_array_equal(found, arrays[name])
    metadata = parquet.read_metadata(tmp_path / "maps.parquet").metadata
    assert metadata[b"method"] == b"integrated-gradients"


def test_maps_above_the_allowed_error_are_counted(faces_csv: Path, tmp_path: Path) -> None:
    explain = {"explain": str(tmp_path / "maps.npz"), "method": "integrated-gradients", "max_samples": 16}
    done = score(faces_csv, MODEL, tmp_path / "out.csv", **explain, tolerance=1e-5, device="cpu", limit=3)
    assert "3 maps by integrated-gradients, 3 of them with errors above 0.001%" in done.to_text()
    assert np.load(tmp_path / "maps.npz")["samples"].tolist() == [16] * 3


def test_an_input_without_faces_gives_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("pixels\n")
    with pytest.warns(DataWarning, match="contains no face"):
        score(tmp_path / "empty.csv", MODEL, tmp_path / "out.csv", explain=str(tmp_path / "maps.npz"), device="cpu")
    maps = np.load(tmp_path / "maps.npz")
    assert (maps["attributions"].shape, maps["logits"].shape) == ((0, 48, 48), (0, 7))


def test_a_bad_row_leaves_neither_predictions_nor_maps(faces_csv: Path, tmp_path: Path) -> None:
    with faces_csv.open("a") as file:
        file.write("0,1 2 3,Training\n")
    with pytest.raises(Exception, match=r"expected 2304 integers in 0\.\.255, found 3"):
        score(faces_csv, MODEL, tmp_path / "out.csv", explain=str(tmp_path / "maps.npz"), device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["faces.csv"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "smoothgrad"}, r"^method: requires `explain`$"),
        ({"target": "sad"}, r"^target: requires `explain`$"),
        ({"max_samples": 64}, r"^max_samples: requires `explain`$"),
        ({"explain": "m.npz", "precision": "int8"}, r"^precision: expected fp32, the precision that `explain` needs"),
        ({"explain": "m.npz", "tta": "flip"}, r"^tta: expected none with `explain`, found flip$"),
        ({"explain": "m.npz", "target": "joy"}, r"^target: expected predicted or one of angry, .*, found 'joy'$"),
        ({"explain": "m.npz", "method": "lrp"}, r"^method: expected one of saliency, .*, found 'lrp'$"),
    ],
)
def test_settings_that_cannot_be_explained_are_refused(
    faces_csv: Path, tmp_path: Path, settings: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        score(faces_csv, MODEL, tmp_path / "out.csv", device="cpu", **settings)
    assert not (tmp_path / "m.npz").exists()


def test_an_existing_file_and_another_kind_are_refused(faces_csv: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"maps\.png: expected the name of an output to end in \.npz or \.parquet$"):
        score(faces_csv, MODEL, tmp_path / "out.csv", explain=str(tmp_path / "maps.png"))
    (tmp_path / "maps.npz").touch()
    with pytest.raises(OutputError, match=r"maps\.npz: exists"):
        score(faces_csv, MODEL, tmp_path / "out.csv", explain=str(tmp_path / "maps.npz"))


def test_a_model_without_the_graph_names_the_remedy(faces_csv: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    for name in ("model.onnx", "card.json"):
        (tmp_path / "plain" / name).write_bytes((MODEL / name).read_bytes())
    options = ["--model", str(tmp_path / "plain"), "--output", str(tmp_path / "out.csv")]
    found = CliRunner().invoke(main, ["score", str(faces_csv), *options, "--explain", str(tmp_path / "maps.npz")])
    assert found.exit_code == 1
    assert found.stderr.endswith("found none; `fer-train export --saliency` writes one\n")
    with pytest.raises(ModelError, match=r"`fer-train export --saliency` writes one$"):
        score(faces_csv, tmp_path / "plain", tmp_path / "out.csv", explain=str(tmp_path / "maps.npz"))


def test_maps_of_photos_are_numbered_by_the_rows_of_the_predictions_and_drawn_over_them(tmp_path: Path) -> None:
    data = pytest.importorskip("skimage.data")
    (tmp_path / "album").mkdir()
    Image.fromarray(data.coffee()).save(tmp_path / "album" / "a.png")
    Image.fromarray(data.astronaut()).save(tmp_path / "album" / "b.png")
    score(
        tmp_path / "album",
        MODEL,
        tmp_path / "out.csv",
        faces="detect",
        device="cpu",
        explain=str(tmp_path / "maps.npz"),
        overlay=str(tmp_path / "seen"),
    )
    score(
        tmp_path / "album", MODEL, tmp_path / "plain.csv", faces="detect", device="cpu", overlay=str(tmp_path / "plain")
    )
    maps = np.load(tmp_path / "maps.npz")
    with (tmp_path / "out.csv").open(newline="") as file:
        table = list(csv.reader(file))
    assert [table[row - 1][0] for row in maps["rows"]] == ["b.png"]
    (face,) = find_faces(data.astronaut())
    with SaliencyModel(MODEL, device="cpu") as model:
        expected = attributions_of(model, face.image[None], rows=maps["rows"]).attributions
    np.testing.assert_allclose(maps["attributions"], expected, atol=1e-6)
    with_maps, without = (np.asarray(Image.open(tmp_path / name / "b.png.png"), float) for name in ("seen", "plain"))
    changed = np.abs(with_maps - without).max(axis=2) > 30
    left, top, width, height = (float(table[2][column]) for column in range(2, 6))
    inside = np.zeros(changed.shape, bool)
    first = max(0, int(top - height)), max(0, int(left - width))
    inside[first[0] : int(top + 2 * height), first[1] : int(left + 2 * width)] = True
    assert changed[inside].mean() > 0.05
    assert not changed[~inside].any()
