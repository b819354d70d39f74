"""Public names are imported on first use."""

from __future__ import annotations

from importlib import import_module

import pytest

import fer_core


@pytest.mark.parametrize("package", ["fer_core", "fer_infer", "fer_train", "fer_explain"])
def test_every_public_name_exists_and_is_listed(package: str) -> None:
    module = import_module(package)
    assert set(module.__all__) <= set(dir(module))
    assert all(getattr(module, name) is not None for name in module.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'fer_core' has no attribute 'read_face'$"):
        _ = fer_core.read_face  # type: ignore[attr-defined]
