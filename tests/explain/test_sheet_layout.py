import pytest

from fer_explain.sheets import SheetLayout


@pytest.mark.parametrize("n", [1, 3, 7, 24, 100])
@pytest.mark.parametrize("has_scale_bar", [False, True])
def test_tiles_neither_overlap_nor_leave_the_grid(n: int, has_scale_bar: bool) -> None:
    layout = SheetLayout(n, 96, 80, title_letters=30, has_scale_bar=has_scale_bar)
    height, width = layout.grid
    corners = [layout.corner(i) for i in range(n)]
    assert len(set(corners)) == n
    for top, left in corners:
        assert layout.caption_space <= top <= height - 96
        assert 0 <= left <= width - 80
        assert all(abs(top - y) >= 96 or abs(left - x) >= 80 for y, x in corners if (y, x) != (top, left))
    full_height, full_width = layout.size
    assert full_width >= width + 2 * layout.margin + (layout.scale_bar_space if has_scale_bar else 0)
    assert full_height >= height + layout.title_space + layout.margin


def test_a_sheet_is_as_wide_as_its_title() -> None:
    assert SheetLayout(1, 96, 96, title_letters=90, has_scale_bar=False).size[1] >= 90 * SheetLayout.title_letter_width
