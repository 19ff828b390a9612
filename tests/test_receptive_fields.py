"""Receptive fields of the networks on grids, by gradients, from every place to every place."""

import numpy as np
import pytest
from test_autoregressive import dependence


def field(backend, name: str, grid_shape, **kwargs) -> np.ndarray:
    """Which positions (columns) the parameters of each place (rows) see, on the grid."""
    network = backend.make(getattr(backend.nn, name), grid_shape, 1, hidden_dim=8, **kwargs)
    return dependence(backend, backend.perturbed(network, 0.3), int(np.prod(grid_shape)))


def expected_field(grid_shape, is_seen) -> np.ndarray:
    """The same, of a rule for rows up and columns to the right, which may be negative."""
    rows, columns = (a.ravel() for a in np.indices(grid_shape))
    return is_seen(rows[:, None] - rows, columns - columns[:, None])


def all_earlier(grid_shape) -> np.ndarray:
    return np.tri(int(np.prod(grid_shape)), k=-1, dtype=bool)


@pytest.mark.parametrize("grid_shape", [(3, 8), (5, 3)])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_a_diagonal_bilstm_sees_all_earlier_positions(backend, grid_shape, num_layers):
    """The end of the row above too, which no masked convolution of size 3 shows to column 0."""
    found = field(backend, "DiagonalBiLSTM", grid_shape, num_layers=num_layers, kernel_size=3)
    np.testing.assert_array_equal(found, all_earlier(grid_shape))


@pytest.mark.parametrize("num_layers", [1, 2])
def test_a_row_lstm_sees_a_triangle(backend, num_layers):
    def is_seen(up, right):
        # to the left each layer adds a tap, to the right the states alone add one a row
        left = -right <= 1 + num_layers + up
        return left & (((up == 0) & (right < 0)) | ((up > 0) & (right <= up)))

    found = field(backend, "RowLSTM", (4, 7), num_layers=num_layers, kernel_size=3)
    np.testing.assert_array_equal(found, expected_field((4, 7), is_seen))


@pytest.mark.parametrize("num_blocks", [1, 5])
def test_a_gated_pixel_cnn_has_no_blind_spot(backend, num_blocks):
    reach = num_blocks + 1

    def is_seen(up, right):
        # a rectangle of the rows above, and what is to the left
        above = (up > 0) & (up <= reach + 1) & (abs(right) <= reach)
        return above | ((up == 0) & (right < 0) & (-right <= reach))

    found = field(backend, "GatedPixelCNN", (5, 7), num_blocks=num_blocks, kernel_size=3)
    np.testing.assert_array_equal(found, expected_field((5, 7), is_seen))
    assert num_blocks < 5 or (found == all_earlier((5, 7))).all()


@pytest.mark.parametrize("num_blocks", [1, 5])
def test_a_pixel_cnn_has_a_blind_spot(backend, num_blocks):
    reach = num_blocks + 1

    def is_seen(up, right):
        # however deep: one column to the right for each row
        earlier = ((up == 0) & (right < 0)) | ((up > 0) & (right <= up))
        return earlier & (up <= reach) & (-right <= reach)

    found = field(backend, "PixelCNN", (5, 7), num_blocks=num_blocks, kernel_size=3)
    np.testing.assert_array_equal(found, expected_field((5, 7), is_seen))


@pytest.mark.parametrize("num_dilations", [2, 3])
def test_a_wavenet_reaches_back_as_far_as_its_dilations(backend, num_dilations):
    found = field(backend, "WaveNet", (13,), num_blocks=3, num_dilations=num_dilations)
    back = 2 + sum(2 ** (i % num_dilations) for i in range(3))
    expected = np.tri(13, k=-1, dtype=bool) & ~np.tri(13, k=-1 - back, dtype=bool)
    np.testing.assert_array_equal(found, expected)


def test_grids_of_other_numbers_of_axes_are_refused(backend):
    n = backend.nn
    images = (n.GatedPixelCNN, n.PixelCNNPlusPlus, n.RowLSTM, n.DiagonalBiLSTM)
    with pytest.raises(ValueError, match=r"must have one to three axes, got \(2, 2, 2, 2\)"):
        backend.make(n.PixelCNN, (2, 2, 2, 2))
    for network in images:
        with pytest.raises(ValueError, match=r"must have two axes, got \(2, 2, 2, 2\)"):
            backend.make(network, (2, 2, 2, 2))
    for network in (n.PixelCNN, *images):
        with pytest.raises(ValueError, match=r"grid_shape must have at least one axis, got \(\)"):
            backend.make(network, ())
    for offsets in ([(0, 0, 0, -1)], [], [(0, -1), (-1,)]):
        with pytest.raises(ValueError, match="offsets must hold tuples of one to three integers"):
            backend.make(n.CausalConv, 1, 1, offsets)
    for network in (n.PixelCNN, n.GatedPixelCNN, n.RowLSTM):
        with pytest.raises(ValueError, match="kernel_size must be at least 3, got 1"):
            backend.make(network, (4, 4), kernel_size=1)


AXES = [
    *(("PixelCNN", grid_shape) for grid_shape in [(5,), (2, 3, 2)]),
    *(
        (name, grid_shape)
        for name in ("CausalTransformer", "WaveNet", "VideoTransformer")
        for grid_shape in [(5,), (2, 3, 2), (2, 2, 1, 2)]
    ),
]


@pytest.mark.compiles
@pytest.mark.parametrize("name, grid_shape", AXES, ids=str)
def test_networks_of_other_numbers_of_axes_see_earlier_positions_alone(backend, name, grid_shape):
    sizes = {"PixelCNN": {"kernel_size": 3}, "VideoTransformer": {"num_heads": 2}}.get(name, {})
    found = field(backend, name, grid_shape, num_blocks=2, **sizes)
    assert not np.triu(found).any() and found[1:].any(1).all() and found[:, :-1].any(0).all()
