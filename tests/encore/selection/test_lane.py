"""What a component's walk does when earlier components change their picks under way."""

from __future__ import annotations

import pytest
import torch

from encore.selection.lane import Lane
from encore.selection.rows import UnitRows
from encore.selection.walk_options import WalkOptions

# Along the component, near to that, a little farther, and one that conflicts with all.
ROWS = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.3, 0.0], [0.8, 0.5, 0.0], [-1.0, 0.1, 0.1]])


@pytest.fixture
def lane() -> Lane:
    return Lane(0, torch.tensor([1.0, 0.0, 0.0]).double(), 3, UnitRows(ROWS), WalkOptions(), torch.zeros(4).bool())


def walk_on(lane: Lane) -> list[int]:
    """Picks, after all that it wants to know was told."""
    lane.go_on()
    while wants := lane.wants():
        rows = [lane.direction if row is None else lane.rows.exact([row])[0] for row in wants]
        lane.feed(lane.rows.cosines(torch.stack(rows).float()))
        lane.go_on()
    return lane.picks


def test_it_goes_on_from_where_it_was_stuck_when_a_row_becomes_free(lane: Lane) -> None:
    lane.avoid({1, 2})
    assert walk_on(lane) == [0] and lane.done, "the last row conflicts"
    lane.avoid({1})
    assert not lane.done and walk_on(lane) == [0, 2], "as far as it was"
    assert lane.done


def test_it_goes_back_for_a_row_that_is_nearer_and_to_no_pick_before(lane: Lane) -> None:
    lane.avoid({1})
    assert walk_on(lane) == [0, 2]
    lane.avoid(set())
    assert lane.picks == [0], "the first pick stays: the row is no better there"
    assert walk_on(lane) == [0, 1, 2]


def test_it_goes_back_to_a_pick_that_an_earlier_component_takes(lane: Lane) -> None:
    assert walk_on(lane) == [0, 1, 2]
    lane.avoid({1})
    assert lane.picks == [0] and lane.likely_picks == {0, 1, 2}, "what it had may come again"
    assert walk_on(lane) == [0, 2]
    assert lane.likely_picks == {0, 2}
