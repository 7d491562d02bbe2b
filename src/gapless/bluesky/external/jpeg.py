"""A JPEG picture as the one row of its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gapless.bluesky.external.external_file import LoadedFile, need, unreadable


class JpegFile(LoadedFile):
    """Decodes one picture: ``(height, width)`` if it is grey, else ``(height, width, 3)``, of bytes.

    Raises IntegrityError for a file that is no picture, or is cut off.
    """

    def __init__(self, path: Path, uri: str) -> None:
        image = need("PIL.Image")
        try:
            with image.open(path) as picture:
                values = np.asarray(picture)
        except (OSError, SyntaxError, ValueError) as error:
            raise unreadable(uri, error) from error
        super().__init__(values[np.newaxis])
