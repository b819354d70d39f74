"""The cards of the faces shown, and what is said of the methods of their maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_explain.attribution import Method, missed_shares
from fer_explain.config import CONTROLS_PER_MAP
from fer_explain.evaluation.comparison import Gain
from fer_explain.evaluation.matched import FIRST, LEVEL, ControlComparison, ControlRank
from fer_explain.evaluation.method_names import CONTROLS
from fer_explain.evaluation.sanity import RANK_CORRELATIONS, SAME, Verdict
from fer_explain.plots import data_uri, overlay
from fer_explain.report.face_maps import ChosenMethods, ExplainedFaces, settings_of
from fer_explain.report.map_checks import SHARES, CheckedMaps
from fer_explain.report.page.picture import Picture, overlay_scale, strongest

DASH = "\N{EN DASH}"
VERDICTS = {"yes": "failed", "no": "passed", "undecided": "undecided"}
"""Answer to whether a method failed the sanity check -> what is said of it."""


@dataclass(frozen=True)
class Bar:
    """One class of a face: `name`, `percent` 0..100, and whether it is the `predicted` and the `true` one."""

    name: str
    percent: float
    predicted: bool
    true: bool


@dataclass(frozen=True)
class Badge:
    """Result of one test of a map: its `look` (good, plain or bad) and its `text`, which says the same in words."""

    look: str
    text: str


@dataclass(frozen=True)
class Score:
    """One score of a map: its `name`, its `value` and the mean of the map's `controls`."""

    name: str
    value: float
    controls: float


@dataclass(frozen=True)
class MapView:
    """One map of a face with its badges and scores; it has none where it was not tested."""

    picture: Picture
    badges: tuple[Badge, ...] = ()
    scores: tuple[Score, ...] = ()


@dataclass(frozen=True)
class Side:
    """A face explained for one class: what the class is to it, its name, the maps, and the masked face."""

    role: str
    name: str
    maps: tuple[MapView, ...]
    masked: Picture


@dataclass(frozen=True)
class FaceCard:
    """One face of the page.

    `true` and `correct` are None where it has no label; `luck` says that the model is no better than chance, so that
    a correct prediction deserves no green.
    """

    row: int
    id: str | None
    split: str | None
    predicted: str
    percent: float
    true: str | None
    correct: bool | None
    luck: bool
    original: Picture
    sides: tuple[Side, Side]
    bars: tuple[Bar, ...]


def face_cards(explained: ExplainedFaces, checked: CheckedMaps, names: tuple[str, ...]) -> dict[int, FaceCard]:
    """Return the card of each face by its row number."""
    faces, cards = explained.faces, {}
    for i, row in enumerate(faces.rows.tolist()):
        predicted = int(explained.targets[i])
        true = None if faces.labels is None else int(faces.labels[i])
        percents = 100 * explained.probabilities[i]
        cards[row] = FaceCard(
            row=row,
            id=None if faces.ids is None else str(faces.ids[i]),
            split=None if faces.splits is None else str(faces.splits[i]),
            predicted=names[predicted],
            percent=float(percents[predicted]),
            true=None if true is None else names[true],
            correct=None if true is None else true == predicted,
            luck=not checked.skill.shown,
            original=Picture(data_uri(faces.images[i]), f"Row {row}: the face as it is", "original"),
            sides=_sides(explained, checked, i, names),
            bars=tuple(Bar(name, float(percents[c]), c == predicted, c == true) for c, name in enumerate(names)),
        )
    return cards


def _sides(explained: ExplainedFaces, checked: CheckedMaps, i: int, names: tuple[str, ...]) -> tuple[Side, Side]:
    predicted, other = names[explained.targets[i]], names[explained.others[i]]
    labels = explained.faces.labels
    role = "runner-up" if labels is None or labels[i] == explained.targets[i] else "true"
    first = _side(explained, i, "predicted", predicted, explained.attributions, explained.masked, checked)
    maps, masked = explained.other_attributions, explained.other_masked
    return first, _side(explained, i, role, other, maps, masked, None)


def _side(
    explained: ExplainedFaces,
    i: int,
    role: str,
    name: str,
    attributions: NDArray[np.float32],
    masked: NDArray[np.uint8],
    checked: CheckedMaps | None,
) -> Side:
    row, kept = int(explained.faces.rows[i]), f"{explained.share:.0%}"
    views = []
    for m, method in enumerate(explained.methods):
        laid = overlay(explained.faces.images[i], attributions[m, i], signed=method.signed)
        alt = f"Row {row}: {method.name} of the {role} class {name}, {strongest(attributions[m, i])}"
        picture = Picture(data_uri(laid), alt, method.name)
        views.append(MapView(picture) if checked is None else _tested(picture, checked, method, i))
    alt = f"Row {row}: the face with all but the {kept} of its pixels most salient to {name} gray"
    return Side(role, name, tuple(views), Picture(data_uri(masked[i]), alt, f"salient {kept}"))


def _tested(picture: Picture, checked: CheckedMaps, method: Method, i: int) -> MapView:
    if not checked.skill.shown:
        return MapView(picture, (Badge("plain", f"not tested: {checked.skill.title}"),))
    badges, scores = list[Badge](), tuple[Score, ...]()
    if checked.compared is not None:
        m = checked.compared.methods.index(method.name)
        badges.append(rank_badge(checked.compared.ranks[method.name][i]))
        scores = (
            Score("deletion", float(checked.compared.deletion[m, i]), float(checked.compared.control_deletion[m, i])),
            Score(
                "insertion", float(checked.compared.insertion[m, i]), float(checked.compared.control_insertion[m, i])
            ),
        )
    verdict = checked.verdicts.get(method.name)
    if verdict is not None:
        badges.append(_sanity_badge(verdict, "sanity "))
    return MapView(picture, tuple(badges), scores)


