"""The scorer computes what the graph says, on graphs of the contract only."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from fer_core import EXPRESSIONS, CardError, ConfigError, ModelCard, ModelError
from fer_infer import Scorer

Images = NDArray[np.uint8]


@pytest.fixture
def folder(model: Any, tmp_path: Path) -> Path:
    """An exports folder to harm."""
    path: Path = model.save(tmp_path / "linear")
    return path


@pytest.mark.parametrize("batch_size", [1, 2, 7, 30, 128, None])
def test_scores_equal_the_slow_reference_at_every_batch_size(
    model: Any, exports: Path, images: Images, batch_size: int | None
) -> None:
    size = {} if batch_size is None else {"batch_size": batch_size}
    logits, probabilities = Scorer(exports, "cpu").run(images, **size)
    expected_logits, expected_probabilities = model.run(images)
    assert logits.dtype == probabilities.dtype == np.float32
    np.testing.assert_allclose(logits, expected_logits, rtol=0, atol=1e-4)
    np.testing.assert_allclose(probabilities, expected_probabilities, rtol=0, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2, None])
def test_labels_do_not_depend_on_threads(model: Any, exports: Path, images: Images, threads: int | None) -> None:
    labels = Scorer(exports, "cpu", threads=threads).run(images)[1].argmax(axis=1)
    np.testing.assert_array_equal(labels, model.run(images)[0].argmax(axis=1))


def test_a_batch_is_never_larger_than_asked_for(exports: Path, images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = Scorer(exports, "cpu")
    sizes: list[int] = []
    run = scorer.runner._session.run

    def counted(outputs: Any, inputs: dict[str, Images], options: Any) -> Any:
        sizes.append(len(inputs["faces"]))
        return run(outputs, inputs, options)

    monkeypatch.setattr(scorer.runner._session, "run", counted)
    scorer.run(images, batch_size=7)
    assert sizes == [7, 7, 7, 7, 2]


def test_images_that_are_not_contiguous_are_scored_as_they_look(exports: Path, images: Images) -> None:
    scorer = Scorer(exports, "cpu")
    mirrored = images[::-2, :, ::-1]
    np.testing.assert_array_equal(scorer.run(mirrored)[1], scorer.run(np.ascontiguousarray(mirrored))[1])


def test_no_faces_give_no_scores(exports: Path) -> None:
    logits, probabilities = Scorer(exports, "cpu").run(np.empty((0, 48, 48), np.uint8))
    assert logits.shape == probabilities.shape == (0, 7)
    assert logits.dtype == probabilities.dtype == np.float32


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (np.zeros((2, 48, 48), np.float32), r"float32 \(2, 48, 48\)"),
        (np.zeros((48, 48), np.uint8), r"uint8 \(48, 48\)"),
        (np.zeros((2, 1, 48, 48), np.uint8), r"uint8 \(2, 1, 48, 48\)"),
        (np.zeros((2, 48, 47), np.uint8), r"uint8 \(2, 48, 47\)"),
    ],
)
def test_other_images_are_refused(exports: Path, wrong: Any, found: str) -> None:
    with pytest.raises(ValueError, match=rf"^images: expected uint8 \(N, 48, 48\), found {found}$"):
        Scorer(exports, "cpu").run(wrong)[1]


def test_a_batch_size_below_one_is_refused(exports: Path, images: Images) -> None:
    with pytest.raises(ConfigError, match=r"^batch_size: expected at least 1, found 0$"):
        Scorer(exports, "cpu").run(images, batch_size=0)[1]


def test_an_onnx_file_of_any_name_is_a_model_too(exports: Path, images: Images, tmp_path: Path) -> None:
    file = tmp_path / ".model.onnx.1f2e.part"
    file.write_bytes((exports / "model.onnx").read_bytes())
    scorer = Scorer(str(file), "cpu")
    assert scorer.path == file
    np.testing.assert_array_equal(scorer.run(images)[1], Scorer(exports, "cpu").run(images)[1])


def test_the_card_is_the_one_in_the_graph(exports: Path) -> None:
    assert Scorer(exports, "cpu").card == ModelCard.load_json(exports / "card.json")


def test_a_card_that_contradicts_the_graph_is_refused(folder: Path, card_with: Callable[..., ModelCard]) -> None:
    card_with(weights_sha256="f" * 64).save_json(folder / "card.json")
    with pytest.raises(CardError, match=r"model\.onnx and .*card\.json disagree on weights_sha256"):
        Scorer(folder, "cpu")


def test_a_damaged_card_beside_the_graph_is_refused(folder: Path) -> None:
    (folder / "card.json").write_text("{")
    with pytest.raises(CardError, match=r"card\.json: cannot be read as a model card"):
        Scorer(folder, "cpu")


def test_a_graph_without_a_card_is_refused(model_class: Any, tmp_path: Path) -> None:
    folder = model_class(metadata={}).save(tmp_path)
    with pytest.raises(CardError, match=r"model\.onnx: contains no model card in its metadata_props$"):
        Scorer(folder, "cpu")


def test_a_card_that_is_no_text_is_refused(
    model_class: Any, card_with: Callable[..., ModelCard], tmp_path: Path
) -> None:
    folder = model_class(metadata=card_with(selection="the last epoch").to_metadata()).save(tmp_path)
    graph = folder / "model.onnx"
    graph.write_bytes(graph.read_bytes().replace(b"the last epoch", b"the last \xff\xfeoch"))
    with pytest.raises(CardError, match=r"model\.onnx: contains a model card that is not UTF-8$"):
        Scorer(folder, "cpu")


def test_a_graph_with_a_part_of_a_card_is_refused(
    model_class: Any, tmp_path: Path, card_with: Callable[..., ModelCard]
) -> None:
    metadata = card_with().to_metadata()
    del metadata["seeds"]
    with pytest.raises(CardError, match=r"model\.onnx: the model card has no seeds$"):
        Scorer(model_class(metadata=metadata).save(tmp_path), "cpu")


@pytest.mark.parametrize(
    ("changes", "expected", "found"),
    [
        ({"input_name": "images"}, "input 'faces' uint8 (batch, 48, 48)", "'images' uint8 (batch, 48, 48)"),
        (
            {"input_type": TensorProto.FLOAT},
            "input 'faces' uint8 (batch, 48, 48)",
            "'faces' float32 (batch, 48, 48)",
        ),
        ({"input_shape": (4, 48, 48)}, "input 'faces' uint8 (batch, 48, 48)", "'faces' uint8 (4, 48, 48)"),
        ({"input_shape": ("n", 2304)}, "input 'faces' uint8 (batch, 48, 48)", "'faces' uint8 (batch, 2304)"),
        (
            {"output_name": "scores"},
            "output 'logits' float32 (batch, 7), 'probabilities' float32 (batch, 7)",
            "'logits' float32 (batch, 7), 'scores' float32 (batch, 7)",
        ),
    ],
)
def test_a_graph_outside_the_contract_is_refused(
    model_class: Any, tmp_path: Path, changes: dict[str, Any], expected: str, found: str
) -> None:
    folder = model_class(**changes).save(tmp_path)
    message = f"{folder / 'model.onnx'}: expected {expected}, found {found}"
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        Scorer(folder, "cpu")


def test_a_card_with_fewer_labels_than_the_graph_has_columns_is_refused(
    model_class: Any, tmp_path: Path, card_with: Callable[..., ModelCard]
) -> None:
    folder = model_class(metadata=card_with(labels=("yes", "no")).to_metadata()).save(tmp_path)
    (folder / "card.json").unlink()
    with pytest.raises(ModelError, match=r"expected output 'logits' float32 \(batch, 2\).*found.*\(batch, 7\)"):
        Scorer(folder / "model.onnx", "cpu")


def test_a_folder_without_its_card_is_refused_and_its_graph_alone_is_not(folder: Path) -> None:
    (folder / "card.json").unlink()
    with pytest.raises(CardError, match=r"card\.json: cannot be read as a model card: No such file or directory$"):
        Scorer(folder, "cpu")
    assert Scorer(folder / "model.onnx", "cpu").card.labels == EXPRESSIONS


@pytest.mark.parametrize("kept", [0, 0.0001, 0.5, 0.999])
def test_a_truncated_graph_is_refused_in_one_line(folder: Path, kept: float) -> None:
    file = folder / "model.onnx"
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ModelError, match=r"model\.onnx: cannot be loaded by ONNX Runtime: [^\n]+$"):
        Scorer(folder, "cpu")


def test_an_absent_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere: expected an exports folder or an ONNX file, found none$"):
        Scorer(tmp_path / "nowhere", "cpu")


def test_a_folder_without_a_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError,
        match=r"folder, found no model\.onnx in it; `fer-train export` makes one from a run$",
    ):
        Scorer(tmp_path, "cpu")


def test_logits_that_are_not_finite_are_refused(model_class: Any, tmp_path: Path, images: Images) -> None:
    scorer = Scorer(model_class(poison=True).save(tmp_path), "cpu")
    with pytest.raises(ModelError, match=r"model\.onnx: the logits of face 0 \(counted from 0\) are not finite$"):
        scorer.run(images)[1]


def test_importing_and_scoring_never_needs_torch(exports: Path) -> None:
    code = (
        "import sys, numpy, fer_infer\n"
        "assert 'onnxruntime' not in sys.modules, 'fer_infer is heavy'\n"
        "fer_infer.Scorer(sys.argv[1], 'cpu').run(numpy.zeros((1, 48, 48), numpy.uint8))\n"
        "import fer_infer.scoring.pipeline, fer_infer.evaluation.evaluate, fer_infer.evaluation.plots\n"
        "import fer_infer.diagnostics.doctor, fer_infer.cli\n"
        "heavy = {'torch', 'onnx', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code, str(exports)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_the_package_names_what_it_offers() -> None:
    import fer_infer

    assert [getattr(fer_infer, name).__name__ for name in fer_infer.__all__] == fer_infer.__all__
    with pytest.raises(AttributeError, match=r"^module 'fer_infer' has no attribute 'scores'$"):
        fer_infer.scores  # noqa: B018 - reading it is the test
