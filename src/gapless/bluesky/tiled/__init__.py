"""A store in the real Tiled server, read-only: Tiled's clients, page, exports and authentication in front.

``gapless.bluesky.tiled:tree`` is what a ``tree:`` of a Tiled configuration names; ``gapless serve STORE
--tiled`` starts the same tree by itself. Tiled is imported when one of the functions is called.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gapless.errors import MissingExtra, NotFound

if TYPE_CHECKING:
    from fastapi import FastAPI

    from gapless.bluesky.tiled.store_tree import StoreTree

__all__ = ["application", "tree"]


def tree(root: str | os.PathLike[str]) -> StoreTree:
    """Return the tree of the store in a folder, for a Tiled configuration: ``args: {root: /data/store}``.

    Raises NotFound where there is no store, MissingExtra without Tiled.
    """
    from gapless.client.client import connect, local_path

    folder = local_path(root)
    if not (folder / "gapless.json").exists():
        raise NotFound(
            f"there is no store in {folder}", next_step="name the folder that holds gapless.json as root"
        )
    _need_tiled()
    import gapless.bluesky.tiled.export  # noqa: F401 - tells Tiled how to write what is in the tree
    from gapless.bluesky.tiled.store_tree import StoreTree

    return StoreTree(connect(folder))


def application(root: str | os.PathLike[str], *, api_key: str | None = None, public: bool = False) -> FastAPI:
    """Return Tiled's web application over the store in a folder.

    ``api_key`` opens it, Tiled makes one up if none is given; with ``public`` anyone may read.
    """
    served = tree(root)
    from tiled.config import Authentication
    from tiled.server.app import build_app

    authentication = Authentication(single_user_api_key=api_key, allow_anonymous_access=public)
    app: FastAPI = build_app(served, authentication)
    return app


def _need_tiled() -> None:
    try:
        import tiled.server.app  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"this needs {error.name}, which is not installed", next_step="pip install 'gapless[bluesky]'"
        ) from error
