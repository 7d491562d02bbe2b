"""Maps of cells."""

from __future__ import annotations

from gapless.model.ontology.declaration import Ontology, field
from gapless.model.ontology.geometry import Point3d, Pose
from gapless.model.ontology.leaf import Float32, Int8, UInt32, Values
from gapless.model.ontology.stamps import Time


class GridCells(Ontology):
    """Cells by their centres."""

    cell_width: Float32 = field(unit="m")
    cell_height: Float32 = field(unit="m")
    cells: Values[Point3d] = field(unit="m")


class MapMetadata(Ontology):
    """Size and place of a map."""

    map_load_time: Time
    resolution: Float32 = field(unit="m", description="edge of a cell")
    width: UInt32 = field(description="cells")
    height: UInt32 = field(description="cells")
    origin: Pose


class OccupancyGrid(Ontology):
    """A map of which cells are occupied."""

    info: MapMetadata
    data: Values[Int8] = field(description="row by row; -1 unknown, else 0 free to 100 occupied")
