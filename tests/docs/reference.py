"""Writes docs/api.md from the docstrings of the public names: `make docs`.

Reads source, imports nothing: what stands on the page is what stands in the code. A name is public when
`__all__` of one of PACKAGES has it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "api.md"
PACKAGES = (
    "stoker",
    "stoker.http",
    "stoker.http.starlette",
    "stoker.http.flask",
    "stoker.http.django",
    "stoker.testing",
    "stoker.embedded",
    "stoker.telemetry.log",
)
ROOMS = {
    "stoker.stoker": "The process",
    "stoker.domain": "Declaring",
    "stoker.rules": "Declaring",
    "stoker.warm_plans": "Declaring",
    "stoker.schedule": "Declaring",
    "stoker.cache": "Views and reading",
    "stoker.outbox": "Changes",
    "stoker.jobs": "Jobs",
    "stoker.queue": "Jobs",
    "stoker.handlers": "Jobs",
    "stoker.settings": "Settings",
    "stoker.errors": "Errors",
    "stoker.http.starlette": "HTTP with FastAPI or Starlette",
    "stoker.http.flask": "HTTP with Flask",
    "stoker.http.django": "HTTP with Django",
    "stoker.http": "HTTP with any other framework",
    "stoker.testing": "Testing",
    "stoker.embedded": "Servers for development and tests",
    "stoker.telemetry": "Logs",
}
"""Where a name is defined -> under which heading it stands, in this order; others come last."""
OTHERS = "More"
HEAD = """# API

Made from the docstrings by `make docs`; do not edit. Everything here is imported from `stoker` unless a
section says otherwise, and nothing else is public. [reading.md](reading.md) tells how it goes together.
"""
OUR_OWN = {
    "Domain": "rules_by_kind asking_kinds checked check_job subject_of kinds_by_name views_by_name "
    "access_views views_guarded_by view_names_by_scope takes has_warm_plan",
    "View": "bodies",
    "Receipt": "committed rolled_back unanswered",
    "Settings": "settings_customise_sources require_views",
    "Every": "backwards interval last says",
    "Cron": "backwards interval last says",
}
"""Members that only Stoker itself uses, by class: they are no part of the reference."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Public:
    """A public name, the package that exports it, and where it is defined."""

    package: str
    name: str
    module: str
    node: ast.stmt

    @property
    def heading(self) -> str:
        """The heading that it stands under."""
        for room, heading in ROOMS.items():
            if self.module == room or self.module.startswith(f"{room}."):
                return heading
        return OTHERS


def main() -> int:
    """Write the page, or with --check only say whether it is up to date."""
    text = page()
    if "--check" in sys.argv:
        if PAGE.read_text() == text:
            return 0
        sys.stderr.write("docs/api.md is not up to date: make docs\n")
        return 1
    PAGE.write_text(text)
    return 0


def page() -> str:
    """The page, as the code has it now."""
    found = list(public_names())
    parts = [HEAD]
    for heading in dict.fromkeys([*ROOMS.values(), OTHERS]):
        under = [one for one in found if one.heading == heading]
        if not under:
            continue
        packages = {one.package for one in under} - {"stoker"}
        parts.append(f"## {heading}\n")
        parts += [f"Imported from `{package}`.\n" for package in sorted(packages)]
        for one in sorted(under, key=lambda one: one.name):
            parts += _entry(one)
    return "\n".join(parts)


def public_names() -> Iterator[Public]:
    """Every public name."""
    for package in PACKAGES:
        tree = parsed(package)
        names = next(
            node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        )
        for name in ast.literal_eval(names):
            module, node = definition(package, name)
            yield Public(package, name, module, node)


def missing_docstrings() -> list[str]:
    """Public names, methods and fields of enums that say nothing."""
    return [
        f"{one.name}.{member}" if member else one.name
        for one in public_names()
        for member, text in _docstrings(one)
        if not text
    ]


