"""What commands print. Texts of terminals and imports are data: no markup, and nothing unseen."""

from typing import Any, Final

import typer
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text

from store.text import visible, visible_json

_json: Final = JSONHighlighter()


class Screen(Console):
    """A console on which a `str` is what it says; colours are a `Text` or a style. Ends of lines inside of a
    text are shown as well."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False} | settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        return super().render_str(visible(text), **settings | {"markup": False, "emoji": False})


def styled(*parts: str | tuple[str, str]) -> Text:
    """Put texts together, some with a style."""
    pairs = (part if isinstance(part, tuple) else (part, "") for part in parts)
    return Text.assemble(*((visible(text), style) for text, style in pairs))


def echo(text: str, *, is_error: bool = False) -> None:
    """Print a line, on standard error where it says what is wrong. Ends of lines in it are ends of lines."""
    typer.echo(visible(text, keep_lines=True), err=is_error)


def echo_json(data: bytes, *, in_color: bool = False) -> None:
    """Print JSON."""
    text = visible_json(data.decode())
    if in_color:
        Screen(soft_wrap=True).print(_json(text))
    else:
        typer.echo(text)
