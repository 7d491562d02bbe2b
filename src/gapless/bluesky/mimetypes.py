"""The mimetype of each spec, the name by which legacy documents call the format of an external file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

HDF5: Final = "application/x-hdf5"
ZARR: Final = "application/x-zarr"
CSV: Final = "text/csv"
TIFFS: Final = "multipart/related;type=image/tiff"
JPEGS: Final = "multipart/related;type=image/jpeg"
NPYS: Final = "multipart/related;type=application/x-npy"
OPAQUE: Final = "application/octet-stream"

_SPECS: Final[dict[str, tuple[str, ...]]] = {
    HDF5: (
        "HDF5",
        "AD_HDF5",
        "AD_HDF5_GERM",
        "AD_HDF5_LAMBDA",
        "AD_HDF5_SINGLE",
        "AD_HDF5_SWMR",
        "AD_HDF5_SWMR_SLICE",
        "AD_HDF5_SWMR_STREAM",
        "AD_HDF5_SWMR_TS",
        "AD_HDF5_TS",
        "ADHDF5_SWMR",
        "AD_EIGER",
        "AD_EIGER2",
        "AD_EIGER_APSPOLAR",
        "AD_EIGER_MX",
        "AD_EIGER_SLICE",
        "EIGER2_STREAM",
        "MAPS_PLANE",
        "MAPS_SPECTRUM",
        "MERLIN_FLY_STREAM_V2",
        "MERLIN_HDF5_BULK",
        "PANDA",
        "PIL100K_HDF5",
        "ROI_HDF51_FLY",
        "ROI_HDF5_FLY",
        "SIS_HDF51_FLY_STREAM_V1",
        "TPX_HDF5",
        "XPS3",
        "XSP",
        "XSP3",
        "XSP3_BULK",
        "XSP3_STEP",
        "ZEBRA_HDF51_FLY_STREAM_V1",
    ),
    TIFFS: ("AD_TIFF", "SINGLE_TIFF", "TIFF", "TIFF_SEQ"),
    JPEGS: ("AD_JPEG", "JPEG", "JPEG_SEQ", "JPG"),
    NPYS: ("NPY", "NPY_FRAMEWISE", "NPY_SEQ", "NPY_SERIES"),
    CSV: ("CSV", "PIZZABOX_ENC_FILE_TXT_PD"),
    ZARR: ("ZARR", "AD_ZARR"),
    # formats that are well known and that nothing here opens
    OPAQUE: ("AD_CBF", "AD_SPE", "DAT", "IMM"),
}

#: The mimetype of every known spec, by its spec in capitals.
MIMETYPES: Final[Mapping[str, str]] = {spec: mimetype for mimetype, specs in _SPECS.items() for spec in specs}


class SpecTable:
    """Finds the mimetype of a spec; capitals do not matter, ``own`` entries win over the known ones."""

    def __init__(self, own: Mapping[str, str] | None = None) -> None:
        self._own = dict(own or {})
        folded = {spec.upper(): mimetype for spec, mimetype in self._own.items()}
        self._folded = {**MIMETYPES, **folded}

    def mimetype(self, spec: str) -> str | None:
        """Return the mimetype, or None for a spec that nobody has named."""
        return self._own.get(spec) or self._folded.get(spec.upper())
