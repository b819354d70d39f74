from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import CNN, DNN, assert_same_maps, enliven, make_network
from torch import nn
from torch.nn import functional

from fer_core import ConfigError, Faces, ModelError
from fer_core.synthetic.drawn_faces import draw_faces
from fer_explain.attribution import METHODS, AttributionConfig, attributions_of
from fer_explain.attribution import preflight as preflight_module
from fer_explain.attribution.gradient_graph import gradient_graph
from fer_explain.attribution.preflight import find_cautions, require_suited, verdict_lines
from fer_train.models.ensemble import Ensemble
from fer_train.models.layers import Standardize
from fer_train.prediction import predict_logits


class Built(nn.Module):
    """A small network whose middle is given: features (batch, 3, 12, 12) to the same shape."""

    def __init__(self, middle: Callable[[torch.Tensor], torch.Tensor], end: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.standardize = Standardize(128.0, 64.0)
        self.first = nn.Conv2d(1, 3, 4, stride=4)
        self.middle = middle
        self.last = nn.Linear(432, 7)
        self.end = end or nn.Identity()
        enliven(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.end(self.last(self.middle(self.first(self.standardize(images))).flatten(1)))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.relu(self.convolution(self.relu(features)))


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weigh = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 3, 1), nn.Sigmoid())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features * self.weigh(features)


def verdicts(model: nn.Module, layer: str | None = None) -> dict[str, str]:
    found = find_cautions(model.eval(), layer)
    return {name: caution.verdict for caution in reversed(found) for name in caution.methods}


@pytest.mark.parametrize(
    ("architecture", "arguments", "expected"),
    [
        ("course-cnn", CNN, {}),
        ("course-cnn", {**CNN, "batch_norm": True}, {}),
        ("course-dnn", DNN, {"grad-cam": "refused", "guided-grad-cam": "refused"}),
        ("compact", {"widths": [[4], [5, 6]]}, {}),
        (
            "residual-small",
            {"widths": [8, 12], "blocks": [1, 1]},
            {"guided-backprop": "approximate", "guided-grad-cam": "approximate", "deeplift": "approximate"},
        ),
    ],
)
def test_the_architectures_of_the_registry_are_judged_right(
    architecture: str, arguments: dict[str, object], expected: dict[str, str]
) -> None:
    network = enliven(make_network(architecture, arguments))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # residual branches begin at zero, where nothing is there to miss
    assert verdicts(network) == expected


@pytest.mark.parametrize(
    ("middle", "end", "expected", "message"),
    [
        (nn.ReLU(), None, {}, ""),
        (nn.ReLU(inplace=True), None, {}, ""),
        (
            functional.relu,
            None,
            {"guided-backprop": "refused", "guided-grad-cam": "refused", "deeplift": "refused"},
            "guided backpropagation needs nn.ReLU modules, found Relu in the network itself",
        ),
        (
            nn.GELU(),
            None,
            {"guided-backprop": "approximate", "guided-grad-cam": "approximate", "deeplift": "refused"},
            "the rescale rule needs supported activation modules, found Gelu in middle",
        ),
        (
            nn.Sigmoid(),
            None,
            {"guided-backprop": "approximate", "guided-grad-cam": "approximate"},
            "gradients pass unmodified through Sigmoid in middle",
        ),
        (
            Twice(),
            None,
            {"deeplift": "refused"},
            "the rescale rule needs modules that are used once, found used more than once: Relu in middle.relu",
        ),
        (
            Gated(),
            None,
            {"guided-backprop": "approximate", "guided-grad-cam": "approximate", "deeplift": "approximate"},
            "no rule for product in middle",
        ),
        (
            nn.ReLU(),
            nn.Softmax(1),
            {name: "refused" for name in METHODS if name != "random"},
            "the network ends in a softmax",
        ),
        (
            nn.ReLU(),
            nn.LogSoftmax(1),
            {"deeplift": "refused", "guided-backprop": "approximate", "guided-grad-cam": "approximate"},
            "the logits are log-probabilities",
        ),
        (
            nn.BatchNorm2d(3, track_running_stats=False),
            None,
            {name: "refused" for name in METHODS if name != "random"},
            "a face's logits depend on the other faces of the batch, even in evaluation mode",
        ),
        (
            lambda features: functional.dropout(features, 0.5, training=True),
            None,
            {name: "refused" for name in METHODS if name != "random"},
            "the logits change from pass to pass, even in evaluation mode",
        ),
    ],
)
def test_what_would_make_maps_wrong_is_found(
    middle: nn.Module, end: nn.Module | None, expected: dict[str, str], message: str
) -> None:
    model = Built(middle, end)
    found = verdicts(model)
    assert {name: found.get(name) for name in expected} == expected
    if not expected:
        assert found == {}
    assert any(message in caution.message for caution in find_cautions(model)) == bool(expected)


