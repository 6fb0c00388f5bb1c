"""Each alert on the live environment: silent, broken and firing, mended and silent again."""

from __future__ import annotations

import pytest
from observability.story import BROKEN, Loaded, Phase

BOTH = {"Prometheus", "Alertmanager"}


@pytest.mark.parametrize("name", BROKEN)
def test_fires_and_resolves(name: str, calm: Phase, broken: Phase, healed: Phase) -> None:
    """An alert fires when its cause is there, and resolves when it is mended."""
    assert calm.alerts.get(name) == BOTH, "it fired before anything was broken"
    assert broken.alerts.get(name) == BOTH, "it did not fire"
    assert healed.alerts.get(name) == BOTH, "it did not resolve"


def test_pet_store_scaled_to_zero(calm: Phase, gone: Phase, back: Phase) -> None:
    """Pet store scaled to zero: TargetDown fires; back: it resolves."""
    assert calm.alerts.get("TargetDown") == BOTH
    assert gone.alerts.get("TargetDown") == BOTH
    assert back.alerts.get("TargetDown") == BOTH


def test_collector_deleted_under_load(loaded: Loaded) -> None:
    """Collector deleted under load: no request fails, and dev-up brings it back."""
    assert loaded.answered > 500
    assert loaded.lost == ()
    assert loaded.healed
