from pathlib import Path

import numpy as np
import pytest

from fer_core import DataError, Faces, OutputError
from fer_explain.face_file import FaceFile, load_faces, path_of
from fer_explain.layers.filters import draw_filters
from fer_explain.report.report import write_report


def test_faces_are_read_with_the_settings_of_the_file(tmp_path: Path, faces: Faces) -> None:
    lines = ["face,part"]
    for image, part in zip(faces.images[:4], ("Training", "PublicTest", "PublicTest", "PublicTest"), strict=True):
        lines.append(f"{' '.join(map(str, image.ravel().tolist()))},{part}")
    path = tmp_path / "faces.csv"
    path.write_text("\n".join(lines) + "\n")
    columns = {"pixels": "face", "split": "part"}
    found = load_faces(FaceFile(path, "PublicTest", columns), limit=2, roles=("split",))
    assert found.rows.tolist() == [3, 4]
    path.write_text("\n".join(lines) + "\n1 2 3,PublicTest\n")
    with pytest.raises(DataError, match=r"faces\.csv row 6, column 'face': expected 2304"):
        load_faces(FaceFile(path, "PublicTest", columns), roles=("split",))
    lenient = FaceFile(path, "PublicTest", columns, "skip")
    found = load_faces(lenient, roles=("split",))
    assert (found.rows.tolist(), len(found.rejected)) == ([3, 4, 5], 1)
    assert load_faces(lenient, limit=1, roles=("split",)).rows.tolist() == [3]


def test_no_faces_are_an_error() -> None:
    with pytest.raises(DataError, match="contains no faces"):
        load_faces(np.zeros((0, 48, 48), np.uint8))


def test_only_faces_of_a_file_have_a_path(data: Path, faces: Faces) -> None:
    assert path_of(data) == str(data)
    assert path_of(FaceFile(data)) == data
    assert [path_of(each) for each in (None, faces, faces.images)] == [None, None, None]


def test_an_output_is_checked_before_the_file_is_read(exports: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        draw_filters(tmp_path / "absent.csv", exports, 0, tmp_path / "out")


def test_a_report_of_an_array_has_no_labels(exports: Path, faces: Faces, tmp_path: Path) -> None:
    page = write_report(faces.images[:3], exports, tmp_path / "out", rows=[0, 2], methods=["saliency"])
    assert "Accuracy" not in page.read_text(encoding="utf-8")
    assert np.load(tmp_path / "out" / "attributions.npz")["rows"].tolist() == [0, 2, 0, 2]