def test_what_is_called_fine_adds_up_and_what_is_refused_does_not(faces: Faces) -> None:
    """A ReLU as a function: DeepLIFT passes it by in silence, and misses what it promises."""

    def missed(middle: Callable[[torch.Tensor], torch.Tensor]) -> float:
        found = attributions_of(
            Built(middle).eval(), METHODS["deeplift"], faces.images[:3], np.arange(3), config=AttributionConfig()
        )
        return float(np.abs(found["deltas"]).max())

    assert missed(nn.ReLU()) < 1e-4
    assert missed(nn.ReLU(inplace=True)) < 1e-4
    assert missed(functional.relu) > 0.05


def test_an_output_that_is_overwritten_in_place_is_no_layer_for_grad_cam() -> None:
    model = Built(nn.ReLU(inplace=True))
    found = find_cautions(model, "first")
    assert [caution.message for caution in found] == ["the output of layer first is changed in place by the next layer"]
    assert verdicts(Built(nn.ReLU()), "first") == {}


def test_a_refusal_is_one_line_and_only_of_the_method_it_concerns() -> None:
    model = Built(functional.relu)
    with pytest.raises(
        ModelError, match=r"^deeplift: the rescale rule needs supported activation modules, found [^\n]+$"
    ):
        require_suited(model, METHODS["deeplift"], AttributionConfig())
    assert require_suited(model, METHODS["saliency"], AttributionConfig()) == ()
    (caution,) = require_suited(Built(nn.Sigmoid()), METHODS["guided-backprop"], AttributionConfig())
    assert caution.verdict == "approximate"


def test_modules_in_training_mode_are_noted_and_put_back() -> None:
    network = make_network("course-cnn", CNN).train()
    lines = verdict_lines(find_cautions(network))
    assert lines[0].startswith("note: in training mode: classifier.3, classifier.6; explained in evaluation mode")
    assert "saliency: fine" in lines
    assert all(module.training for module in network.modules())
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in network.modules())


def test_every_method_has_a_judgement() -> None:
    lines = verdict_lines(find_cautions(make_network("course-dnn", DNN)))
    assert [re.split(":", line)[0] for line in lines] == list(METHODS)


def test_the_graph_knows_which_module_made_each_operation() -> None:
    graph = gradient_graph(Built(Gated()))
    made = {(operation.kind, operation.module) for operation in graph.operations}
    assert {("Div", "standardize"), ("Sub", "standardize"), ("Convolution", "first"), ("Mul", "middle")} <= made
    assert {("Convolution", "middle.weigh.1"), ("Sigmoid", "middle.weigh.2"), ("Addmm", "last")} <= made
    assert [str(operation) for operation in graph.operations if operation.product] == ["product in middle"]
    assert gradient_graph(Built(Twice())).reused == {"middle.relu"}


