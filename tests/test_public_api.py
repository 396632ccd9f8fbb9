"""The public names are the documented ones, and each is described in full."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fastface

API_PAGE = Path(__file__).resolve().parent.parent / "docs" / "api.md"
DIRECTIVE = re.compile(r"^\.\. auto(\w+):: (\S+)$", re.MULTILINE)


def documented(*kinds: str) -> list[str]:
    return [name for kind, name in DIRECTIVE.findall(API_PAGE.read_text("utf-8")) if kind in kinds]


MODULES = documented("module")


def public_callables() -> Iterator[tuple[str, Callable[..., object]]]:
    """Yield functions, classes and the classes' public methods, by the name users write."""
    for module_name in ["fastface", *MODULES]:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, type):
                yield f"{module_name}.{name}", value
                for method, function in vars(value).items():
                    function = getattr(function, "__func__", function)
                    if not method.startswith("_") and inspect.isfunction(function):
                        yield f"{module_name}.{name}.{method}", function
            elif callable(value):
                yield f"{module_name}.{name}", value


CALLABLES = dict(public_callables())


def sections(docstring: str) -> dict[str, str]:
    """Split a NumPy docstring at its underlined headings."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}$", inspect.cleandoc(docstring), flags=re.MULTILINE)
    return dict(zip(["Summary", *parts[1::2]], parts[::2], strict=True))


def described(body: str) -> set[str]:
    """Return the names that a Parameters section explains, ``X, Y : array`` being two."""
    headers = re.findall(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: :|$)", body, re.MULTILINE)
    return {name.strip().lstrip("*") for header in headers for name in header.split(",")}


def gaps(function: Callable[..., object]) -> list[str]:
    """Return what the docstring of `function` leaves out."""
    if not function.__doc__:
        return ["no docstring"]
    found = sections(function.__doc__)
    if isinstance(function, type) and issubclass(function, Exception):
        return []
    if getattr(function, "_is_protocol", False):
        return []
    explained = described(found.get("Parameters", "") + found.get("Attributes", ""))
    missing = [
        f"parameter {name}"
        for name in inspect.signature(function).parameters
        if name not in ("self", "cls", "y", "_", "__") and name not in explained
    ]
    if not isinstance(function, type) and not {"Returns", "Yields"} & found.keys():
        # A method may say what it returns in its one line; a function has room for more.
        answer = inspect.signature(function).return_annotation
        one_line = found["Summary"].strip().startswith("Return ")
        if answer not in ("None", None, "Self") and not one_line:
            missing.append("what it returns")
    return missing


def test_names_are_the_documented_ones() -> None:
    named = (name.removeprefix("fastface.") for name in documented("function", "class", "data"))
    # Rooms that are imported by their own name have their own ``__all__``.
    names = {name for name in named if "." not in name}
    assert {name for name in fastface.__all__ if not name.startswith("__")} == names


def test_every_name_is_there() -> None:
    assert [name for name in fastface.__all__ if not hasattr(fastface, name)] == []
    assert set(fastface.__all__) <= set(dir(fastface))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        fastface.no_such_name  # noqa: B018


@pytest.mark.parametrize("name", CALLABLES)
def test_docstring_is_complete(name: str) -> None:
    assert gaps(CALLABLES[name]) == []


def test_the_docstring_check_itself() -> None:
    def undocumented(x: int) -> int:
        return x

    def partly(x: int, z: int) -> int:
        """Add.

        Parameters
        ----------
        x : int
            One.
        """
        return x + z

    assert gaps(undocumented) == ["no docstring"]
    assert gaps(partly) == ["parameter z", "what it returns"]