def rank_badge(rank: ControlRank) -> Badge:
    """Describe the rank of a map among its controls."""
    if rank.state == "better":
        return Badge("good", f"✓ better than all {rank.n} controls")
    if rank.state == "worse":
        return Badge("bad", f"✗ worse than all {rank.n} controls")
    return Badge("plain", f"{DASH} no different: better than {rank.beaten} of {rank.n} controls")


def _sanity_badge(verdict: Verdict, prefix: str = "") -> Badge:
    if verdict.is_control:
        return Badge("plain", f"{prefix}{VERDICTS[verdict.failed]}, as expected of a control")
    look, mark = {"yes": ("bad", "✗"), "no": ("good", "✓"), "undecided": ("plain", DASH)}[verdict.failed]
    return Badge(look, f"{mark} {prefix}{VERDICTS[verdict.failed]}")


def methods_view(chosen: ChosenMethods, explained: ExplainedFaces) -> dict[str, Any]:
    """Describe the methods of the maps and their colour scales."""
    return {
        "all": [
            {
                "name": method.name,
                "paper": method.paper,
                "sign": method.sign,
                "settings": _settings(method, explained.seed),
                "cautions": chosen.cautions[method.name],
                "missed": _missed(explained, m),
            }
            for m, method in enumerate(chosen.methods)
        ],
        "left_out": chosen.left_out,
        "leading": chosen.methods[0].name,
        "scales": [overlay_scale(signed=signed) for signed in sorted({method.signed for method in chosen.methods})],
        "share": f"{explained.share:.0%}",
    }


def _missed(explained: ExplainedFaces, m: int) -> str | None:
    """Say by how much the maps of a method miss the sum it promises; None where it promises none, or none is shown."""
    shares = missed_shares(explained.attributions[m], explained.deltas[m])
    if not np.isfinite(shares).any():
        return None
    missed = float(np.nanmedian(shares))
    return f"{missed:.0%}" if missed >= 0.01 else "less than 1%"


def _settings(method: Method, seed: int) -> str:
    used = asdict(settings_of(method, seed))
    given = {name: used[name] for name in method.uses if used[name] is not None}
    return ", ".join(f"{name} {value}" for name, value in given.items())


def trust_view(checked: CheckedMaps, explained: ExplainedFaces) -> dict[str, Any]:
    """Describe how the methods fared, the largest gain over their controls first, and the control after them."""
    compared = checked.compared
    named = [method.name for method in explained.methods]
    if compared is not None:
        means = compared.gains.mean(axis=1)
        order = sorted(range(len(means)), key=lambda m: (compared.methods[m] in CONTROLS, -means[m]))
        named = [compared.methods[m] for m in order]
    methods = {method.name for method in explained.methods}
    tested = [rank for name in methods for rank in (compared.ranks[name] if compared else ())]
    return {
        "skill": checked.skill,
        "lines": [_trust_line(name, checked, listed=name in methods) for name in named],
        "tested": compared is not None,
        "averaged": bool(checked.gains),
        "faces": len(explained.faces),
        "maps": len(tested),
        "states": _count(tested),
        "by_chance": f"{LEVEL * len(tested):.1f}",
        "controls": CONTROLS_PER_MAP,
        "one_in": round(1 / LEVEL),
        "level": f"{LEVEL:.1%}",
        "shares": ", ".join(f"{100 * share:g}%" for share in SHARES[1:-1]),
        "first": FIRST,
        "sanity_faces": checked.sanity_faces,
        "same": SAME,
    }


def _count(ranks: Sequence[ControlRank]) -> dict[str, int]:
    states = [rank.state for rank in ranks]
    return {"better": states.count("better"), "same": states.count("no different"), "worse": states.count("worse")}


def _trust_line(name: str, checked: CheckedMaps, *, listed: bool) -> dict[str, Any]:
    """Describe one method: scores, gain over its controls, and the sanity verdict; None where there is none.

    A control that is not `listed` among the methods was compared with too few controls for states of single maps.
    """
    gain, verdict, compared = checked.gains.get(name), checked.verdicts.get(name), checked.compared
    return {
        "name": name,
        "is_control": name in CONTROLS,
        "scores": None if compared is None else _mean_scores(compared, compared.methods.index(name)),
        "gain": None if gain is None else gain.value,
        "badge": None if gain is None else _gain_badge(gain, is_control=name in CONTROLS),
        "states": _count(compared.ranks[name]) if compared and listed else None,
        "sanity": None if verdict is None else _sanity_badge(verdict),
        "similarity": None if verdict is None else max(verdict.similarity[each].mean for each in RANK_CORRELATIONS),
    }


def _mean_scores(compared: ControlComparison, m: int) -> tuple[Score, ...]:
    return (
        Score("deletion", float(compared.deletion[m].mean()), float(compared.control_deletion[m].mean())),
        Score("insertion", float(compared.insertion[m].mean()), float(compared.control_insertion[m].mean())),
    )


def _gain_badge(gain: Gain, *, is_control: bool) -> Badge:
    look, mark = {"better": ("good", "✓"), "worse": ("bad", "✗")}.get(gain.state, ("plain", DASH))
    return Badge("plain" if is_control else look, f"{mark} {gain.state}")
