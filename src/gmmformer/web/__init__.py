"""A library of films over HTTP, and the page that shows it: the extra `gmmformer[web]`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gmmformer.errors import MissingExtraError

if TYPE_CHECKING:
    from gmmformer.web.app import create_app
    from gmmformer.web.config import ServeConfig
    from gmmformer.web.server import Server, serve

__all__ = ["ServeConfig", "Server", "create_app", "serve"]

# Imported when first asked for: the processes that work on films need this package, but neither server nor model.
_HOMES = {"ServeConfig": "config", "Server": "server", "create_app": "app", "serve": "server"}
_EXTRA = frozenset(
    {"PIL", "av", "fastapi", "opentimelineio", "pebble", "prometheus_client", "pydantic", "starlette", "uvicorn"}
)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _EXTRA:
            raise MissingExtraError("serving a library", "web") from error
        raise
