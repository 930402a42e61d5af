"""A library of films over HTTP, and the page that shows it: the extra `gmmformer[web]`."""

from typing import TYPE_CHECKING, Any

from gmmformer.errors import MissingExtraError
from gmmformer.lazy import lazily

if TYPE_CHECKING:
    from gmmformer.web.app import create_app, serve
    from gmmformer.web.server import ServeConfig, Server

__all__ = ["ServeConfig", "Server", "create_app", "serve"]

# The processes that work on films need this package, but neither server nor model.
_offered, __dir__ = lazily(__name__, {"app": ["create_app", "serve"], "server": ["ServeConfig", "Server"]})
_EXTRA = frozenset(
    {"PIL", "av", "brotli", "fastapi", "opentimelineio", "prometheus_client", "pydantic", "starlette", "uvicorn"}
)


def __getattr__(name: str) -> Any:
    try:
        return _offered(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _EXTRA:
            raise MissingExtraError("serving a library", "web") from error
        raise
