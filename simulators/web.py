"""The web as cells of equal length, addressed by the coater's encoder metres."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Web:
    """Columns of material state, one row per cell; cell `k` covers `[k, k+1) * length`.

    Rows up to `closed` (exclusive) have left the coating head; NaN means "not yet known".
    """

    ZEROS: ClassVar[tuple[str, ...]] = ("mass", "solvent", "volume", "shrunk", "taken")

    def __init__(self, length: float) -> None:
        self.length = length
        """Cell length [m]."""
        self.closed = 0
        """Cells that are complete."""
        self.mass: Floats = np.zeros(0)
        """Dry coating [kg/m^2]."""
        self.solvent: Floats = np.zeros(0)
        """Solvent [kg/m^2]."""
        self.volume: Floats = np.zeros(0)
        """Wet film as coated [m^3/m^2], i.e. wet thickness [m]."""
        self.shrunk: Floats = np.zeros(0)
        """Solvent lost while binder migrates [kg/m^2]."""
        self.taken: Floats = np.zeros(0)
        """Time this took [s]."""
        self.solids: Floats = np.zeros(0)
        """Solids as coated [kg/kg]."""
        self.temperature: Floats = np.zeros(0)
        """Web temperature [K]."""
        self.exit_temperature: Floats = np.zeros(0)
        """Web temperature at the dryer exit [K]."""
        self.critical: Floats = np.zeros(0)
        """Solvent at the end of shrinkage [kg/m^2]."""
        self.upper: Floats = np.zeros(0)
        """Solvent at which binder starts to migrate [kg/m^2]."""
        self.coated_ns: Floats = np.zeros(0)
        """Line time at which the cell left the head [ns since the start of the line]."""
        self.foil: Floats = np.zeros(0)
        """Foil thickness less its nominal value [m]."""
        self.porosity: Floats = np.zeros(0)
        """Porosity as dried [-]."""
        self.thickness: Floats = np.zeros(0)
        """Coating as dried [m]."""
        self.adhesion: Floats = np.zeros(0)
        """Peel force as dried [N/m]."""
        self.nip_thickness: Floats = np.zeros(0)
        """Coating as calendered [m]."""
        self.nip_porosity: Floats = np.zeros(0)
        """Porosity as calendered [-]."""
        self.nip_adhesion: Floats = np.zeros(0)
        """Peel force as calendered [N/m]."""
        self.line_load: Floats = np.zeros(0)
        """Line load the cell met [N/m]."""
        self.calendered_ns: Floats = np.zeros(0)
        """Line time in the nip [ns since the start of the line]."""
        self._columns = tuple(n for n, v in vars(self).items() if isinstance(v, np.ndarray))
        self.reserve(4096)

    def reserve(self, cells: int) -> None:
        """Have room for at least `cells` cells."""
        have = self.mass.size
        if cells <= have:
            return
        more = max(cells, 2 * have) - have
        for name in self._columns:
            fill = 0.0 if name in self.ZEROS else np.nan
            setattr(self, name, np.concatenate([getattr(self, name), np.full(more, fill)]))

    def mean(self, column: Floats, end: float, span: float) -> float:
        """Mean of a column from `end - span` to `end` [m]; 0 where nothing is coated."""
        last = int(end // self.length)
        first = int((end - span) // self.length)
        if first < 0 or last >= self.closed:
            return 0.0
        if first == last:
            return float(column[last])
        total = 0.0
        for cell in range(first, last + 1):
            low = max(cell * self.length, end - span)
            high = min((cell + 1) * self.length, end)
            total += (high - low) * float(column[cell])
        return total / span
