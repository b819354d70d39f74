"""Face cards, the methods of their maps, and the tests of these maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from fer_core.outputs.map_colors import overlay
from fer_explain.attribution import Method, error_text, missed_shares
from fer_explain.config import CONTROLS_PER_MAP
from fer_explain.evaluation.comparison import Gain
from fer_explain.evaluation.controls.ranks import LEVEL, ControlComparison, ControlRank
from fer_explain.evaluation.method_names import CONTROLS
from fer_explain.evaluation.sanity import RANK_CORRELATIONS, SAME, Verdict
from fer_explain.plots import data_uri
from fer_explain.report.face_maps import ExplainedClass, ExplainedFaces
from fer_explain.report.map_checks import SHARES, CheckedMaps
from fer_explain.report.methods import ChosenMethods, settings_of
from fer_explain.report.page.picture import Picture, overlay_scale, photo_view, strongest
from fer_explain.report.photo_maps import PhotoMap

DASH = "\N{EN DASH}"
VERDICTS = {"yes": "failed", "no": "passed", "undecided": "undecided"}
"""Whether a method failed the sanity check -> text on the page."""


@dataclass(frozen=True)
class Bar:
    """Probability of one class: `name`, `percent`, and whether it is the `predicted` class and the `label`."""

    name: str
    percent: float
    predicted: bool
    label: bool


@dataclass(frozen=True)
class Badge:
    """Result of one test: its `look` (good, plain or bad), and its `text`, which contains the same information."""

    look: str
    text: str


@dataclass(frozen=True)
class Score:
    """One score of a map: `name`, `value`, and the mean value of its `controls`."""

    name: str
    value: float
    controls: float


@dataclass(frozen=True)
class MapView:
    """One map of a face, with badges and scores if it was tested, and its error if it is unfinished."""

    picture: Picture
    error: str | None
    badges: tuple[Badge, ...] = ()
    scores: tuple[Score, ...] = ()


@dataclass(frozen=True)
class SideView:
    """Maps of a face for one class.

    `role` is ``predicted``, ``label`` or ``runner-up``; `name` is the class.
    """

    role: str
    name: str
    maps: tuple[MapView, ...]
    masked: Picture


@dataclass(frozen=True)
class FaceCard:
    """One face of the page.

    `label` and `correct` are None for a face without label. `by_chance` is set if the model is not better than chance:
    a correct prediction is then not shown in green. `photo` has the face in its
    photo with its map and, if the photo shows more, the whole photo; it is empty if the face is not from a photo.
    """

    row: int
    id: str | None
    split: str | None
    predicted: str
    percent: float
    label: str | None
    correct: bool | None
    by_chance: bool
    original: Picture
    photo: tuple[Picture, ...]
    sides: tuple[SideView, SideView]
    bars: tuple[Bar, ...]


def face_cards(
    explained: ExplainedFaces, checked: CheckedMaps, names: tuple[str, ...], photos: Mapping[int, PhotoMap]
) -> dict[int, FaceCard]:
    """Return the card of each face by row number."""
    faces, cards = explained.faces, {}
    for i, row in enumerate(faces.rows.tolist()):
        predicted = int(explained.predicted.classes[i])
        label = None if faces.labels is None else int(faces.labels[i])
        percents = 100 * explained.probabilities[i]
        other_role = "runner-up" if label is None or label == predicted else "label"
        cards[row] = FaceCard(
            row=row,
            id=None if faces.ids is None else str(faces.ids[i]),
            split=None if faces.splits is None else str(faces.splits[i]),
            predicted=names[predicted],
            percent=float(percents[predicted]),
            label=None if label is None else names[label],
            correct=None if label is None else label == predicted,
            by_chance=not checked.skill.shown,
            original=Picture(data_uri(faces.images[i]), f"Row {row}: original face", "original"),
            photo=photo_view(row, photos[row], explained.methods[0].name, names[predicted]) if row in photos else (),
            sides=(
                _side_view(explained, explained.predicted, i, "predicted", names, checked),
                _side_view(explained, explained.other, i, other_role, names),
            ),
            bars=tuple(Bar(name, float(percents[c]), c == predicted, c == label) for c, name in enumerate(names)),
        )
    return cards


def _side_view(
    explained: ExplainedFaces,
    side: ExplainedClass,
    i: int,
    role: str,
    names: tuple[str, ...],
    checked: CheckedMaps | None = None,
) -> SideView:
    """Return the maps of face `i` for one class; only with `checked` are they tested."""
    row, kept, name = int(explained.faces.rows[i]), f"{explained.config.share:.0%}", names[side.classes[i]]
    views = []
    for m, method in enumerate(explained.methods):
        image = overlay(explained.faces.images[i], side.attributions[m, i], signed=method.signed)
        alt = f"Row {row}: {method.name} map for {name} ({role}), {strongest(side.attributions[m, i])}"
        picture = Picture(data_uri(image), alt, method.name)
        error = error_text(method, float(side.errors[m, i])) if side.unfinished[m, i] else None
        view = MapView(picture, error)
        views.append(view if checked is None else _tested(view, checked, method, i))
    alt = f"Row {row}: the {kept} of the pixels most salient for {name}; all others gray"
    return SideView(role, name, tuple(views), Picture(data_uri(side.masked[i]), alt, f"salient {kept}"))


def _tested(view: MapView, checked: CheckedMaps, method: Method, i: int) -> MapView:
    if not checked.skill.shown:
        return replace(view, badges=(Badge("plain", f"not tested: model {checked.skill.title}"),))
    badges, scores = list[Badge](), tuple[Score, ...]()
    if checked.compared is not None:
        m = checked.compared.methods.index(method.name)
        badges.append(rank_badge(checked.compared.ranks[method.name][i]))
        scores = _scores(checked.compared, (m, i))
    verdict = checked.verdicts.get(method.name)
    if verdict is not None:
        badges.append(_sanity_badge(verdict, "sanity check "))
    return replace(view, badges=tuple(badges), scores=scores)


def _scores(compared: ControlComparison, which: int | tuple[int, int]) -> tuple[Score, Score]:
    """Return deletion and insertion of a method and face, or, with only a method, their means over the faces."""
    return (
        Score("deletion", float(compared.deletion[which].mean()), float(compared.control_deletion[which].mean())),
        Score("insertion", float(compared.insertion[which].mean()), float(compared.control_insertion[which].mean())),
    )


def rank_badge(rank: ControlRank) -> Badge:
    """Return the badge of a map's rank among its controls."""
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
    """Return the methods of the maps and their color scales."""
    return {
        "all": [
            {
                "name": method.name,
                "paper": method.paper,
                "sign": method.sign,
                "settings": _settings(method, explained.config.seed),
                "cautions": chosen.cautions[method.name],
                "missing_share": _missing_share(explained, m),
                "unfinished": _unfinished(explained, m),
            }
            for m, method in enumerate(chosen.methods)
        ],
        "left_out": chosen.left_out,
        "first": chosen.methods[0].name,
        "scales": [overlay_scale(signed=signed) for signed in sorted({method.signed for method in chosen.methods})],
        "share": f"{explained.config.share:.0%}",
    }


