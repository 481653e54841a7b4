"""The pins: complete, within their ranges, what is installed here, and explained one by one."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECTS = ("pyproject.toml", "clients/py/pyproject.toml")
OURS = {"argus-hub", "argus-client"}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def requirements(project: str) -> Iterator[Requirement]:
    """All direct ones: at run time, of extras, and to build."""
    content = tomllib.loads(read(project))
    texts = [*content["build-system"]["requires"], *content["project"]["dependencies"]]
    for extra in content["project"].get("optional-dependencies", {}).values():
        texts += extra
    yield from (found for found in map(Requirement, texts) if canonicalize_name(found.name) not in OURS)


def pins() -> dict[str, str]:
    lines = [line for line in read("constraints.txt").splitlines() if not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def installed_closure() -> dict[str, str]:
    """Version of everything that the two projects bring along here, by canonical name."""
    found: dict[str, str] = {}
    waiting = [Requirement("argus-hub[dev]"), Requirement("argus-client")]
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        new_extras = [extra for extra in ("", *wanted.extras) if (name, extra) not in seen]
        seen.update((name, extra) for extra in new_extras)
        if not new_extras:
            continue
        found[name] = distribution(name).version
        for text in distribution(name).requires or ():
            inner = Requirement(text)
            if any(inner.marker is None or inner.marker.evaluate({"extra": extra}) for extra in new_extras):
                waiting.append(inner)
    return {name: version for name, version in found.items() if name not in OURS}


def test_pins_are_names_and_versions_only() -> None:
    lines = [line for line in read("constraints.txt").splitlines() if not line.startswith("#")]
    assert lines == sorted(set(lines))
    for line in lines:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line), line


@pytest.mark.parametrize("project", PROJECTS)
def test_every_direct_dependency_is_pinned_within_its_range(project: str) -> None:
    pinned = pins()
    for requirement in requirements(project):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), str(requirement)


def test_everything_that_is_brought_along_is_installed_as_pinned() -> None:
    installed = installed_closure()
    assert {"websockets", "pydantic-core", "pluggy"} <= installed.keys()
    pinned = pins()
    assert installed == {name: pinned.get(name) for name in installed}


def test_nothing_is_pinned_that_nobody_needs() -> None:
    only_elsewhere = {"colorama", "pywin32", "uvloop", "winloop"}
    to_build = {"editables", "hatchling", "pathspec", "pip", "tomlkit", "trove-classifiers"}
    assert pins().keys() - installed_closure().keys() <= only_elsewhere | to_build


def test_the_dependencies_are_explained_one_by_one() -> None:
    tables = read("docs/dependencies.md").split("\n## Outside Python")[0]
    explained = [canonicalize_name(name) for name in re.findall(r"^\| `([^`]+)` \|", tables, re.MULTILINE)]
    direct = {canonicalize_name(found.name) for project in PROJECTS for found in requirements(project)}
    assert set(explained) == direct
    for line in tables.splitlines():
        if line.startswith("| `"):
            assert line.count("|") == 4, line
