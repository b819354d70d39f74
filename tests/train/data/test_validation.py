"""Any split may validate but PrivateTest, under its own name in everything that is written."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fer_core import EXPRESSIONS, ConfigError, DataError, ModelCard, read_faces
from fer_core.faces import Faces
from fer_core.io.csv.writer import write_csv
from fer_train.cli import main
from fer_train.config import FitConfig
from fer_train.data.splits import load_splits, validation_faces
from fer_train.training.trainer import fit

SMALL = [
    "--architecture-argument",
    "widths=[4,4,8]",
    "--architecture-argument",
    "hidden=16",
    "--epochs",
    "1",
    "--device",
    "cpu",
]


@pytest.fixture
def tree(tmp_path: Path, drawn: Faces) -> Path:
    """Write 40 training and 20 test images, as the most used image tree of FER2013 has its splits."""
    for at in range(60):
        folder = tmp_path / "tree" / ("train" if at < 40 else "test") / EXPRESSIONS[drawn.labels[at]]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn.images[at]).save(folder / f"{at:02}.png")
    return tmp_path / "tree"


def write(path: Any, faces: Any, **columns: Any) -> Any:
    """Write labels and pixels as a CSV, with one more column for each keyword."""
    lines = [f"emotion,pixels{''.join(f',{name}' for name in columns)}"]
    for at, (label, image) in enumerate(zip(faces.labels, faces.images, strict=True)):
        cells = [str(label), " ".join(map(str, image.ravel())), *(values[at] for values in columns.values())]
        lines.append(",".join(cells))
    path.write_text("\n".join(lines) + "\n")
    return path


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_tree_without_a_validation_split_is_refused_and_the_remedies_are_named(tree: Path) -> None:
    with pytest.raises(DataError) as failure:
        load_splits(tree)
    assert str(failure.value) == (
        f"{tree}: expected a split PublicTest or validation to validate on, found Training, test; "
        "name the split with `validation='test'`, or draw them with `hold_out=0.1`"
    )


def test_a_split_of_the_data_validates_where_it_is_named(tree: Path) -> None:
    splits = load_splits(tree, "test")
    assert (len(splits.training), len(splits.validation), splits.validation_name) == (40, 20, "test")
    assert splits.training_data()["rows"] == {"Training": 40, "test": 20}


def test_the_folder_of_a_split_validates_under_its_name(tree: Path) -> None:
    whole, part = load_splits(tree, "TEST"), load_splits(tree / "train", tree / "test")
    assert part.validation_name == "test"
    np.testing.assert_array_equal(whole.validation.images, part.validation.images)
    np.testing.assert_array_equal(whole.training.images, part.training.images)


def test_a_path_is_never_taken_for_a_split(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    named, path = load_splits(".", "test"), load_splits(".", "./test")
    assert (named.validation.source, path.validation.source) == (".", "./test")
    np.testing.assert_array_equal(named.validation.images, path.validation.images)


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_validation_split_needs_no_option(tmp_path: Path, drawn: Faces, name: str) -> None:
    part = drawn.take(slice(30))
    path = write(tmp_path / "data.csv", part, Usage=["train"] * 20 + [name] * 10)
    splits = load_splits(path)
    assert (len(splits.training), len(splits.validation), splits.validation_name) == (20, 10, "validation")


def test_public_test_comes_before_validation(tmp_path: Path, drawn: Faces) -> None:
    split = ["Training"] * 20 + ["validation"] * 5 + ["PublicTest"] * 5
    path = write(tmp_path / "a.csv", drawn.take(slice(30)), Usage=split)
    assert load_splits(path).validation_name == "PublicTest"
    assert load_splits(path, "val").validation_name == "validation"


@pytest.mark.parametrize("name", ["PrivateTest", "privatetest", "Training", "train"])
def test_private_test_and_training_never_validate(tmp_path: Path, drawn: Faces, name: str) -> None:
    path = tmp_path / "data.csv"
    write_csv(drawn, path)
    with pytest.raises(
        ConfigError, match=r"^validation: (PrivateTest is the test split|expected another split than Tr)"
    ):
        load_splits(path, name)


def test_a_folder_named_private_test_never_validates(tree: Path, drawn: Faces) -> None:
    (tree / "test").rename(tree / "PrivateTest")
    with pytest.raises(ConfigError, match=r"^validation: PrivateTest is the test split, which never selects anything"):
        load_splits(tree / "train", tree / "PrivateTest")


def test_a_split_that_is_not_there_is_named(tree: Path) -> None:
    with pytest.raises(DataError, match=r"tree: has no row of split 'validation'; found Training, test$"):
        load_splits(tree, "val")


@pytest.mark.parametrize(
    ("name", "expected"), [("public.csv", "validation"), ("test.csv", "test"), ("train.csv", "validation")]
)
def test_other_faces_without_splits_go_by_the_name_of_their_file(
    tmp_path: Path, drawn: Faces, name: str, expected: str
) -> None:
    train = write(tmp_path / "a.csv", drawn.take(slice(30)))
    other = write(tmp_path / name, drawn.take(slice(30, 40)))
    splits = load_splits(train, other)
    assert splits.validation_name == expected
    assert set(splits.validation.splits) == {expected}


def test_a_drawn_split_is_of_the_training_rows_alone(tmp_path: Path, drawn: Faces) -> None:
    write_csv(drawn, tmp_path / "data.csv")
    splits = load_splits(tmp_path / "data.csv", hold_out=0.25, hold_out_seed=5)
    assert len(splits.training) + len(splits.validation) == 160
    assert splits.validation_name == "held-out"
    assert set(splits.training.rows) | set(splits.validation.rows) == set(range(2, 162))
    record = splits.training_data()
    assert record["held_out"] == {"fraction": 0.25, "seed": 5}
    assert record["rows"] == {"Training": len(splits.training), "held-out": len(splits.validation)}


def test_a_drawn_split_and_a_named_one_exclude_each_other(tree: Path) -> None:
    with pytest.raises(ConfigError, match=r"^hold_out: cannot be combined with `validation`"):
        load_splits(tree, "test", hold_out=0.1)


def test_the_faces_that_a_network_was_validated_on_are_found_again(tmp_path: Path, drawn: Faces, tree: Path) -> None:
    def card(splits: Any) -> Any:
        return replace(CARD, training_data=splits.training_data())

    flat = write(tmp_path / "flat.csv", drawn.take(slice(100)))
    drawn_split, named = load_splits(flat, hold_out=0.2, hold_out_seed=1), load_splits(tree, "test")
    other = load_splits(tree / "train", write(tmp_path / "public.csv", drawn.take(slice(60, 80))))
    for splits, data in ((drawn_split, flat), (named, tree), (other, tmp_path / "public.csv")):
        found = validation_faces(read_faces(data), card(splits))
        np.testing.assert_array_equal(found.images, splits.validation.images)
        assert set(found.splits) == {splits.validation_name}
    changed = read_faces(flat).take(slice(1, None))
    assert validation_faces(changed, card(drawn_split)) is None
    assert validation_faces(replace(read_faces(tree), labels=None), card(named)) is None


CARD = ModelCard(
    architecture="course-cnn",
    architecture_arguments={},
    labels=EXPRESSIONS,
    input_size=(48, 48),
    standardization={"mean": 1.0, "std": 1.0},
    temperature={"value": 1.0, "fitted_on": "none"},
    precision="fp32",
    weights_sha256="0" * 64,
    training_data={"source": "a", "sha256": "0" * 64, "rows": {"Training": 1, "PublicTest": 1}},
    selection="none",
    seeds=(0,),
    scores={},
    versions={"numpy": "2"},
    git_commit="unknown",
)


def test_the_name_of_the_split_stands_in_everything_that_a_run_and_its_export_write(tree: Path, tmp_path: Path) -> None:
    done = run("fit", tree, "--output", tmp_path / "run", "--validation", "test", *SMALL)
    assert done.exit_code == 0, done.output
    assert "; test loss " in done.output
    assert "\ntest accuracy " in done.output
    done = run("export", tmp_path / "run", "--output", tmp_path / "export", "--calibration", tree)
    assert done.exit_code == 0, done.output
    assert "fitted on 20 test faces" in done.output
    card = ModelCard.load_json(tmp_path / "export" / "card.json")
    assert (card.validation_split, list(card.scores)) == ("test", ["test"])
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["split"] == "test"
    assert "| test | " in (tmp_path / "export" / "README.md").read_text()
    for path in [*tmp_path.glob("run/*.*s*"), *tmp_path.glob("export/*")]:
        assert b"PublicTest" not in path.read_bytes(), path


def test_a_drawn_split_is_recorded_and_resumed_and_exported_from(tmp_path: Path, drawn: Faces) -> None:
    flat = write(tmp_path / "flat.csv", drawn.take(slice(100)))
    arguments = ("fit", flat, "--output", tmp_path / "run", "--hold-out", "0.2", "--seed", "4", *SMALL)
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    assert "held-out accuracy " in done.output
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["hold_out"], config["hold_out_seed"]) == (0.2, 4)
    done = run("fit", flat, "--output", tmp_path / "run", "--resume")
    assert done.exit_code == 0, done.output
    done = run("export", tmp_path / "run", "--output", tmp_path / "export", "--calibration", flat)
    rows = ModelCard.load_json(tmp_path / "export" / "card.json").training_data["rows"]
    assert rows["Training"] + rows["held-out"] == 100
    assert f"fitted on {rows['held-out']} held-out faces" in done.output
    readme = (tmp_path / "export" / "README.md").read_text()
    assert "Validated on 20.00% of the faces, held out by seed 4.\n" in readme


def test_faces_loaded_with_another_draw_than_the_settings_state_are_refused(
    tmp_path: Path, drawn: Faces, small_config: FitConfig
) -> None:
    write_csv(drawn, tmp_path / "data.csv")
    splits = load_splits(tmp_path / "data.csv", hold_out=0.25)
    with pytest.raises(
        ConfigError, match=r"^hold_out: is None, the faces were loaded with {'fraction': 0.25, 'seed': 0}"
    ):
        fit(splits, small_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_rows_left_out_are_counted_in_the_card_and_listed_in_the_run_folder(tmp_path: Path, drawn: Faces) -> None:
    path = tmp_path / "data.csv"
    write_csv(drawn, path)
    with path.open("a") as file:
        file.write("3,1 2 3,Training\n9,,Training\n")
    options = ("fit", path, "--output", tmp_path / "run", *SMALL)
    done = run(*options)
    assert (done.exit_code, (tmp_path / "run").exists()) == (1, False)
    done = run(*options, "--on-error", "skip")
    assert done.exit_code == 0, done.output
    rejects = tmp_path / "run" / "rejects.csv"
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["rows_left_out"] == 2
    assert f"\nrows left out: 2, listed in {rejects}\n" in done.output
    with rejects.open(newline="") as file:
        assert [row[:3] for row in csv.reader(file)] == [
            ["file", "row", "column"],
            [str(path), "202", "pixels"],
            [str(path), "203", "pixels"],
        ]
    done = run("evaluate", path, "--model", tmp_path / "run", "--output", tmp_path / "evaluation", "--on-error", "skip")
    assert "\nrows left out: 2\n" in done.output
    assert json.loads((tmp_path / "evaluation" / "metrics.json").read_text())["rows_left_out"] == 2
    assert (tmp_path / "evaluation" / "rejects.csv").read_bytes() == rejects.read_bytes()
    done = run("audit", path, "--output", tmp_path / "audit", "--on-error", "skip", "--no-near-duplicates")
    assert f"\nrows left out: 2, listed in {tmp_path / 'audit' / 'rejects.csv'}\n" in done.output
    assert (tmp_path / "audit" / "rejects.csv").read_bytes() == rejects.read_bytes()
    done = run("export", tmp_path / "run", "--output", tmp_path / "export", "--calibration", path, "--on-error", "skip")
    assert done.exit_code == 0, done.output
    assert ModelCard.load_json(tmp_path / "export" / "card.json").training_data["rows_left_out"] == 2


def test_columns_are_chosen_for_fitting(tmp_path: Path, drawn: Faces) -> None:
    path = tmp_path / "data.csv"
    write_csv(drawn, path)
    path.write_text(path.read_text().replace("emotion,pixels,Usage", "feeling,face,fold", 1))
    chosen = ["--column", "pixels=face", "--column", "label=feeling", "--column", "split=fold"]
    done = run("fit", path, "--output", tmp_path / "run", *chosen, *SMALL)
    assert done.exit_code == 0, done.output
    assert "PublicTest accuracy " in done.output


@pytest.mark.parametrize("command", [["fit"], ["fit", "--hold-out", "0.1"], ["fit", "--on-error", "skip"]])
def test_a_header_without_rows_is_one_line(tmp_path: Path, command: list[str]) -> None:
    path = tmp_path / "header.csv"
    path.write_text("emotion,pixels,Usage\n")
    done = run(*command, path, "--output", tmp_path / "run")
    assert done.exit_code == 1
    assert done.output == f"fer-train: {path}: expected at least one face, found none\n"
