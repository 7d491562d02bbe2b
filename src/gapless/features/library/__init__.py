"""Features for any recording with columns of numbers, and for tracks of animals, people or machines.

Every class is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_MODULE_OF = {
    "BandPower": "band_power",
    "BodyScale": "body_scale",
    "Derivative": "derivative",
    "EgocentricPose": "egocentric_pose",
    "KMeansAssignment": "kmeans",
    "KMeansModel": "kmeans",
    "NearestNeighbor": "nearest_neighbor",
    "PCAModel": "pca",
    "PCAProjection": "pca",
    "Resample": "resample",
    "RollingStatistics": "rolling",
    "SavitzkyGolay": "savitzky_golay",
    "SpeedAngvel": "speed_angvel",
    "Templates": "templates",
    "TemplatesArtifact": "templates",
    "WardAssignment": "ward",
    "WardModel": "ward",
    "WelchSpectrum": "welch_spectrum",
}
__all__ = sorted(_MODULE_OF)  # noqa: PLE0605 - the names are those of the table above


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])


if TYPE_CHECKING:
    from gapless.features.library.band_power import BandPower as BandPower
    from gapless.features.library.body_scale import BodyScale as BodyScale
    from gapless.features.library.derivative import Derivative as Derivative
    from gapless.features.library.egocentric_pose import EgocentricPose as EgocentricPose
    from gapless.features.library.kmeans import KMeansAssignment as KMeansAssignment
    from gapless.features.library.kmeans import KMeansModel as KMeansModel
    from gapless.features.library.nearest_neighbor import NearestNeighbor as NearestNeighbor
    from gapless.features.library.pca import PCAModel as PCAModel
    from gapless.features.library.pca import PCAProjection as PCAProjection
    from gapless.features.library.resample import Resample as Resample
    from gapless.features.library.rolling import RollingStatistics as RollingStatistics
    from gapless.features.library.savitzky_golay import SavitzkyGolay as SavitzkyGolay
    from gapless.features.library.speed_angvel import SpeedAngvel as SpeedAngvel
    from gapless.features.library.templates import Templates as Templates
    from gapless.features.library.templates import TemplatesArtifact as TemplatesArtifact
    from gapless.features.library.ward import WardAssignment as WardAssignment
    from gapless.features.library.ward import WardModel as WardModel
    from gapless.features.library.welch_spectrum import WelchSpectrum as WelchSpectrum
