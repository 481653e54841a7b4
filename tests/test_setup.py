"""What a fresh clone relies on: the set-up script with its messages, and what each target runs."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PROJECTS = ("pyproject.toml", "clients/py/pyproject.toml")
SET_UP_FILES = (
    *PROJECTS,
    ".ci/run",
    "Makefile",
    "constraints.txt",
    "hub.example.toml",
    "run.cmd",
    "setup.cmd",
    "setup.sh",
    "test.cmd",
)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SET_UP_FILES)
def test_no_address_of_a_registry_and_no_place_on_a_machine_is_named(name: str) -> None:
    assert not re.search(r"https?://(?!desk\.example)|index-url|find-links|--hash|/(home|root|tmp)/", read(name))


def test_ci_runs_make_targets_and_nothing_else() -> None:
    lines = [line for line in read(".ci/run").splitlines() if line and not line.startswith("#")]
    commands = [line for line in lines if line != "set -euo pipefail" and not line.startswith("cd ")]
    assert commands == ["make test", "make test-windows"]
    assert "set -euo pipefail" in lines


def test_windows_checks_what_the_makefile_checks() -> None:
    modules = re.findall(r"^\t\$\(PY\) -m (?!benchmarks)(.+)$", read("Makefile"), re.M)
    checks = [re.sub(r" \$\(ARGS\)", "", line) for line in modules]
    windows = read("test.cmd")
    assert len(checks) == 5
    for check in checks:
        assert f"%py% -m {check}" in windows


class Result(NamedTuple):
    code: int
    out: str
    err: str


class Sandbox:
    """A clone without a .venv, in a folder with a space, where every command of ``PATH`` is one of ours."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "argus hub"
        self.bin = folder / "bin"
        self.calls = folder / "calls"
        self.bin.mkdir()
        self.calls.touch()
        for name in (*PROJECTS, "setup.sh", "Makefile", "constraints.txt"):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)
        for tool in ("sh", "cat", "cmp", "dirname", "make", "mkdir", "cp", "chmod"):
            found = shutil.which(tool)
            assert found, f"{tool} is missing here"
            (self.bin / tool).symlink_to(found)
        self.user(1000)

    def command(self, name: str, body: str) -> None:
        """Put a command into ``PATH`` that notes its call, then runs ``body``."""
        path = self.bin / name
        path.write_text(f'#!{self.bin}/sh\necho "{name} $*" >>"{self.calls}"\n{body}\n')
        path.chmod(0o755)

    def user(self, number: int) -> None:
        self.command("id", f"echo {number}")

    def python(self, name: str, *, minor: int = 11, venv: bool = True) -> None:
        """A Python that can say how old it is, whether it has ensurepip, and make a .venv with itself in it."""
        self.command(
            name,
            f"""case "$*" in
                *"version_info < (3, 11)"*) exit {int(minor < 11)} ;;
                *python%d.%d-venv*) echo python3.{minor}-venv ;;
                *ensurepip*) [ -e "{self.bin}/ensurepip" ] || exit {int(not venv)} ;;
                "-m venv --clear .venv") mkdir -p .venv/bin && cp "{self.bin}/{name}" .venv/bin/python ;;
            esac""",
        )

    def noted(self, start: str) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if line.startswith(start)]

    def make(self, *words: str, **variables: str) -> Result:
        return self.run("make", *words, folder=self.root, **variables)

    def run(self, *words: str, folder: Path, **variables: str) -> Result:
        self.calls.write_text("")
        done = subprocess.run(
            words,
            cwd=folder,
            env={"PATH": str(self.bin), **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    if sys.platform == "win32":
        pytest.skip("setup.sh and the Makefile are not for Windows")
    return Sandbox(tmp_path)


def test_setup_installs_both_projects_with_the_pins_once(sandbox: Sandbox) -> None:
    sandbox.python("python3.11")
    assert sandbox.make("setup").code == 0
    installs = sandbox.noted("python3.11 -m pip install")
    assert len(installs) == 2
    assert all("--constraint constraints.txt" in line for line in installs)
    assert "--build-constraint constraints.txt --editable .[dev] --editable clients/py" in installs[1]
    again = sandbox.make("setup")
    assert (again.code, again.out) == (0, "")
    assert sandbox.noted("python3.11 -m pip install") == []


@pytest.mark.parametrize("name", [*PROJECTS, "constraints.txt"])
def test_setup_runs_again_when_what_is_wanted_has_changed(sandbox: Sandbox, name: str) -> None:
    sandbox.python("python3.11")
    sandbox.make("setup")
    with (sandbox.root / name).open("a") as file:
        file.write("# changed\n")
    assert sandbox.make("setup").code == 0
    assert len(sandbox.noted("python3.11 -m pip install")) == 2
    assert sandbox.noted("python3.11 -m venv") == []


def test_setup_runs_again_when_the_folder_was_moved(sandbox: Sandbox) -> None:
    sandbox.python("python3.11")
    sandbox.make("setup")
    sandbox.root = sandbox.root.rename(sandbox.root.with_name("elsewhere"))
    assert sandbox.make("setup").code == 0
    assert len(sandbox.noted("python3.11 -m pip install")) == 2


def test_setup_that_failed_is_not_taken_for_done(sandbox: Sandbox) -> None:
    sandbox.python("python3.11")
    sandbox.make("setup")
    (sandbox.root / "constraints.txt").write_text("changed==1\n")
    python = sandbox.root / ".venv/bin/python"
    works = python.read_text()
    python.write_text(works + '\ncase "$*" in *"pip install"*) exit 1 ;; esac\n')
    assert sandbox.make("setup").code != 0
    python.write_text(works)
    assert sandbox.make("setup").code == 0
    assert len(sandbox.noted("python3.11 -m pip install")) == 2


def test_python3_is_taken_when_python3_11_is_missing_or_a_shim_that_does_not_run(sandbox: Sandbox) -> None:
    sandbox.command("python3.11", "exit 127")
    sandbox.python("python3", minor=13)
    assert sandbox.make("setup").code == 0
    assert sandbox.noted("python3 -m venv") == ["python3 -m venv --clear .venv"]


def test_another_python_can_be_named(sandbox: Sandbox) -> None:
    sandbox.python("python3.11")
    sandbox.python("mine", minor=12)
    assert sandbox.make("setup", "PYTHON=mine").code == 0
    assert sandbox.noted("mine -m venv") == ["mine -m venv --clear .venv"]


def test_setup_can_be_started_from_any_folder(sandbox: Sandbox) -> None:
    sandbox.python("python3.11")
    assert sandbox.run("sh", f"{sandbox.root}/setup.sh", folder=sandbox.bin).code == 0
    assert (sandbox.root / ".venv/set-up").exists()


def test_an_old_python_is_refused_in_one_line(sandbox: Sandbox) -> None:
    sandbox.python("python3", minor=9)
    result = sandbox.make("setup")
    assert result.code != 0
    message, make_s_own = result.err.splitlines()
    assert message.startswith("Python 3.11 or newer is needed, and none of these is: python3.11 python3")
    assert make_s_own.startswith("make: ***")
    assert not (sandbox.root / ".venv").exists()


def test_a_missing_venv_module_is_installed_by_root(sandbox: Sandbox) -> None:
    sandbox.python("python3.11", venv=False)
    sandbox.user(0)
    sandbox.command("apt-get", f'case "$*" in *install*) : >"{sandbox.bin}/ensurepip" ;; esac')
    assert sandbox.make("setup").code == 0
    update, install = sandbox.noted("apt-get")
    assert " update" in update
    assert install.endswith("python3.11-venv")


def test_a_missing_venv_module_is_named_to_anybody_else(sandbox: Sandbox) -> None:
    sandbox.python("python3.11", venv=False)
    sandbox.command("apt-get", "")
    result = sandbox.make("setup")
    assert result.code != 0
    assert "Missing: python3.11-venv. On Debian and Ubuntu: sudo apt-get install python3.11-venv" in result.err
    assert sandbox.noted("apt-get") == []
    assert sandbox.noted("python3.11 -m pip") == []


def test_what_is_missing_of_debian_is_installed_by_root_for_the_tests_only(sandbox: Sandbox) -> None:
    sandbox.python("python3.11")
    sandbox.user(0)
    sandbox.command("apt-get", "")
    assert sandbox.make("setup").code == 0
    assert sandbox.noted("apt-get") == []
    assert sandbox.make("unit").code == 0
    installs = [line for line in sandbox.noted("apt-get") if " install " in line]
    missing = [] if Path("/usr/sbin/haproxy").exists() else ["haproxy"]
    packages = [line.partition("--no-install-recommends ")[2] for line in installs]
    assert packages == ["chromium", "redis-server", *missing, "gcc libc6-dev"]
    assert sandbox.noted("python3.11 -m pytest") == ["python3.11 -m pytest --cov=hub -n auto --dist loadfile"]


def test_a_missing_browser_stops_the_tests_of_anybody_else(sandbox: Sandbox) -> None:
    sandbox.python("python3.11")
    result = sandbox.make("unit")
    assert result.code != 0
    assert "Missing: chromium. On Debian and Ubuntu: sudo apt-get install chromium" in result.err
    assert sandbox.noted("python3.11 -m pytest") == []


def test_a_missing_redis_stops_the_tests_of_anybody_else(sandbox: Sandbox) -> None:
    sandbox.python("python3.11")
    sandbox.command("chromium", "")
    result = sandbox.make("unit")
    assert result.code != 0
    assert "Missing: redis-server. On Debian and Ubuntu: sudo apt-get install redis-server" in result.err
    assert sandbox.noted("python3.11 -m pytest") == []


@pytest.mark.parametrize("gcc", [None, "exit 1"], ids=["no compiler", "no headers"])
def test_a_missing_compiler_stops_the_tests_of_anybody_else(sandbox: Sandbox, gcc: str | None) -> None:
    sandbox.python("python3.11")
    for name in ("chromium", "redis-server", "haproxy"):
        sandbox.command(name, "")
    if gcc is not None:
        sandbox.command("gcc", gcc)
    result = sandbox.make("unit")
    assert result.code != 0
    assert "Missing: gcc libc6-dev. On Debian and Ubuntu: sudo apt-get install gcc libc6-dev" in result.err
    assert sandbox.noted("python3.11 -m pytest") == []
    sandbox.command("cc", "")
    assert sandbox.make("unit").code == 0


def test_without_wine_the_tests_of_windows_say_what_is_missing(sandbox: Sandbox) -> None:
    sandbox.python("python3.11")
    result = sandbox.make("test-windows")
    assert result.code != 0
    assert re.search(
        r"Missing: wine .*binutils-mingw-w64-x86-64\. On Debian and Ubuntu: sudo apt-get install", result.err
    )
    assert sandbox.noted("python3.11 -m tests.windows") == []


def test_make_test_runs_every_check_and_stops_at_the_first_that_fails(sandbox: Sandbox) -> None:
    sandbox.python("python3.11")
    sandbox.command("chromium", "")
    sandbox.command("redis-server", "")
    sandbox.command("haproxy", "")
    sandbox.command("gcc", "")
    assert sandbox.make("test").code == 0
    assert [
        line.split()[2] for line in sandbox.noted("python3.11 -m") if " pip " not in line and " venv " not in line
    ] == [
        "ruff",
        "ruff",
        "mypy",
        "mypy",
        "pytest",
    ]
    python = sandbox.root / ".venv/bin/python"
    python.write_text(python.read_text() + '\ncase "$*" in *mypy*) exit 1 ;; esac\n')
    assert sandbox.make("test").code != 0
    assert sandbox.noted("python3.11 -m pytest") == []


def test_make_run_passes_the_options_on(sandbox: Sandbox) -> None:
    sandbox.python("python3.11")
    assert sandbox.make("run", ARGS="--port 9000 --seed 7").code == 0
    assert sandbox.noted("python3.11 run_hub.py") == ["python3.11 run_hub.py --port 9000 --seed 7"]
