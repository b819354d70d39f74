"""The driver of benchmarks/gpu, rehearsed on the CPU: every step, what is resumed, and what is never lost."""

from __future__ import annotations

import importlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fer_core import ConfigError, FerError
from fer_core.synthetic.drawn_splits import synthesize
from fer_train.config import AugmentConfig, FitConfig
from fer_train.data.splits import Splits
from fer_train.runs.checkpoint import load_model_and_card
from fer_train.runs.run_folder import read_metrics

STILL = AugmentConfig(flip=False, rotation_degrees=0, shift=0, zoom=0, brightness=0, contrast=0)
DRIVER = Path(__file__).resolve().parent.parent / "benchmarks" / "gpu"


@pytest.fixture(scope="module")
def module_of() -> Iterator[Callable[[str], ModuleType]]:
    """Import a module of the driver as its script does, from the driver's own folder."""
    torch.set_num_threads(1)

    def imported(name: str) -> ModuleType:
        module = importlib.import_module(name)
        assert Path(module.__file__).parent == DRIVER  # and not one of the same name
        return module

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DRIVER))
        yield imported


def arguments(folder: Path, *more: str) -> list[str]:
    where = ["--output", str(folder / "out"), "--state", str(folder / "state")]
    return [
        *where,
        "--device",
        "cpu",
        "--quick",
        "--models",
        "course-cnn",
        "--teacher",
        "course-cnn",
        "--students",
        "compact",
        *more,
    ]


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "out" / "results.json").read_text())


