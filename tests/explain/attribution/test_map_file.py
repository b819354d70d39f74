import json
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tiny_models import assert_same_maps, write_csv
from torch import nn

from fer_core import ConfigError, DataError, Faces
from fer_core.io.csv.writer import write_csv as write_faces
from fer_core.synthetic.data_set import synthesize
from fer_core.synthetic.drawn_faces import draw_faces
from fer_explain.attribution import METHODS, AttributionConfig, attributions_of, map_file
from fer_explain.attribution.map_file import attribute


def test_attribute_writes_the_rows_asked_for_in_their_order(
    exports: Path, data: Path, faces: Faces, cnn: nn.Module, tmp_path: Path
) -> None:
    written = attribute(data, exports, "saliency", tmp_path / "maps.npz", target="true", rows=(5, 2))
    assert (written.path, written.faces, written.cautions) == (tmp_path / "maps.npz", 2, ())
    assert [path.name for path in tmp_path.iterdir()] == ["maps.npz"]
    found = np.load(written.path)
    chosen = faces.take([3, 0])
    assert found["rows"].tolist() == [5, 2]
    np.testing.assert_array_equal(found["targets"], chosen.require_labels())
    expected = attributions_of(cnn, METHODS["saliency"], chosen.images, chosen.require_labels())["attributions"]
    assert_same_maps(found["attributions"], expected)
    assert (found["attributions"].dtype, found["attributions"].shape) == (np.float32, (2, 48, 48))
    assert found["logits"].shape == (2, 7)
    assert str(found["method"]) == "saliency"
    assert str(found["target"]) == "true"
    assert json.loads(str(found["settings"])) == {"of": "logits"}
    assert len(str(found["weights_sha256"])) == 64