def definition(module: str, name: str) -> tuple[str, ast.stmt]:
    """Where a module has a name from, and what stands there."""
    for node in _statements(parsed(module)):
        if isinstance(node, ast.ClassDef | Function) and node.name == name:
            return module, node
        if isinstance(node, ast.Assign | ast.AnnAssign) and _assigned(node) == name:
            return module, node
        if isinstance(node, ast.ImportFrom) and any((a.asname or a.name) == name for a in node.names):
            return definition(str(node.module), name)
    raise LookupError(f"{module} has no {name}")


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements of a module, those under `if TYPE_CHECKING` too: names may be imported when used."""
    for node in tree.body:
        yield node
        if isinstance(node, ast.If):
            yield from node.body


@lru_cache
def parsed(module: str) -> ast.Module:
    """The source of a module."""
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    tree = ast.parse(path.read_text())
    # What is imported for type checkers alone counts as imported: a package may do so and import lazily.
    typed = [one for node in tree.body if isinstance(node, ast.If) for one in node.body]
    return ast.Module([*tree.body, *typed], [])


def _entry(one: Public) -> list[str]:
    node = one.node
    if isinstance(node, Function):
        return [f"### `{one.name}`\n", _code(_signature(node)), _text(node)]
    if isinstance(node, ast.ClassDef):
        parts = [f"### `{one.name}`\n", _text(node)]
        hidden = {*HIDDEN_BASES, "JobCalls"}  # a part of Stoker, not a name of its own
        bases = [name for base in node.bases if (name := ast.unparse(base)) not in hidden]
        if bases:
            parts.insert(1, f"A kind of `{'`, `'.join(bases)}`.\n")
        body = _members(one.module, node)
        parts += _fields(body)
        for member in body:
            if isinstance(member, Function) and member.name not in OUR_OWN.get(one.name, "").split():
                parts += [f"#### `{one.name}.{member.name}`\n", _code(_signature(member)), _text(member)]
        return parts
    # Without a language: a formatter of pages would wrap what is a whole statement.
    return [f"### `{one.name}`\n", f"```\n{ast.unparse(node)}\n```\n", (_beneath(one) or "") + "\n"]


def _beneath(one: Public) -> str | None:
    """The docstring of a constant: the text beneath it."""
    body = parsed(one.module).body
    at = body.index(one.node)
    return _string(body[at + 1]) if at + 1 < len(body) else None


HIDDEN_BASES = frozenset({"NamedTuple", "BaseModel", "StrEnum", "Generic[E]", "BaseSettings", "Exception"})


def _members(module: str, node: ast.ClassDef) -> list[ast.stmt]:
    """Public members in order, those of bases of ours after its own."""
    found = {_member_name(one): one for one in node.body if _is_public(one)}
    found |= {f"{name} docstring": text for name, text in _attribute_texts(node)}
    for base in node.bases:
        if not isinstance(base, ast.Name):
            continue
        try:
            where, parent = definition(module, base.id)
        except (LookupError, FileNotFoundError):
            continue
        if isinstance(parent, ast.ClassDef) and base.id not in {*HIDDEN_BASES, "Job"}:
            for one in _members(where, parent):
                found.setdefault(_member_name(one), one)
    return list(found.values())


def _fields(body: list[ast.stmt]) -> list[str]:
    rows = []
    for at, member in enumerate(body):
        if isinstance(member, ast.Assign | ast.AnnAssign):
            rows.append(f"| `{_escaped(ast.unparse(member))}` | {_after(body, at)} |")
    if not rows:
        return []
    return ["| field | |\n| --- | --- |\n" + "\n".join(rows) + "\n"]


def _after(body: list[ast.stmt], at: int) -> str:
    """The docstring of an attribute: the text that follows it in the source."""
    wanted = body[at]
    for other in body:
        if isinstance(other, _Text) and other.of is wanted:
            return _escaped(" ".join(other.text.split()))
    return ""


class _Text(ast.stmt):
    """The docstring of an attribute."""

    def __init__(self, of: ast.stmt, text: str) -> None:
        super().__init__()
        self.of = of
        self.text = text


def _attribute_texts(node: ast.ClassDef) -> Iterator[tuple[str, ast.stmt]]:
    for one, following in zip(node.body, node.body[1:], strict=False):
        if isinstance(one, ast.Assign | ast.AnnAssign) and (text := _string(following)) is not None:
            yield _member_name(one), _Text(one, text)


def _string(node: ast.stmt) -> str | None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return node.value.value if isinstance(node.value.value, str) else None
    return None


def _docstrings(one: Public) -> Iterator[tuple[str, str | None]]:
    node = one.node
    if not isinstance(node, ast.ClassDef | Function):
        yield "", _beneath(one)
        return
    yield "", ast.get_docstring(node)
    if isinstance(node, ast.ClassDef):
        for member in _members(one.module, node):
            if isinstance(member, Function):
                yield member.name, ast.get_docstring(member)


def _is_public(node: ast.stmt) -> bool:
    if isinstance(node, Function):
        return not node.name.startswith("_")
    if isinstance(node, ast.Assign | ast.AnnAssign):
        return not _assigned(node).startswith(("_", "model_config"))
    return False


def _member_name(node: ast.stmt) -> str:
    if isinstance(node, Function):
        return node.name
    if isinstance(node, _Text):
        return f"{_member_name(node.of)} docstring"
    return _assigned(node) if isinstance(node, ast.Assign | ast.AnnAssign) else ""


def _assigned(node: ast.Assign | ast.AnnAssign) -> str:
    return ast.unparse(node.target if isinstance(node, ast.AnnAssign) else node.targets[0])


def _signature(node: Function) -> str:
    decorators = [f"@{ast.unparse(one)}\n" for one in node.decorator_list]
    prefix = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{''.join(decorators)}{prefix} {node.name}({ast.unparse(node.args)}){returns}"


def _code(text: str) -> str:
    return f"```python\n{text}\n```\n"


def _text(node: ast.ClassDef | Function) -> str:
    return (ast.get_docstring(node) or "") + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", r"\|")


if __name__ == "__main__":
    raise SystemExit(main())
