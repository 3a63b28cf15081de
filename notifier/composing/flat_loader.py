"""Loads the built-in templates flat: what they extend and include is put into them when they are loaded. Pure."""

import re
from collections.abc import Callable

from jinja2 import Environment, PackageLoader

_EXTENDS = re.compile(r'{% extends "([\w.]+)" %}\n')
_INCLUDE = re.compile(r'{% include "([\w.]+)" %}')
_BLOCK = re.compile(r"{% block (\w+) %}(.*?){% endblock %}", re.DOTALL)


class FlatLoader(PackageLoader):
    """Loads templates of a package without inheritance, which costs a tenth of composing a mail.

    It understands only what our templates use: `extends` in the first line, and blocks that are not nested.
    A user's templates are loaded by Jinja's own loaders.
    """

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool] | None]:
        """Return the flat source of a template, with its file."""
        source, file, is_current = super().get_source(environment, template)

        def part(name: str) -> str:
            # Jinja removes one line end at the end of each template, too.
            return self.get_source(environment, name)[0].removesuffix("\n")

        if extends := _EXTENDS.match(source):
            blocks: dict[str, str] = dict(_BLOCK.findall(source))
            source = _BLOCK.sub(lambda block: blocks.get(block[1], block[2]), part(extends[1]))
        return _INCLUDE.sub(lambda include: part(include[1]), source), file, is_current
