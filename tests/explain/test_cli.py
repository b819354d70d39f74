import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from fer_core import Faces
from fer_explain.attribution.registry import METHODS
from fer_explain.cli import main

COMMANDS = tuple(main.commands)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_has_help(command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert main.commands[command].help
    for option in main.commands[command].params:
        assert option.param_type_name == "argument" or option.help, option.name


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_has_an_example_whose_options_exist(command: str) -> None:
    text = invoke(command, "--help").output
    (example,) = re.findall(rf"^ +fer-explain ({command}.*)$", text, flags=re.MULTILINE)
    options = {spelling for option in main.commands[command].params for spelling in option.opts}
    assert set(re.findall(r"--[a-z-]+", example)) <= options


def test_the_methods_are_listed_at_once() -> None:
    result = invoke("methods")
    assert result.exit_code == 0
    for name, method in METHODS.items():
        assert re.search(rf"^ *{name} ", result.output, flags=re.MULTILINE)
        assert f"{method.passes[0]} + {method.passes[1]}" in result.output


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("attribute", "--method", "lime"), "'--method': expected one of saliency, .*, random, found 'lime'"),
        (("faithfulness", "--methods", "lime"), "'--methods': expected one of saliency, .*, center, found 'lime'"),
        (("sanity", "--methods", "saliency,saliency"), "'--methods': expected each method once"),
        (("faithfulness", "--methods", "saliency", "--steps", "0"), "'--steps': expected 1 to 2,304, found 0"),
    ],
)
def test_a_wrong_method_or_setting_is_wrong_usage_before_data_or_torch_is_touched(
    tmp_path: Path, arguments: tuple[str, ...], match: str
) -> None:
    command = [*arguments, "absent.csv", "--model", "absent", "--output", str(tmp_path / "out")]
    code = f"import sys; from fer_explain.cli import main; main({command})"
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert re.search(match, done.stderr)
    assert not re.search(r"\| +(torch|onnxruntime|captum)$", done.stderr, flags=re.MULTILINE)


def test_attribute_explains_the_first_faces_of_a_limit(exports: Path, data: Path, tmp_path: Path) -> None:
    result = invoke("attribute", data, "--model", exports, "--output", tmp_path / "maps.npz", "--limit", 3)
    assert result.exit_code == 0, result.output
    assert np.load(tmp_path / "maps.npz")["rows"].tolist() == [2, 3, 4]


def test_a_sample_is_drawn_from_the_first_faces_of_a_limit(exports: Path, data: Path, tmp_path: Path) -> None:
    options = ("--methods", "random", "--sample-size", 4, "--limit", 6, "--output", tmp_path / "out")
    result = invoke("sanity", data, "--model", exports, *options)
    assert result.exit_code == 0, result.output
    rows = np.load(tmp_path / "out" / "similarity.npz")["rows"]
    assert len(rows) == 4
    assert set(rows.tolist()) <= set(range(2, 8))


def test_help_loads_nothing_heavy_and_answers_at_once() -> None:
    heavy = "{'torch', 'captum', 'jinja2', 'matplotlib', 'onnxruntime', 'numba'}"
    code = f"import sys; from fer_explain.cli import main; print({heavy} & set(sys.modules))"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert time.perf_counter() - start < 5  # 0.2 s on a quiet machine


def test_the_version_is_told() -> None:
    assert invoke("--version").output.startswith("fer-explain, version ")


def test_attribute_says_where_its_maps_are(exports: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "maps.npz"
    result = invoke("attribute", data, "--model", exports, "--output", output, "--rows", "2,4-5", "--target", "fear")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{output}: attributions, targets, logits, rows\n"
    assert np.load(output)["rows"].tolist() == [2, 4, 5]
    assert np.load(output)["targets"].tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (
            "integrated-gradients",
            ("--tolerance", 0, "--max-samples", 20),
            "3 of 3 maps: error of the sum above 0% after 20 samples; increase --max-samples",
        ),
        (
            "integrated-gradients",
            ("--tolerance", 0.0005, "--samples", 2, "--baseline", 0),
            "3 of 3 maps: error of the sum above 0.05% after 2 samples; increase --samples",
        ),
        (
            "smoothgrad",
            ("--standard-error", 0.001, "--max-samples", 16),
            "3 of 3 maps: standard error above 0.1% after 16 samples; increase --max-samples",
        ),
    ],
)
def test_attribute_counts_the_maps_whose_error_is_too_large(
    method: str, options: tuple[object, ...], message: str, exports: Path, data: Path, tmp_path: Path
) -> None:
    common = ("--model", exports, "--output", tmp_path / "maps.npz", "--rows", "2,4-5", "--method", method)
    result = invoke("attribute", data, *common, *options)
    assert result.exit_code == 0, result.output
    assert f"fer-explain: {method}: {message}\n" in result.stderr
    found = np.load(tmp_path / "maps.npz")
    assert found["samples"].shape == found["errors"].shape == (3,)


