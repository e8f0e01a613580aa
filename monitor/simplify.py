"""A track for a screen: the points that carry its shape.

Douglas and Peucker's method leaves out a point when the line without it stays within a tolerance. The
tolerance starts where no eye sees it and grows until the points are few enough.
"""

import numpy as np
import numpy.typing as npt
import shapely

FIRST_TOLERANCE_M = 1.0
"""Better than the receivers."""
GROWTH = 1.5
"""Of the tolerance from one round to the next: at the end half of the points allowed, or more, are left."""
_METRES_A_DEGREE = 111_320.0

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


def simplified(lat: Floats, lon: Floats, keep: npt.NDArray[np.bool_], limit: int) -> tuple[Indices, float]:
    """Choose at most `limit` points (two or more) of a track.

    Args:
        lat, lon: WGS-84 degrees in order of time.
        keep: points that should stay whatever the shape says, such as the beginning of an alarm; when they
            alone are too many, some of them evenly.

    Returns:
        Indices in order, first and last point among them, and within how many metres of the line drawn
        through them all points lie (0.0: nothing was left out).
    """
    if len(lat) <= limit:
        return np.arange(len(lat)), 0.0
    wanted = keep.copy()
    wanted[[0, -1]] = True
    kept = np.flatnonzero(wanted)
    if len(kept) > limit // 2:  # the shape needs the other half
        kept = kept[np.unique(np.linspace(0, len(kept) - 1, max(2, limit // 2)).astype(np.int64))]
    # Flat enough for a track: within one country a degree of longitude is as long as at its middle.
    x = lon * _METRES_A_DEGREE * np.cos(np.radians((lat.min() + lat.max()) / 2))
    points = np.column_stack([x, lat * _METRES_A_DEGREE, np.arange(len(lat))])
    chosen, bound, tolerance = np.arange(len(lat)), 0.0, FIRST_TOLERANCE_M
    while len(chosen) > limit:
        line = shapely.simplify(shapely.linestrings(points[chosen]), tolerance, preserve_topology=False)
        # The third coordinate is the point's number: it has no part in the shape and comes back untouched.
        numbers = shapely.get_coordinates(line, include_z=True)[:, 2].astype(np.int64)
        chosen = np.union1d(numbers, kept)
        bound += tolerance
        tolerance *= GROWTH
    return chosen, bound