@pytest.mark.parametrize("method", ["grad-cam", "guided-grad-cam"])
@pytest.mark.parametrize("layer", [None, "features.9", "8"])
def test_grad_cam_of_probabilities_is_that_of_logits_weighed_by_the_softmax(
    exports: Path, data: Path, cnn: nn.Module, faces: Faces, tmp_path: Path, method: str, layer: str | None
) -> None:
    settings = AttributionConfig(of="probabilities", layer=layer)
    found = np.load(attribute(data, exports, method, tmp_path / "maps.npz", rows=(2,), config=settings).path)
    recorded = json.loads(str(found["settings"]))
    assert recorded == {
        "of": "probabilities",
        "layer": {None: "features.15", "features.9": "features.9", "8": "features.8"}[layer],
        "temperature": 1.0,
    }
    with_softmax = nn.Sequential(cnn, nn.Softmax(1)).eval()
    named = AttributionConfig(layer=f"0.{recorded['layer']}")
    face = faces.take([0])
    expected = attributions_of(with_softmax, METHODS[method], face.images, found["targets"], config=named)
    np.testing.assert_allclose(found["attributions"], expected["attributions"], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("method", ["random", "gradient-shap", "deeplift"])
def test_what_is_read_in_parts_is_what_is_read_whole(
    exports: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    settings = AttributionConfig(samples=3) if method == "gradient-shap" else None
    whole = np.load(attribute(data, exports, method, tmp_path / "whole.npz", config=settings).path)
    monkeypatch.setattr(map_file, "FACES_AT_ONCE", 4)
    parts = np.load(attribute(data, exports, method, tmp_path / "parts.npz", config=settings).path)
    assert set(parts.files) == set(whole.files)
    assert ("deltas" in whole.files) == (method != "random")
    for name in whole.files:
        if name == "deltas":  # themselves no more than what rounding leaves of a logit
            np.testing.assert_allclose(parts[name], whole[name], rtol=0, atol=1e-6)
        elif name == "errors":
            np.testing.assert_allclose(parts[name], whole[name], rtol=1e-3)
        elif whole[name].dtype == np.float32:
            assert_same_maps(parts[name], whole[name])
        else:
            np.testing.assert_array_equal(parts[name], whole[name])


def test_what_the_maps_miss_of_their_sums_is_told(exports: Path, data: Path, tmp_path: Path) -> None:
    # From the mean gray level, where a fresh network without biases is linear, one gradient would be exact.
    few, many = (
        attribute(
            data,
            exports,
            "integrated-gradients",
            tmp_path / f"{n}.npz",
            config=AttributionConfig(samples=n, baseline=0),
        )
        for n in (1, 64)
    )
    arrays = np.load(few.path)
    promised = arrays["attributions"].sum(axis=(1, 2), dtype=np.float64) - arrays["deltas"]
    assert few.missed == pytest.approx(np.median(np.abs(arrays["deltas"] / promised)), rel=1e-5)
    assert many.missed < few.missed
    assert np.isnan(attribute(data, exports, "saliency", tmp_path / "s.npz").missed)


def test_the_settings_written_are_those_of_the_network(exports: Path, data: Path, tmp_path: Path) -> None:
    found = np.load(attribute(data, exports, "grad-cam", tmp_path / "cam.npz", rows=(2,)).path)
    assert json.loads(str(found["settings"])) == {"of": "logits", "layer": "features.15"}
    settings = AttributionConfig(window=16, stride=16)
    found = np.load(attribute(data, exports, "occlusion", tmp_path / "o.npz", rows=(2,), config=settings).path)
    assert json.loads(str(found["settings"])) == {"of": "logits", "baseline": 128.0, "window": 16, "stride": 16}


def test_memory_does_not_grow_with_the_file(exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_file, "FACES_AT_ONCE", 16)

    def peak(n: int) -> int:
        data = write_csv(tmp_path / f"{n}.csv", np.resize(draw_faces(8, seed=0).images, (n, 48, 48)), None, range(n))
        tracemalloc.start()
        attribute(data, exports, "random", tmp_path / f"{n}.npz", memory_mb=16)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(16)
    assert peak(480) < peak(160) + 320 * 2304  # a quarter of what the further maps would take


def test_the_members_are_stored_as_they_are_and_the_file_is_the_same_each_time(
    exports: Path, data: Path, tmp_path: Path
) -> None:
    one, two = (attribute(data, exports, "random", tmp_path / name).path for name in ("one.npz", "two.npz"))
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"rows": (2, 23)}, DataError, r"expected a row number in 2\.\.22 \(21 faces\), found 23"),
        ({"split": "PublicTest"}, DataError, "has no Usage column"),
        ({"target": "joy"}, ConfigError, "target: expected predicted, true or one of angry, .*, found 'joy'"),
        ({"memory_mb": 0.01}, ConfigError, r"memory_mb: saliency needs .* MiB for one pass, found 0\.01"),
        ({"config": AttributionConfig(seed=3)}, ConfigError, "seed: not a setting of saliency, which uses `of`"),
        ({"rows": ()}, ConfigError, "rows: expected at least one row number, found none"),
        ({"limit": 0}, ConfigError, "limit: expected at least 1, found 0"),
    ],
)
def test_attribute_leaves_nothing_after_an_error(
    exports: Path, data: Path, tmp_path: Path, arguments: dict[str, object], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        attribute(data, exports, "saliency", tmp_path / "maps.npz", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_dense_network_has_no_grad_cam(run: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^Grad-CAM needs a convolution; the network has none$"):
        attribute(data, run, "grad-cam", tmp_path / "maps.npz")
    assert not list(tmp_path.iterdir())


def test_a_file_without_faces_is_refused(exports: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("id,feature\n")
    with pytest.raises(DataError, match=r"empty\.csv: has no faces$"):
        attribute(tmp_path / "empty.csv", exports, "saliency", tmp_path / "maps.npz")


def test_a_split_without_faces_is_refused_naming_those_there_are(exports: Path, tmp_path: Path) -> None:
    write_faces(synthesize(10, 0).of_split("Training"), tmp_path / "faces.csv")
    with pytest.raises(DataError, match=r"faces\.csv: has no row of split 'PublicTest'; found Training$"):
        attribute(tmp_path / "faces.csv", exports, "saliency", tmp_path / "maps.npz", split="PublicTest")
