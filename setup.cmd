@echo off
rem Prepares .venv with the pinned packages and this project in it; does nothing when that was done before and neither
rem the place nor what is wanted has changed.
setlocal
cd /d "%~dp0" || exit /b 1
if not exist .venv\Scripts\python.exe (
    py -3.11 -c "import venv" 2>nul || (
        echo Python 3.11 is needed, and "py -3.11" does not start it. 1>&2
        exit /b 1
    )
    py -3.11 -m venv --clear .venv || exit /b 1
)
(cd & type pyproject.toml clients\py\pyproject.toml constraints.txt) >.venv\wanted 2>nul
fc /b .venv\wanted .venv\set-up >nul 2>nul && exit /b 0
echo Setting up .venv
set pip=.venv\Scripts\python.exe -m pip install --quiet --no-input --disable-pip-version-check --constraint constraints.txt
%pip% pip || exit /b 1
%pip% --build-constraint constraints.txt --editable .[dev] --editable clients/py || exit /b 1
move /y .venv\wanted .venv\set-up >nul
