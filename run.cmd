@echo off
rem Starts the hub with the built-in market, and sets up what it needs before. Options are passed on: run --port 9000
setlocal
cd /d "%~dp0" || exit /b 1
call setup.cmd || exit /b 1
.venv\Scripts\python.exe run_hub.py %*
