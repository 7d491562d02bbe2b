"""A store in the real Tiled server, read-only: Tiled's clients, page, exports and authentication in front.

``gapless.bluesky.tiled:tree`` is what a ``tree:`` of a Tiled configuration names; ``gapless serve STORE
--tiled`` starts the same tree by itself. Tiled is imported when one of the functions is called.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from json import JSONDecodeError
from typing import TYPE_CHECKING

from gapless.errors import MissingExtra, NotFound

if TYPE_CHECKING:
    from fastapi import FastAPI

    from gapless.bluesky.tiled.store_tree import StoreTree

__all__ = ["application", "tree"]


def tree(root: str | os.PathLike[str], external_roots: Iterable[str | os.PathLike[str]] = ()) -> StoreTree:
    """Return the tree of the store in a folder, for a Tiled configuration.

    ``args: {root: /data/store, external_roots: [/data/detector]}``. Runs name files of detectors; those
    below ``external_roots``, symbolic links followed, are read for whoever asks, and no others: whoever may
    hand in a document could else have any file of this machine served. In a configuration of one's own,
    Tiled's ``/zarr`` addresses ask for no key: close them in the proxy in front, or use
    :func:`application`, which has none. Raises NotFound where there is no store, or no such root,
    MissingExtra without Tiled.
    """
    from gapless.client.client import connect, local_path

    folder = local_path(root)
    if not (folder / "gapless.json").exists():
        raise NotFound(
            f"there is no store in {folder}", next_step="name the folder that holds gapless.json as root"
        )
    _need_tiled()
    import gapless.bluesky.tiled.export  # noqa: F401 - tells Tiled how to write what is in the tree
    from gapless.bluesky.external.roots import Roots
    from gapless.bluesky.tiled.store_tree import StoreTree

    return StoreTree(connect(folder), roots=Roots(external_roots))


def application(
    root: str | os.PathLike[str],
    *,
    api_key: str | None = None,
    public: bool = False,
    external_roots: Iterable[str | os.PathLike[str]] = (),
) -> FastAPI:
    """Return Tiled's web application over the store in a folder.

    ``api_key`` opens it, Tiled makes one up if none is given; with ``public`` anyone may read.
    ``external_roots`` as for :func:`tree`. Nothing is served as Zarr: Tiled would not ask for the key there.
    """
    served = tree(root, external_roots)
    from tiled.config import Authentication
    from tiled.server.app import build_app

    from gapless.bluesky.tiled.refusal import refuse_request
    from gapless.bluesky.tiled.without_zarr import WithoutZarr

    authentication = Authentication(single_user_api_key=api_key, allow_anonymous_access=public)
    app: FastAPI = build_app(served, authentication)
    app.add_middleware(WithoutZarr)
    app.add_exception_handler(JSONDecodeError, refuse_request)
    return app


def _need_tiled() -> None:
    try:
        import tiled.server.app  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"this needs {error.name}, which is not installed", next_step="pip install 'gapless[bluesky]'"
        ) from error
