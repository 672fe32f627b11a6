import numpy as np
import pytest
from sam_audio_box import AreaPrior, Box

from sam_audio.errors import PromptError
from sam_audio.types import Grid

GRID = Grid(sample_rate=48_000, hop_length=960, n_bins=1025, first_frame=0, n_frames=50)
SPECTRUM = np.zeros((1, 1025, 50), np.complex64)


def gains(**values):
    return AreaPrior(Box().parse(values)).gains(SPECTRUM, GRID)[0]


def test_a_box_is_one_inside_and_zero_outside():
    box = gains(boxes=["0.2-0.6,1k-4000hz"])
    inside_t = (GRID.times_s > 0.21) & (GRID.times_s < 0.59)
    inside_f = (GRID.frequencies_hz > 1025) & (GRID.frequencies_hz < 3975)
    assert (box[np.ix_(inside_f, inside_t)] == 1).all()
    outside = (GRID.times_s < 0.19) | (GRID.times_s > 0.61)
    assert not box[:, outside].any()
    assert not box[GRID.frequencies_hz > 4050].any()


def test_a_lasso_round_a_box_is_the_box():
    np.testing.assert_array_equal(
        gains(lassos=["0.2,1k 0.6,1k 0.6,4k 0.2,4k"]), gains(boxes=["0.2-0.6,1000-4000"])
    )


def test_two_boxes_are_one_area():
    both = gains(boxes=["0.1-0.3,0-500", "0.5-0.7,0-500"])
    np.testing.assert_array_equal(
        both, np.maximum(gains(boxes=["0.1-0.3,0-500"]), gains(boxes=["0.5-0.7,0-500"]))
    )


def test_a_box_does_not_depend_on_where_the_stretch_begins():
    later = Grid(48_000, 960, 1025, first_frame=20, n_frames=30)
    prior = AreaPrior(Box().parse({"boxes": ["0.2-0.6,1k-4k"]}))
    np.testing.assert_array_equal(prior.gains(SPECTRUM, later)[..., :], prior.gains(SPECTRUM, GRID)[..., 20:])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"boxes": ["1-2"]}, "no box"),
        ({"boxes": ["2-1,100-200"]}, "ends before"),
        ({"boxes": ["1-2,200-100"]}, "lower frequency"),
        ({"boxes": ["1-2,a-b"]}, "not a frequency"),
        ({"lassos": ["1,2 3,4"]}, "three or more"),
        ({"lassos": ["1;2 3,4 5,6"]}, "corner"),
    ],
)
def test_malformed_boxes_are_one_sentence(values, says):
    with pytest.raises(PromptError, match=says):
        Box().parse(values)