def test_an_ensemble_is_explained_but_by_grad_cam_of_one_member_only_where_that_is_asked_for() -> None:
    members = [enliven(make_network("course-cnn", CNN, seed)) for seed in (0, 1)]
    both = Ensemble(members, [1.0, 0.8]).eval()
    verdicts = {name: caution.verdict for caution in find_cautions(both) for name in caution.methods}
    assert verdicts == {
        "grad-cam": "refused",
        "guided-grad-cam": "refused",
        "guided-backprop": "approximate",
        "deeplift": "refused",
    }
    assert any("log-probabilities" in caution.message for caution in find_cautions(both))
    chosen = find_cautions(both, "members.0.features.15", ("grad-cam",))
    assert [caution.verdict for caution in chosen if caution.methods] == ["approximate"]
    assert "part of the network bypasses layer members.0.features.15" in chosen[-1].message
    faces = draw_faces(3, seed=1).images
    targets = np.array([0, 3, 6])
    maps = attributions_of(both, METHODS["saliency"], faces, targets)["attributions"]
    pixels = torch.from_numpy(faces).float().unsqueeze(1).requires_grad_()
    means = (members[0](pixels).softmax(1) + (members[1](pixels) / 0.8).softmax(1)) / 2
    (gradient,) = torch.autograd.grad(means.log()[np.arange(3), targets].sum(), pixels)
    assert_same_maps(maps, gradient[:, 0].abs(), share=1e-4)


def test_deeplift_suits_a_network_pooled_over_channels_last_memory() -> None:
    network = enliven(make_network("compact", {"widths": [[4], [6]], "dropout": 0.0}))
    assert not find_cautions(network.to(memory_format=torch.channels_last), methods=("deeplift", "guided-backprop"))


def test_a_face_standardized_by_itself_is_no_affine_step_and_its_sums_are_doubted() -> None:
    own = enliven(make_network("course-cnn", {**CNN, "standardize": "face"}))
    kinds = [each.kind for each in gradient_graph(own).operations if each.module == "standardize"]
    assert "InstanceNorm" in kinds
    found = verdicts(own)
    assert found["deeplift"] == "refused"
    assert (found["integrated-gradients"], found["gradient-shap"]) == ("approximate", "approximate")
    lines = verdict_lines(find_cautions(own))
    assert any("found InstanceNorm in standardize" in line for line in lines if line.startswith("deeplift: refused"))
    assert any("the sums are inexact" in line for line in lines if line.startswith("integrated-gradients: approximate"))
    faces = draw_faces(4, seed=1)
    values = attributions_of(own, METHODS["input-x-gradient"], faces.images, faces.labels)["attributions"]
    size = np.abs(values).sum(axis=(1, 2))  # contrast counts for nothing: along the face the logit stands still
    assert (np.abs(values.sum(axis=(1, 2))) < 0.05 * size).all()


def test_a_batch_norm_in_evaluation_mode_stays_affine() -> None:
    graph = gradient_graph(make_network("course-cnn", {**CNN, "batch_norm": True}))
    assert all(each.affine for each in graph.operations if "Norm" in each.kind)
    assert any("BatchNorm" in each.kind for each in graph.operations)


def test_a_lift_that_misses_most_of_its_sum_is_refused(monkeypatch: pytest.MonkeyPatch, cnn: nn.Module) -> None:
    for share, verdict in ((0.2, "approximate"), (0.6, "refused")):

        def missing(
            model: nn.Module, method: object, images: np.ndarray, targets: np.ndarray, share: float = share, **_: Any
        ) -> Any:
            blank = np.full_like(images[:1], 128)
            logits, nothing = (predict_logits(model, each) for each in (images, blank))
            return {"deltas": share * np.take_along_axis(logits - nothing, targets[:, None], axis=1)[:, 0]}

        monkeypatch.setattr(preflight_module, "attributions_of", missing)
        assert verdicts(cnn)["deeplift"] == verdict


def test_a_network_that_says_the_same_of_every_face_has_nothing_to_miss(cnn: nn.Module) -> None:
    last = [each for each in cnn.modules() if isinstance(each, nn.Linear)][-1]
    nn.init.zeros_(last.weight)
    assert "deeplift" not in verdicts(cnn)


def test_a_layer_asked_for_that_is_not_there_is_no_fault_of_the_network(cnn: nn.Module) -> None:
    with pytest.raises(ConfigError, match="layer: found 'nose', expected one of these by index or name"):
        find_cautions(cnn, "nose")