@pytest.fixture(scope="module")
def rehearsed(module_of, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rehearsal")
    assert module_of("run").main(["all", *arguments(folder)]) == 0
    return folder


def test_every_step_leaves_entries_and_none_fails(module_of, rehearsed):
    found = results(rehearsed)
    assert set(found) == set(module_of("run").STEPS)
    for step, entries in found.items():
        assert entries, step
        assert not [entry for entry in entries.values() if "error" in entry]
        assert {entry["on"] for entry in entries.values()} == {"CPU, rehearsal"}


def test_what_needs_cuda_says_that_there_is_none(rehearsed):
    found = results(rehearsed)
    for step in ("tests", "memory"):
        assert {entry["skipped"] for entry in found[step].values()} == {"no CUDA"}
    assert found["score-speed"]["course-cnn/fp16/nhwc graph/batch-64"]["skipped"] == "no CUDA"
    assert "ratios" in found["score-speed"]["course-cnn/fp32/default/batch-64"]


def test_figures_are_of_the_very_weights_that_were_trained(rehearsed):
    found = results(rehearsed)
    trained = found["train"]["course-cnn-seed-0"]["PublicTest"]
    for precision in ("fp32", "fp16"):
        entry = found["parity"][f"course-cnn/{precision}/default"]
        assert entry["fp32_accuracy"] == pytest.approx(trained["accuracy"])
        assert entry["max_absolute_difference"] < 0.05


def test_teachers_are_put_together_and_teach(module_of, tmp_path):
    assert module_of("run").main(["train", "distill", "export", *arguments(tmp_path, "--seeds", "0", "1")]) == 0
    found = results(tmp_path)
    assert found["distill"]["course-cnn-ensemble"]["seeds"] == [0, 1]
    student = load_model_and_card(tmp_path / "state" / "runs" / "compact-distilled-seed-1")[1]
    taught_by = [
        load_model_and_card(tmp_path / "state" / "runs" / f"course-cnn-seed-{seed}")[1].weights_sha256
        for seed in (0, 1)
    ]
    assert [teacher["weights_sha256"] for teacher in student.training_data["teachers"]] == taught_by
    trained = {f"course-cnn-seed-{seed}" for seed in (0, 1)}
    taught = {"course-cnn-ensemble-seed-0", "compact-distilled-seed-0", "compact-distilled-seed-1"}
    assert set(found["export"]) == trained | taught
    assert not [entry for step in found.values() for entry in step.values() if "error" in entry]


def test_without_a_second_teacher_there_is_no_ensemble(rehearsed):
    entry = results(rehearsed)["distill"]["course-cnn-ensemble"]
    assert entry["skipped"] == "found 1 finished runs of course-cnn; more --seeds make more"


def test_a_second_call_measures_nothing_again_and_loses_nothing(module_of, rehearsed):
    before = results(rehearsed)
    steps = [step for step in before if step != "pack"]
    (rehearsed / "out" / "results.json").unlink()  # as on a machine whose output folder is emptied between calls
    assert module_of("run").main(["environment", "train", *arguments(rehearsed)]) == 0
    after = results(rehearsed)
    assert {step: after[step] for step in steps} == {step: before[step] for step in steps}


def test_the_pack_holds_weights_and_no_face_in_few_files_of_limited_size(module_of, rehearsed, monkeypatch):
    pack = module_of("pack")
    weights = (rehearsed / "state" / "runs" / "course-cnn-seed-0" / "ema.safetensors").read_bytes()
    monkeypatch.setattr(pack, "PART_BYTES", len(weights))
    bench = SimpleNamespace(
        output=rehearsed / "parts",
        state=rehearsed / "state",
        finished_runs=lambda: [rehearsed / "state" / "runs" / "course-cnn-seed-0"],
    )
    assert pack.pack(bench) == []
    parts = sorted(bench.output.iterdir())
    assert 1 < len(parts) <= pack.PARTS
    assert max(part.stat().st_size for part in parts) == len(weights)
    whole = rehearsed / "whole.tar"
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    with tarfile.open(whole) as tar:
        names = tar.getnames()
        assert tar.extractfile("runs/course-cnn-seed-0/ema.safetensors").read() == weights
    assert "exports/course-cnn-seed-0/parity.json" in names
    assert not [name for name in names if "sample" in name or name.endswith(".onnx")]
    monkeypatch.setattr(pack, "PARTS", 1)
    assert pack.pack(bench) == ["course-cnn-seed-0"]


def test_what_was_packed_is_not_trained_again_on_another_machine(module_of, rehearsed, tmp_path, monkeypatch):
    (tmp_path / "state").mkdir()
    with tarfile.open(rehearsed / "out" / "pack-00") as tar:
        tar.extractall(tmp_path / "state", filter="data")
    monkeypatch.setattr(module_of("training"), "fit", None)
    assert module_of("run").main(["train", *arguments(tmp_path)]) == 0
    before, after = (results(folder)["train"]["course-cnn-seed-0"] for folder in (rehearsed, tmp_path))
    assert {**after, "took_s": 0} == {**before, "took_s": 0}


def test_what_another_recipe_trained_is_not_taken_for_this_ones(module_of, rehearsed, tmp_path, capsys):
    shutil.copytree(rehearsed / "state" / "runs", tmp_path / "state" / "runs")
    assert module_of("run").main(["train", *arguments(tmp_path, "--recipe", '{"lr": 0.5}')]) == 1
    entry = results(tmp_path)["train"]["course-cnn-seed-0"]
    assert entry["error"].endswith("was trained by another recipe; name another --state for this one")


def test_a_recipe_by_hand_is_cut_with_the_epochs(module_of, tmp_path):
    bench = module_of("workbench").Workbench(
        None, tmp_path, tmp_path, "cpu", False, ("best",), (0,), options={"lr_warmup_epochs": 5, "mild_epochs": 10}
    )
    whole, cut = bench.config("best", 0), bench.config("best", 0, epochs=3)
    assert (whole.lr_warmup_epochs, whole.mild_epochs) == (5, 10)
    assert (cut.lr_warmup_epochs, cut.mild_epochs) == (1, 1)


@pytest.mark.parametrize(
    "recipe", ['{"seed": 1}', '{"device": "cpu"}', '{"epoch": 3}', '{"epochs": "ten"}', "[]", "{", '{"lr": -1}']
)
def test_a_recipe_that_is_none_is_wrong_usage(module_of, tmp_path, capsys, recipe):
    with pytest.raises(SystemExit):
        module_of("run").main(["train", *arguments(tmp_path, "--recipe", recipe)])
    assert "argument --recipe: expected settings of a run as a JSON object: " in capsys.readouterr().err


def test_the_table_has_every_figure_and_the_later_file_wins(module_of, rehearsed, tmp_path, capsys):
    later = tmp_path / "later.json"
    later.write_text(json.dumps({"ceilings": {"matmul fp32": {"on": "elsewhere", "flop_per_s": 4e9}}}))
    assert module_of("table").main([str(rehearsed / "out" / "results.json"), str(later)]) == 0
    table = capsys.readouterr().out
    assert "| matmul fp32 |  | flop_per_s | 4e+09 |" in table
    csv = results(rehearsed)["score-speed"]["course-cnn/fp32/csv"]
    share = 2 * csv["multiply_adds"] * csv["ONNX Runtime alone"]["per_s"] / 4e9
    assert f"| course-cnn | fp32 | ONNX Runtime alone | {share:.2%} | 1 |" in table
    assert "| pytest -m gpu |  | skipped | no CUDA |" in table
    assert "### ceilings: CPU, rehearsal; elsewhere" in table


def test_a_killed_training_goes_on_from_its_last_epoch_and_earlier_steps_stay(module_of, tmp_path):
    epochs = 3
    more = arguments(tmp_path, "--recipe", json.dumps({"epochs": epochs}))
    assert module_of("run").main(["ceilings", *more]) == 0
    before = results(tmp_path)["ceilings"]
    run = tmp_path / "state" / "runs" / "course-cnn-seed-0"
    process = subprocess.Popen([sys.executable, DRIVER / "run.py", "train", *more], stderr=subprocess.DEVNULL)
    while not (run / "resume.pt").is_file() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    first = read_metrics(run)[0]
    assert module_of("run").main(["train", *more]) == 0
    assert read_metrics(run)[0] == first
    assert len(read_metrics(run)) == epochs
    assert results(tmp_path)["train"]["course-cnn-seed-0"]["epochs"] == epochs
    assert results(tmp_path)["ceilings"] == before


def test_an_entry_that_fails_is_told_stops_nothing_and_is_tried_again(module_of, tmp_path, capsys):
    record_of = lambda: module_of("record").Record(tmp_path, tmp_path / "out" / "all.json", "step", "here")  # noqa: E731

    def broken() -> dict[str, Any]:
        raise ValueError("the GPU is on fire")

    record = record_of()
    record.take("first", broken)
    record.take("second", lambda: {"figure": 2.0})
    assert record.failed == ["first"]
    assert "ValueError: the GPU is on fire" in capsys.readouterr().err
    again = record_of()
    again.take("first", lambda: {"figure": 1.0})
    again.take("second", broken)
    assert again.failed == []
    assert [again.entries[key]["figure"] for key in ("first", "second")] == [1.0, 2.0]
    merged = module_of("record").read_entries(tmp_path / "out" / "all.json")
    assert merged == {"step": again.entries}


def test_results_of_two_machines_are_not_mixed(module_of, tmp_path):
    record = module_of("record")
    record.Record(tmp_path, tmp_path / "out" / "all.json", "step", "a CPU").take("key", dict)
    with pytest.raises(FerError, match=r"step\.json: is of a CPU; name another --state for a GPU"):
        record.Record(tmp_path, tmp_path / "out" / "all.json", "step", "a GPU")


def test_ways_take_turns_and_are_compared_with_the_last_one(module_of, monkeypatch):
    timing = module_of("timing")
    clock, calls = [0.0], []

    def way(name: str, *takes_s: float) -> Callable[[], None]:
        left = list(takes_s)

        def call() -> None:
            calls.append(name)
            clock[0] += left.pop(0)

        return call

    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    ways = {"fast": way("fast", 50, 1, 3, 2), "slow": way("slow", 50, 8, 4, 6)}
    found = timing.side_by_side(ways, units=12, repeats=3, warm_ups=1)
    assert calls == ["fast", "slow"] * 4
    assert found == {
        "n": 3,
        "units": 12,
        "fast": {"per_s": 6, "slowest_per_s": 4, "fastest_per_s": 12},
        "slow": {"per_s": 2, "slowest_per_s": 1.5, "fastest_per_s": 3},
        "ratios": {"fast / slow": 3},
    }


def test_without_a_gpu_the_driver_asks_for_a_rehearsal(module_of, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="2"):
        module_of("run").main(["train", "--data", "fer2013.csv", "--output", str(tmp_path / "out")])
    assert "PyTorch sees no GPU; --device cpu --quick rehearses" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_without_limits_the_conventional_faces_are_the_faces(module_of):
    faces = synthesize(20, seed=4)
    for limits in (None, STILL):
        data = module_of("conventional").PillowFaces(faces, limits)
        for n in range(len(data)):
            pixels, label = data[n]
            np.testing.assert_array_equal(pixels.numpy()[0], faces.images[n])
            assert label == faces.labels[n]


def test_the_conventional_loop_turns_flips_and_shifts_about_the_middle_of_the_face(module_of, monkeypatch):
    """Quarter turns and shifts by whole pixels only move pixels, up to Pillow's rounding down."""
    image = np.random.default_rng(5).integers(0, 256, (48, 48), dtype=np.uint8)
    faces = replace(synthesize(10, seed=0).take([0]), images=image[None])

    def changed(**limits: float) -> NDArray[np.float32]:
        return module_of("conventional").PillowFaces(faces, replace(STILL, **limits))[0][0].numpy()[0]

    monkeypatch.setattr(random, "uniform", lambda low, high: high)  # every limit is reached
    monkeypatch.setattr(random, "random", lambda: 0.1)  # whatever may be mirrored is
    for degrees in (90, 180):
        np.testing.assert_allclose(changed(rotation_degrees=degrees), np.rot90(image, degrees // 90), atol=1)
    np.testing.assert_allclose(changed(flip=True), image[:, ::-1], atol=1)
    np.testing.assert_allclose(changed(shift=3 / 48)[:45, :45], image[3:, 3:], atol=1)


def test_the_conventional_loop_refuses_what_it_has_not(module_of):
    splits = Splits(synthesize(20, seed=4), synthesize(10, seed=5), 128.0, 64.0)
    config = FitConfig(initial="exports/best", device="cpu")
    message = r"^the conventional loop: expected a recipe without weights to begin with and teachers$"
    with pytest.raises(ConfigError, match=message):
        next(module_of("conventional").train(splits, config, 0))
