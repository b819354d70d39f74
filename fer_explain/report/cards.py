"""The cards of the faces shown, and what is said of the methods of their maps."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_explain.attribution import Method, missed_shares
from fer_explain.faithfulness import RANKED_BY, SCORES, Faithfulness
from fer_explain.figures import data_uri, overlay
from fer_explain.measures.comparison import MethodScore
from fer_explain.measures.maps import CONTROLS
from fer_explain.report.explained import ChosenMethods, ExplainedFaces, settings_of
from fer_explain.report.picture import Picture, overlay_scale, strongest
from fer_explain.report.trust import STEPS, CheckedMaps
from fer_explain.sanity import RANK_CORRELATIONS, SAME, Verdict

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
    """One test of one map: its `name`, the map's `score`, that of the `random` map, and whether it is `better`."""

    name: str
    score: float
    random: float
    better: bool


@dataclass(frozen=True)
class MapView:
    """One map of a face, with the tests of the map and the sanity verdict of its method, if any."""

    picture: Picture
    badges: tuple[Badge, ...]
    sanity: str | None


@dataclass(frozen=True)
class Side:
    """A face explained for one class: what the class is to it, its name, the maps, and the masked face."""

    role: str
    name: str
    maps: tuple[MapView, ...]
    masked: Picture


@dataclass(frozen=True)
class FaceCard:
    """One face of the page; `true` and `correct` are None where it has no label."""

    row: int
    id: str | None
    usage: str | None
    predicted: str
    percent: float
    true: str | None
    correct: bool | None
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
            usage=None if faces.usage is None else str(faces.usage[i]),
            predicted=names[predicted],
            percent=float(percents[predicted]),
            true=None if true is None else names[true],
            correct=None if true is None else true == predicted,
            original=Picture(data_uri(faces.images[i]), f"Row {row}: the face as it is", "original"),
            sides=_sides(explained, checked, i, names),
            bars=tuple(Bar(name, float(percents[c]), c == predicted, c == true) for c, name in enumerate(names)),
        )
    return cards


def _sides(explained: ExplainedFaces, checked: CheckedMaps, i: int, names: tuple[str, ...]) -> tuple[Side, Side]:
    predicted, other = names[explained.targets[i]], names[explained.others[i]]
    labels = explained.faces.labels
    role = "runner-up" if labels is None or labels[i] == explained.targets[i] else "true"
    own, others = (
        [_badges(measured, method, i) for method in explained.methods]
        for measured in (checked.measured, checked.other_measured)
    )
    first = _side(explained, i, "predicted", predicted, explained.attributions, explained.masked, checked, own)
    maps, masked = explained.other_attributions, explained.other_masked
    return first, _side(explained, i, role, other, maps, masked, checked, others)


def _side(
    explained: ExplainedFaces,
    i: int,
    role: str,
    name: str,
    attributions: NDArray[np.float32],
    masked: NDArray[np.uint8],
    checked: CheckedMaps,
    badges: list[tuple[Badge, ...]],
) -> Side:
    row, kept = int(explained.faces.rows[i]), f"{explained.share:.0%}"
    views = []
    for m, method in enumerate(explained.methods):
        laid = overlay(explained.faces.images[i], attributions[m, i], signed=method.signed)
        alt = f"Row {row}: {method.name} of the {role} class {name}, {strongest(attributions[m, i])}"
        verdict = checked.verdicts.get(method.name)
        sanity = None if verdict is None else VERDICTS[verdict.failed]
        views.append(MapView(Picture(data_uri(laid), alt, method.name), badges[m], sanity))
    alt = f"Row {row}: the face with all but the {kept} of its pixels most salient to {name} gray"
    return Side(role, name, tuple(views), Picture(data_uri(masked[i]), alt, f"salient {kept}"))


def _badges(measured: Faithfulness | None, method: Method, i: int) -> tuple[Badge, ...]:
    if measured is None:
        return ()
    badges = []
    for name, score in (("deletion", "deletion_auc"), ("insertion", "insertion_auc")):
        own, chance = (float(measured.of(each)[score][i]) for each in (method.name, "random"))
        badges.append(Badge(name, own, chance, own < chance if SCORES[score] == "lower" else own > chance))
    return tuple(badges)


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
    """Describe how the methods fared, the best first, and the controls after them."""
    scores: dict[str, dict[str, MethodScore]] = {}
    for line in checked.compared:
        scores.setdefault(line.method, {})[line.score] = line
    named = list(scores) or [method.name for method in explained.methods]
    methods = [name for name in named if name not in CONTROLS]
    controls = [name for name in named if name in CONTROLS]
    return {
        "lines": [_trust_line(name, scores.get(name, {}), checked.verdicts.get(name)) for name in methods + controls],
        "tested": bool(scores),
        "faces": len(explained.faces),
        "steps": STEPS,
        "sanity_faces": checked.sanity_faces if checked.verdicts else 0,
        "same": SAME,
    }


def _trust_line(name: str, scores: dict[str, MethodScore], verdict: Verdict | None) -> dict[str, Any]:
    ranked = scores.get(RANKED_BY)
    return {
        "name": name,
        "deletion": scores["deletion_auc"].value.mean if ranked else None,
        "insertion": scores["insertion_auc"].value.mean if ranked else None,
        "gap": ranked.value if ranked else None,
        "better": {control: gain.better for control, gain in ranked.gains.items()} if ranked else {},
        "sanity": None if verdict is None else VERDICTS[verdict.failed],
        "similarity": None if verdict is None else max(verdict.similarity[each].mean for each in RANK_CORRELATIONS),
    }