def test_feature_maps_and_maximize_take_a_layer_by_index(exports: Path, data: Path, tmp_path: Path) -> None:
    result = invoke("feature-maps", data, "--row", 3, "--model", exports, "--layer", 0, "--output", tmp_path / "maps")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'maps'}: sheet.png, feature_maps.npz\n")
    options = ("--layer", "0", "--channels", "0,2-3", "--steps", 2, "--seed", 7)
    result = invoke("maximize", "--model", exports, *options, "--output", tmp_path / "ascent")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'ascent'}: sheet.png, maximization.npz\n")
    assert np.load(tmp_path / "ascent" / "maximization.npz")["channels"].tolist() == [0, 2, 3]


def test_report_says_where_its_page_is(run: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "report"
    result = invoke("report", data, "--model", run, "--output", output, "--rows", "2", "--layer", "classifier.7")
    assert result.exit_code == 0, result.output
    assert f"{output / 'index.html'}: open it in a browser\n" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rows", "1"), "expected a row number in 2..22 (21 faces), found 1"),
        (("--layer", "nose"), "--layer: found 'nose', expected one of these by index or name: 0: "),
        (("--split", "PublicTest"), "has no Usage column"),
        (("--model", "nowhere"), "nowhere: expected an exports folder or a run"),
    ],
)
def test_wrong_input_is_one_error_and_exit_code_1(
    run: Path, data: Path, tmp_path: Path, options: tuple[str, str], message: str
) -> None:
    result = invoke("report", data, "--model", run, "--output", tmp_path / "out", *options)
    assert result.exit_code == 1
    assert result.stderr.startswith("fer-explain: ")
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_a_setting_that_the_method_does_not_look_at_is_refused_whatever_its_value(
    exports: Path, data: Path, tmp_path: Path
) -> None:
    output = tmp_path / "maps.npz"
    for value in ("32", "33"):  # the first is what other methods take by default
        result = invoke("attribute", data, "--model", exports, "--output", output, "--rows", "2", "--samples", value)
        assert (result.exit_code, result.stderr) == (
            1,
            "fer-explain: --samples: not a setting of saliency, which uses --of\n",
        )
    assert not output.exists()


def test_preflight_tells_a_wrong_layer_from_a_wrong_network(exports: Path) -> None:
    result = invoke("preflight", "--model", exports, "--layer", "nose")
    assert result.exit_code == 1
    assert result.stderr.startswith("fer-explain: --layer: found 'nose', expected one of these by index or name")


def test_an_existing_output_needs_force(exports: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "maps.npz"
    output.write_text("mine")
    arguments = ("attribute", data, "--model", exports, "--output", output, "--rows", "2")
    result = invoke(*arguments)
    assert (result.exit_code, result.stderr) == (1, f"fer-explain: {output}: exists already; --force replaces it\n")
    assert output.read_text() == "mine"
    assert invoke(*arguments, "--force").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("report",),
        ("attribute", "x.csv"),
        ("maximize", "--layer", "0"),
        ("paint",),
        ("report", "x.csv", "--worst", "0"),
        ("report", "x.csv", "--rows", "two"),
        ("report", "x.csv", "--share", "nan"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    assert invoke(*arguments).exit_code == 2


@pytest.fixture(scope="module")
def odd(faces: Faces, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same faces in a column of another name, with two columns of labels, the first of another data set."""
    path = tmp_path_factory.mktemp("odd") / "odd.csv"
    pairs = zip(faces.require_labels().tolist(), faces.images.reshape(len(faces), -1).tolist(), strict=True)
    rows = (f"contempt,{' '.join(map(str, image))},{label}" for label, image in pairs)
    path.write_text("\n".join(["emotion,face,label", *rows]))
    return path


@pytest.mark.parametrize(
    "command",
    [
        ("attribute", "DATA", "--rows", "2", "--output", "maps.npz"),
        ("feature-maps", "DATA", "--row", "2", "--layer", "0", "--output", "maps"),
        ("filters", "DATA", "--layer", "0", "--output", "filters"),
        ("maximize", "--data", "DATA", "--layer", "0", "--channels", "0", "--steps", "1", "--output", "images"),
    ],
    ids=lambda command: command[0],
)
def test_labels_that_are_not_needed_are_not_read_and_columns_can_be_chosen(
    command: tuple[str, ...], exports: Path, odd: Path, tmp_path: Path
) -> None:
    arguments = [str(odd) if one == "DATA" else one for one in (*command[:-1], str(tmp_path / command[-1]))]
    done = invoke(*arguments, "--model", str(exports), "--column", "pixels=face")
    assert done.exit_code == 0, done.output
    done = invoke(*arguments, "--model", str(exports), "--force")
    assert done.exit_code == 1
    assert "expected a column 'pixels' or 'feature'" in done.output


@pytest.mark.parametrize("command", ["faithfulness", "sanity"])
def test_measures_read_the_chosen_columns(command: str, exports: Path, odd: Path, tmp_path: Path) -> None:
    arguments = [command, str(odd), "--model", str(exports), "--methods", "saliency", "--output", str(tmp_path / "out")]
    done = invoke(*arguments, "--column", "pixels=face", "--column", "label=label", "--rows", "2,3")
    assert done.exit_code == 0, done.output
    done = invoke(*arguments, "--column", "pixels=face", "--force")
    assert done.exit_code == 1
    assert "expected one column of label, found 'emotion' and 'label'" in done.output
