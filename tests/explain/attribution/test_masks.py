import numpy as np
import pytest

from fer_core import ConfigError, Faces
from fer_core.outputs.map_colors import normalize, overlay, scale_strip
from fer_explain.attribution.masks import masked_face, salient_mask


@pytest.fixture
def maps() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((4, 48, 48)).astype(np.float32)


@pytest.mark.parametrize("share", [0.001, 0.2, 0.5, 1.0])
def test_a_mask_keeps_exactly_the_share_asked_for(maps: np.ndarray, share: float) -> None:
    mask = salient_mask(maps, share)
    assert mask.sum(axis=(1, 2)).tolist() == [round(share * 2304)] * 4


def test_a_mask_keeps_the_strongest_pixels_of_either_sign(maps: np.ndarray) -> None:
    mask = salient_mask(maps, 0.2)
    for each, kept in zip(np.abs(maps), mask, strict=True):
        assert each[kept].min() >= each[~kept].max()


def test_ties_are_broken_in_reading_order() -> None:
    tied = np.ones((48, 48), np.float32)
    tied[-1, -1] = 2
    mask = salient_mask(tied, 3 / 2304)
    assert np.flatnonzero(mask).tolist() == [0, 1, 2303]


def test_pixels_without_influence_are_never_salient() -> None:
    one = np.zeros((48, 48), np.float32)
    one[7, 9] = -0.5
    assert np.argwhere(salient_mask(one, 0.2)).tolist() == [[7, 9]]
    assert normalize(one)[7, 9] == -1


@pytest.mark.parametrize("value", [0.0, 3.5, -1.0])
def test_a_flat_map_is_neutral(value: float, faces: Faces) -> None:
    flat = np.full((48, 48), value, np.float32)
    assert not salient_mask(flat).any()
    np.testing.assert_array_equal(normalize(flat), 0)
    picture = overlay(faces.images[0], flat, signed=False)
    assert (picture == picture[..., :1]).all(), "a flat map must leave the face gray"


def test_flat_and_other_maps_in_one_batch_do_not_mix(maps: np.ndarray) -> None:
    mixed = maps.copy()
    mixed[1] = 0.25
    found = normalize(mixed)
    np.testing.assert_array_equal(found[1], 0)
    np.testing.assert_array_equal(found[[0, 2, 3]], normalize(maps)[[0, 2, 3]])
    assert np.abs(found).max() == 1


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan")])
def test_a_share_outside_its_range_is_refused(maps: np.ndarray, share: float) -> None:
    with pytest.raises(ConfigError, match="share: expected above 0 and at most 1"):
        salient_mask(maps, share)


def test_a_masked_face_keeps_salient_pixels_and_is_mean_gray_elsewhere(faces: Faces, maps: np.ndarray) -> None:
    images = faces.images[:4]
    mask = salient_mask(maps, 0.2)
    masked = masked_face(images, mask)
    assert masked.dtype == np.uint8
    for image, kept, result in zip(images, mask, masked, strict=True):
        np.testing.assert_array_equal(result[kept], image[kept])
        assert set(result[~kept].tolist()) == {round(image.mean())}


def test_a_signed_overlay_tells_for_from_against(faces: Faces) -> None:
    values = np.zeros((48, 48), np.float32)
    values[0, 0], values[0, 1] = 1, -1
    picture = overlay(faces.images[0], values, signed=True).astype(int)
    assert picture[0, 0, 0] > picture[0, 0, 2]
    assert picture[0, 1, 2] > picture[0, 1, 0]
    assert scale_strip(signed=True).shape == (1, 96, 3)


def test_the_magnitude_scale_grows_brighter_all_the_way() -> None:
    brightness = scale_strip(signed=False)[0].astype(float) @ [0.2126, 0.7152, 0.0722]
    assert brightness[-1] > 200
    assert (np.diff(brightness[10:]) > -1).all()