def _missing_share(explained: ExplainedFaces, m: int) -> str | None:
    """Return the median relative convergence delta of a method; None without completeness or without faces."""
    shares = missed_shares(explained.predicted.attributions[m], explained.predicted.deltas[m])
    if not np.isfinite(shares).any():
        return None
    median = float(np.nanmedian(shares))
    return f"{median:.0%}" if median >= 0.01 else "less than 1%"


def _unfinished(explained: ExplainedFaces, m: int) -> str | None:
    """Say how many maps of a method are unfinished; None if none is."""
    unfinished = np.concatenate([side.unfinished[m] for side in explained.sides])
    if not unfinished.any():
        return None
    samples = max(int(side.samples[m].max()) for side in explained.sides)
    verb = "is" if unfinished.sum() == 1 else "are"
    return f"{unfinished.sum()} of {len(unfinished)} maps {verb} unfinished after {samples} samples"


def _settings(method: Method, seed: int) -> str:
    used = asdict(settings_of(method, seed))
    given = {name: used[name] for name in method.uses if used[name] is not None}
    return ", ".join(f"{name} = {value}" for name, value in given.items())


def tests_view(checked: CheckedMaps, explained: ExplainedFaces) -> dict[str, Any]:
    """Return the test results of the methods in descending order of their gain over the controls; controls last."""
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
        "lines": [_method_line(name, checked, listed=name in methods) for name in named],
        "tested": compared is not None,
        "averaged": bool(checked.gains),
        "faces": len(explained.faces),
        "maps": len(tested),
        "states": _count(tested),
        "expected_by_chance": f"{LEVEL * len(tested):.1f}",
        "controls": CONTROLS_PER_MAP,
        "one_in": round(1 / LEVEL),
        "level": f"{LEVEL:.1%}",
        "shares": ", ".join(f"{100 * share:g}%" for share in SHARES[1:-1]),
        "min_controls": compared.first if compared else 0,
        "sanity_faces": checked.sanity_faces,
        "sanity_limit": SAME,
    }


def _count(ranks: Sequence[ControlRank]) -> dict[str, int]:
    states = [rank.state for rank in ranks]
    return {"better": states.count("better"), "same": states.count("no different"), "worse": states.count("worse")}


def _method_line(name: str, checked: CheckedMaps, *, listed: bool) -> dict[str, Any]:
    """Return the results of one method; None for tests that were not run.

    A control that is not `listed` among the methods was compared with too few controls to classify single maps.
    """
    gain, verdict, compared = checked.gains.get(name), checked.verdicts.get(name), checked.compared
    return {
        "name": name,
        "is_control": name in CONTROLS,
        "scores": None if compared is None else _scores(compared, compared.methods.index(name)),
        "gain": None if gain is None else gain.value,
        "badge": None if gain is None else _gain_badge(gain, is_control=name in CONTROLS),
        "states": _count(compared.ranks[name]) if compared and listed else None,
        "sanity": None if verdict is None else _sanity_badge(verdict),
        "similarity": None if verdict is None else max(verdict.similarity[each].mean for each in RANK_CORRELATIONS),
    }


def _gain_badge(gain: Gain, *, is_control: bool) -> Badge:
    look, mark = {"better": ("good", "✓"), "worse": ("bad", "✗")}.get(gain.state, ("plain", DASH))
    return Badge("plain" if is_control else look, f"{mark} {gain.state}")
