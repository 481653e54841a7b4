@echo off
rem Runs all checks, and sets up what they need before.
setlocal
cd /d "%~dp0" || exit /b 1
call setup.cmd || exit /b 1
set py=.venv\Scripts\python.exe
%py% -m ruff check . || exit /b 1
%py% -m ruff format --check . || exit /b 1
%py% -m mypy --strict hub bridge run_hub.py service.py clients/py/argus_client || exit /b 1
%py% -m mypy --strict --platform win32 hub bridge run_hub.py service.py clients/py/argus_client || exit /b 1
%py% -m pytest --cov=hub -n auto --dist loadfile %*
