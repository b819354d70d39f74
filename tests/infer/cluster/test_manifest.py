"""The record of a folder of predictions: what is kept of an earlier run, and what contradicts it."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fer_core import OutputError
from fer_infer.cluster.manifest import Manifest, Part
from fer_infer.cluster.storage import InputFile

INPUTS = tuple(InputFile(f"in/{name}.csv", 10, "1") for name in "abc")
SETTINGS: dict[str, Any] = {"model": {"weights_sha256": "w", "precision": "fp32"}, "columns": "logits"}


def write_part(folder: Path, position: int, *, rejected: int = 0) -> Part:
    """Make the files of a part, and return its record."""
    name, rejects = f"part-{position:05d}.csv", f"rejects-{position:05d}.csv" if rejected else None
    for file in filter(None, (name, rejects)):
        (folder / file).write_text(f"content of {file}")
    return Part(
        input=INPUTS[position],
        name=name,
        sha256=hashlib.sha256(f"content of {name}".encode()).hexdigest(),
        rows=3,
        rejected=rejected,
        rejects_name=rejects,
        rejects_sha256=hashlib.sha256(f"content of {rejects}".encode()).hexdigest() if rejects else None,
        label_counts={"happy": 3},
        provider="CPUExecutionProvider",
        provider_note="",
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a run leaves that was killed after two of three parts, while it wrote the third."""
    earlier = Manifest(SETTINGS, INPUTS, {n: write_part(tmp_path, n, rejected=n) for n in (0, 1)})
    earlier.save(str(tmp_path))
    (tmp_path / ".part-00002.csv.0123abcd.part").write_text("half")
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


WHOLE = ["manifest.json", "part-00000.csv", "part-00001.csv", "rejects-00001.csv"]


def test_finished_parts_are_kept_and_the_rest_is_to_be_removed(folder: Path) -> None:
    write_part(folder, 2)  # finished, but the run was killed before it was recorded
    before = names(folder)
    manifest = Manifest(SETTINGS, INPUTS)
    left = manifest.take_over(str(folder), force=False)
    assert manifest.parts == Manifest.load(str(folder)).parts
    assert sorted(manifest.parts) == [0, 1]
    assert left == sorted(set(before) - set(WHOLE))
    assert names(folder) == before


def test_the_record_is_read_back_as_it_was_written(folder: Path) -> None:
    table = json.loads((folder / "manifest.json").read_text())
    assert (table["complete"], table["settings"], sorted(table["parts"])) == (False, SETTINGS, ["0", "1"])
    loaded = Manifest.load(str(folder))
    assert loaded == Manifest(SETTINGS, INPUTS, {n: write_part(folder, n, rejected=n) for n in (0, 1)})
    loaded.parts[2] = write_part(folder, 2)
    assert json.loads(loaded.to_json())["complete"] is True


@pytest.mark.parametrize("harmed", ["part-00001.csv", "rejects-00001.csv"])
@pytest.mark.parametrize("harm", ["changed", "removed"])
def test_a_part_that_is_not_as_it_was_is_made_again(folder: Path, harmed: str, harm: str) -> None:
    (folder / harmed).unlink() if harm == "removed" else (folder / harmed).write_text("other")
    manifest = Manifest(SETTINGS, INPUTS)
    before = names(folder)
    left = manifest.take_over(str(folder), force=False)
    assert sorted(manifest.parts) == [0]
    assert left == sorted(set(before) - set(WHOLE[:2]))


@pytest.mark.parametrize("change", [{"size_bytes": 11}, {"version": "2"}])
def test_the_part_of_an_input_that_changed_is_made_again(folder: Path, change: dict[str, Any]) -> None:
    manifest = Manifest(SETTINGS, (replace(INPUTS[0], **change), *INPUTS[1:]))
    manifest.take_over(str(folder), force=False)
    assert sorted(manifest.parts) == [1]


@pytest.mark.parametrize(
    ("settings", "inputs", "message"),
    [
        (SETTINGS | {"columns": "id-label"}, INPUTS, "was made with columns 'logits', not 'id-label'"),
        (
            SETTINGS | {"model": {"weights_sha256": "v", "precision": "fp32"}},
            INPUTS,
            "was made with model.weights_sha256 'w', not 'v'",
        ),
        (SETTINGS | {"more": 1}, INPUTS, "was made with more None, not 1"),
        (SETTINGS, (*INPUTS, InputFile("in/d.csv", 1, "")), "was made from other inputs (in/d.csv is new)"),
        (SETTINGS, INPUTS[1:], "was made from other inputs (in/a.csv is missing)"),
        (SETTINGS, INPUTS[::-1], "was made from other inputs (their order changed)"),
    ],
)
def test_a_run_that_contradicts_the_record_is_one_line_and_changes_nothing(
    folder: Path, settings: dict[str, Any], inputs: tuple[InputFile, ...], message: str
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    expected = f"{folder}/manifest.json: {message}; `force=True` discards it"
    with pytest.raises(OutputError, match=f"^{re.escape(expected)}$"):
        Manifest(settings, inputs).take_over(str(folder), force=False)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    manifest = Manifest(settings, inputs)
    left = manifest.take_over(str(folder), force=True)
    assert (manifest.parts, sorted(left)) == ({}, names(folder))
    assert left[0] == "manifest.json"  # or it would tell of parts that are gone


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_with_anything_else_in_it_is_left_alone(folder: Path, force: bool) -> None:
    (folder / "thesis.tex").write_text("precious")
    before = names(folder)
    with pytest.raises(OutputError, match=r": expected a folder with only predictions, found 'thesis\.tex' in it$"):
        Manifest(SETTINGS, INPUTS).take_over(str(folder), force=force)
    assert names(folder) == before


def test_parts_without_a_record_are_not_trusted(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    with pytest.raises(OutputError, match=r": contains parts but no manifest\.json; `force=True` discards them$"):
        Manifest(SETTINGS, INPUTS).take_over(str(folder), force=False)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"schema_version": 1, "settings": [], "inputs": [], "parts": {}}',
        '{"schema_version": 2}',
        '{"schema_version": 1}',
        "{",
    ],
)
def test_a_damaged_record_is_one_line(folder: Path, content: str) -> None:
    (folder / "manifest.json").write_text(content)
    expected = r"/manifest\.json: expected a manifest of schema_version 1 \(.*\); `force=True` discards it$"
    with pytest.raises(OutputError, match=expected):
        Manifest(SETTINGS, INPUTS).take_over(str(folder), force=False)


def test_a_run_that_was_killed_before_its_first_record_is_a_fresh_start(tmp_path: Path) -> None:
    half = tmp_path / ".manifest.json.deadbeef.part"
    half.write_text("{")
    manifest = Manifest(SETTINGS, INPUTS)
    assert manifest.take_over(str(tmp_path), force=False) == [half.name]
    assert manifest.parts == {}


def test_an_absent_folder_is_a_fresh_start(tmp_path: Path) -> None:
    manifest = Manifest(SETTINGS, INPUTS)
    manifest.take_over(str(tmp_path / "out"), force=False)
    assert manifest.parts == {}


def test_the_record_of_a_part_that_no_input_has_is_left_out(folder: Path) -> None:
    table = json.loads((folder / "manifest.json").read_text())
    table["parts"]["7"] = table["parts"]["1"]
    (folder / "manifest.json").write_text(json.dumps(table))
    manifest = Manifest(SETTINGS, INPUTS)
    manifest.take_over(str(folder), force=False)
    assert sorted(manifest.parts) == [0, 1]
