"""Draw the picture of the README: a face, its saliency map and its most salient pixels."""

from __future__ import annotations

from pathlib import Path

from fer_core.outputs.figures import save_figure
from fer_explain import explain

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "images" / "explanation.png"


def draw(path: Path) -> None:
    """Write the picture as PNG."""
    maps = explain(ROOT / "exports" / "best", ROOT / "examples" / "astronaut.png", method="saliency")
    save_figure(maps.plot(), path)


if __name__ == "__main__":
    draw(PICTURE)
