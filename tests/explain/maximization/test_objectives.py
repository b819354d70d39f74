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
    parse_place,
    read_direction,
)
from fer_train.models.ensemble import Ensemble

PICTURE = Layer(3, "features.3", "ReLU", (4, 6, 5))
DENSE = Layer(9, "classifier.1", "Linear", (7,))


def outputs(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("place", [None, (5, 1)])
def test_objectives_are_what_a_loop_finds(place: tuple[int, int] | None) -> None:
    values = outputs(3, 4, 6, 5)
    vector = np.array([3.0, 0.0, 4.0, 0.0])
    along = direction_objective(PICTURE, vector, place=place)
    expected = (values[:, 0] * 0.6 + values[:, 2] * 0.8).numpy()
    expected = expected.mean((1, 2)) if place is None else expected[:, 5, 1]
    np.testing.assert_allclose(along.of_all(values)[:, 0], expected, rtol=1e-5, atol=1e-6)
    channels = channel_objectives(PICTURE, [2, 0, 3], place=place)
    every = channels.of_all(values)
    for i, channel in enumerate([2, 0, 3]):
        seen = values[:, channel].mean((1, 2)) if place is None else values[:, channel, 5, 1]
        torch.testing.assert_close(every[:, i], seen)
        torch.testing.assert_close(channels.places(values)[i].mean(), seen[i])


def test_dense_units_have_one_place() -> None:
    values = outputs(2, 7)
    units = channel_objectives(DENSE, [6, 1], class_names=EXPRESSIONS)
    assert units.names == ("neutral", "disgust")
    torch.testing.assert_close(units.of_all(values), values[:, [6, 1]])
    torch.testing.assert_close(units.places(values), torch.stack([values[0, 6], values[1, 1]])[:, None])


def test_a_class_is_a_logit(cnn: nn.Module) -> None:
    found = class_objective(cnn, EXPRESSIONS, "happy")
    assert (found.layer.name, found.channels.tolist(), found.names) == ("classifier.7", [3], ("happy",))
    with pytest.raises(ConfigError, match=r"class: expected one of angry, disgust, .*, found 'joy'"):
        class_objective(cnn, EXPRESSIONS, "joy")


def test_a_class_of_a_network_that_goes_on_after_its_last_layer_is_refused(cnn: nn.Module) -> None:
    """Its last layer is that of one member, whose logits are not the network's."""
    both = Ensemble([cnn, make_network("course-cnn", CNN, seed=1)], [1.0, 1.0]).eval()
    assert logits_layer(both) is None
    assert logits_layer(cnn) == list_layers(cnn)[-1]
    message = r"class: expected a network whose last layer gives the logits, found one that goes on after members\.1\."
    with pytest.raises(ConfigError, match=message):
        class_objective(both, EXPRESSIONS, "happy")


def test_a_place_is_read() -> None:
    assert parse_place(PICTURE, "centre") == (3, 2)
    assert parse_place(PICTURE, "5,0") == (5, 0)
    for text in ("5", "1,2,3", "-1,2", "middle", "", "5, 0"):
        with pytest.raises(ConfigError, match="place: expected row and column such as 5,7, or centre"):
            parse_place(PICTURE, text)


def test_places_that_a_layer_does_not_have_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"place: layer features\.3 has rows 0\.\.5 and columns 0\.\.4, found 6,0$"):
        channel_objectives(PICTURE, place=(6, 0))
    with pytest.raises(ConfigError, match=r"place: layer classifier\.1 has no places, as it is dense, found 0,0$"):
        direction_objective(DENSE, np.ones(7), place=(0, 0))
    with pytest.raises(ConfigError, match="or centre of a layer with places, found 'centre'"):
        parse_place(DENSE, "centre")


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
def test_what_is_no_direction_is_refused(vector: np.ndarray, match: str) -> None:
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
