"""The description of the interface as a plain page: no script, nothing from elsewhere, so it works offline."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; }
h2 { border-top: 1px solid #8886; margin-top: 2.5rem; padding-top: 1rem; font-size: 1.15rem; }
h2 code { font-size: 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #8884; padding: .3rem .6rem .3rem 0; text-align: left; vertical-align: top; }
td:first-child { white-space: nowrap; }
.wide { overflow-x: auto; }
"""

Schema = Mapping[str, Any]


def reference_page(description: Schema) -> str:
    """An OpenAPI description for people: every route with its parameters, its body and its answers; every type."""
    routes = [
        _route(path, method, operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    types = [_type(name, schema) for name, schema in sorted(description["components"]["schemas"].items())]
    info = description["info"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(info["title"])}</title><link rel="stylesheet" href="docs/style.css"></head><body><main>'
        f"<h1>{escape(info['title'])}</h1><p>{escape(info['description'])}</p>"
        '<p>For programs: <a href="openapi.json">/openapi.json</a></p>'
        f"{''.join(routes)}<h1>Types</h1>{''.join(types)}</main></body></html>"
    )


def _route(path: str, method: str, operation: Schema) -> str:
    parts = [f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation.get('description', ''))}</p>"]
    parameters = operation.get("parameters", [])
    rows = [
        (one["name"], _kind(one["schema"]), _needed(one), one.get("description") or one["schema"].get("description"))
        for one in parameters
    ]
    if rows:
        parts.append(_table(("parameter", "type", "default", "meaning"), rows))
    body = operation.get("requestBody")
    if body:
        parts.append(f"<p>Body: {', '.join(_contents(body['content']))}</p>")
    answers = [
        (status, ", ".join(_contents(answer.get("content", {}))), answer["description"])
        for status, answer in operation["responses"].items()
    ]
    parts.append(_table(("status", "content", "meaning"), answers, linked=1))
    return "".join(parts)


def _type(name: str, schema: Schema) -> str:
    rows = [(field, _kind(inner), inner.get("description")) for field, inner in schema.get("properties", {}).items()]
    head = f'<h2 id="{escape(name)}"><code>{escape(name)}</code></h2><p>{escape(schema.get("description", ""))}</p>'
    return head + _table(("field", "type", "meaning"), rows)


def _contents(content: Schema) -> Iterator[str]:
    """Content types with links to what is in them, as HTML."""
    for media_type, inner in content.items():
        kind = _kind(inner.get("schema", {}))
        link = f'<a href="#{escape(kind)}">{escape(kind)}</a>' if kind.isidentifier() and kind[0].isupper() else ""
        yield f"<code>{escape(media_type)}</code> {link}".strip()


def _kind(schema: Schema) -> str:
    """A schema's type in a few letters, with its bounds."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "allOf" in schema:
        return " and ".join(_kind(one) for one in schema["allOf"])
    if "enum" in schema:
        return " or ".join(json.dumps(one) for one in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    kind = str(schema.get("type", "any"))
    if kind == "array":
        kind = f"list of {_kind(schema.get('items', {}))}"
    bounds = [
        f"{word} {schema[name]:g}"
        for name, word in (("minimum", "from"), ("maximum", "to"), ("maxLength", "of at most"), ("maxItems", "at most"))
        if name in schema
    ]
    return " ".join([kind, *bounds])


def _needed(parameter: Schema) -> str:
    if parameter.get("required"):
        return "needed"
    default = parameter["schema"].get("default")
    return "" if default is None else json.dumps(default)


def _table(heads: tuple[str, ...], rows: list[tuple[Any, ...]], linked: int | None = None) -> str:
    """A table; the cells of column `linked` are HTML already."""
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td>{cell if number == linked else escape(str(cell or ''))}</td>" for number, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
