"""What the API's reference page says of its calls."""

from __future__ import annotations

from typing import Any

from segment_api.access import needed


def calls(openapi: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Every call by its group: method, path, what it does, parameters, the scope it needs."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, methods in openapi["paths"].items():
        for method, call in methods.items():
            parameters = [
                {"name": p["name"], "text": p.get("description", "")}
                for p in call.get("parameters", ())
                if p["in"] != "path"
            ]
            row = {
                "method": method.upper(),
                "path": path,
                "text": call.get("description", call.get("summary", "")),
                "parameters": parameters,
                "scope": needed(method.upper(), path),
            }
            groups.setdefault(call.get("tags", ["other"])[0], []).append(row)
    return groups
