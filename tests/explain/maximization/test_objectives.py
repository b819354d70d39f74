from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import CNN, make_network
from torch import nn

from fer_core import EXPRESSIONS, ConfigError
from fer_explain.layers.structure import Layer, list_layers, logits_layer
from fer_explain.maximization.objectives import (
    channel_objectives,
    class_objective,
    direction_objective,
    parse_position,
    read_direction,
)
from fer_train.models.ensemble import Ensemble

PICTURE = Layer(3, "features.3", "ReLU", (4, 6, 5))
DENSE = Layer(9, "classifier.1", "Linear", (7,))


def outputs(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("position", [None, (5, 1)])
def test_objectives_are_what_a_loop_finds(position: tuple[int, int] | None) -> None:
    values = outputs(3, 4, 6, 5)
    vector = np.array([3.0, 0.0, 4.0, 0.0])
    along = direction_objective(PICTURE, vector, position=position)
    expected = (values[:, 0] * 0.6 + values[:, 2] * 0.8).numpy()
    expected = expected.mean((1, 2)) if position is None else expected[:, 5, 1]
    np.testing.assert_allclose(along.values(values)[:, 0], expected, rtol=1e-5, atol=1e-6)
    channels = channel_objectives(PICTURE, [2, 0, 3], position=position)
    every = channels.values(values)
    for i, channel in enumerate([2, 0, 3]):
        seen = values[:, channel].mean((1, 2)) if position is None else values[:, channel, 5, 1]
        torch.testing.assert_close(every[:, i], seen)
        torch.testing.assert_close(channels.at_positions(values)[i].mean(), seen[i])


def test_dense_units_have_one_position() -> None:
    values = outputs(2, 7)
    units = channel_objectives(DENSE, [6, 1], class_names=EXPRESSIONS)
    assert units.names == ("neutral", "disgust")
    torch.testing.assert_close(units.values(values), values[:, [6, 1]])
    torch.testing.assert_close(units.at_positions(values), torch.stack([values[0, 6], values[1, 1]])[:, None])


def test_a_class_is_a_logit(cnn: nn.Module) -> None:
    found = class_objective(cnn, EXPRESSIONS, "happy")
    assert (found.layer.name, found.channels.tolist(), found.names) == ("classifier.7", [3], ("happy",))
    with pytest.raises(ConfigError, match=r"class_name: expected one of angry, disgust, .*, found 'joy'"):
        class_objective(cnn, EXPRESSIONS, "joy")


def test_a_class_is_refused_if_operations_follow_the_last_layer(cnn: nn.Module) -> None:
    """Its last layer is that of one member, whose logits are not the network's."""
    both = Ensemble([cnn, make_network("course-cnn", CNN, seed=1)], [1.0, 1.0]).eval()
    assert logits_layer(both) is None
    assert logits_layer(cnn) == list_layers(cnn)[-1]
    message = r"class_name: expected a network whose last layer outputs the logits, found operations after members\.1\."
    with pytest.raises(ConfigError, match=message):
        class_objective(both, EXPRESSIONS, "happy")


def test_a_position_is_parsed() -> None:
    assert parse_position(PICTURE, "center") == (3, 2)
    assert parse_position(PICTURE, "5,0") == (5, 0)
    for text in ("5", "1,2,3", "-1,2", "middle", "", "5, 0"):
        with pytest.raises(ConfigError, match="position: expected row and column such as 5,7, or center for"):
            parse_position(PICTURE, text)


def test_positions_that_a_layer_does_not_have_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"layer features\.3 has rows 0\.\.5 and columns 0\.\.4, found 6,0$"):
        channel_objectives(PICTURE, position=(6, 0))
    with pytest.raises(ConfigError, match=r"layer classifier\.1 has no positions, as it is dense, found 0,0$"):
        direction_objective(DENSE, np.ones(7), position=(0, 0))
    with pytest.raises(ConfigError, match="or center for a convolutional layer, found 'center'"):
        parse_position(DENSE, "center")


@pytest.mark.parametrize(
    ("vector", "match"),
    [
        (np.ones(5), r"smile: expected floating-point numbers of shape \(4,\), .* found float64 \(5,\)"),
        (np.ones((1, 4)), r"found float64 \(1, 4\)"),
        (np.ones(4, np.int64), r"found int64 \(4,\)"),
        (np.zeros(4), "smile: expected a direction, found a vector of length 0"),
        (np.array([1.0, np.nan, 0, 0]), "found a vector of length nan"),
    ],
)
def test_an_invalid_direction_is_refused(vector: np.ndarray, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        direction_objective(PICTURE, vector, "smile")


def test_a_direction_is_read_from_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "smile.npy", np.arange(4.0))
    np.testing.assert_array_equal(read_direction(tmp_path / "smile.npy"), np.arange(4.0))
    np.savez(tmp_path / "many.npz", a=np.ones(4))
    np.save(tmp_path / "objects.npy", np.array([object()]))
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "empty.npy").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"many\.npz: expected an .npy file, found an archive"):
        read_direction(tmp_path / "many.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "many.npz").read_bytes()[:60])
    np.save(tmp_path / "huge.npy", np.ones(4))
    whole = (tmp_path / "huge.npy").read_bytes()
    (tmp_path / "huge.npy").write_bytes(whole.replace(b"(4,), }" + b" " * 14, b"(4" + b"0" * 14 + b",), }"))
    for name in ("objects.npy", "text.npy", "empty.npy", "absent.npy", "cut.npz", "huge.npy"):
        with pytest.raises(ConfigError, match=f"direction: .*{name}: cannot be read as an .npy file"):
            read_direction(tmp_path / name)
