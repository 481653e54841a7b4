"""Finding and importing the package: never a stall, and one line for what is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

from bridge.xtquant.package import PackageError, find_package, load

ASKING = """
import sys, pathlib
sys.path.insert(0, {site!r})
from bridge.xtquant.package import load
load(pathlib.Path({folder!r}))
print("imported", "xtquant.xtdata" in sys.modules, "requests" in sys.modules)
import requests
print(requests.NAME)
"""


@pytest.mark.parametrize("is_there", [True, False], ids=["with requests", "without"])
def test_importing_asks_no_package_index(folder: Path, tmp_path: Path, is_there: bool) -> None:
    """`requests` of this test stands for the real one: whoever imports it while xtquant is imported, ends there."""
    (tmp_path / "requests.py").write_text(
        "import sys\nNAME = 'the very module'\n"
        "if 'xtquant' in sys.modules and 'xtquant.xtdata' not in sys.modules: sys.exit('the index was asked')\n"
    )
    (tmp_path / "pkg_resources.py").write_text("def get_distribution(name): raise SystemExit('the index was asked')\n")
    script = ASKING.format(site=str(tmp_path), folder=str(folder))
    if is_there:
        script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import requests\n" + script
    command = [sys.executable, "-W", "ignore", "-c", script]
    root = Path(__file__).parents[3]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-2:] == [f"imported True {is_there}", "the very module"]


def test_a_package_without_a_native_module_for_this_python_says_where_it_runs(tmp_path: Path) -> None:
    (tmp_path / "xtquant").mkdir()
    (tmp_path / "xtquant" / "__init__.py").touch()
    (tmp_path / "xtquant" / "datacenter.cp36-win_amd64.pyd").touch()
    with pytest.raises(
        PackageError, match=r"no native module datacenter for Python 3\.\d+ on .*; let a feeder run there"
    ):
        find_package(tmp_path)


def test_a_package_that_is_broken_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "xtquant").mkdir()
    (tmp_path / "xtquant" / "datacenter.py").touch()
    (tmp_path / "xtquant" / "__init__.py").touch()
    script = (
        "import pathlib; from bridge.xtquant.package import PackageError, load\n"
        f"try: load(pathlib.Path({str(tmp_path)!r}))\nexcept PackageError as error: print(error)"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True
    )
    assert said.stdout.startswith("xtquant can't be imported (ModuleNotFoundError: No module named 'xtquant.xtdata')")
    assert len(said.stdout.splitlines()) == 1


def test_a_package_that_is_not_installed_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(PackageError, match="pip install xtquant"):
        find_package(None)


def test_what_was_imported_is_the_real_one(folder: Path) -> None:
    assert Path(str(load(folder).__file__)) == folder / "xtquant" / "xtdata.py"
