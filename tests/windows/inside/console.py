"""Runs a Python program in a console of its own without a window, and has the console tell it what the test sends.

    python console.py PORT PROGRAM ARGUMENTS...

Connects to PORT on this machine, and reads lines from it: each is the number of a console event. Wine's own call for
that knows only Ctrl-C. So the event is brought as Windows itself brings it: by a thread in the program that runs
``CtrlRoutine``. As Windows does, the program is ended at once when its handler of a close has returned. It is ended,
too, when the connection ends. The exit code is the program's.
"""

import ctypes
import socket
import subprocess
import sys
import threading
from ctypes import wintypes

CLOSE = 2
PROCESS_ALL_ACCESS = 0x1F0FFF
FOREVER = 0xFFFFFFFF
ENDED_BY_WINDOWS = 99

kernel = ctypes.WinDLL("kernel32", use_last_error=True)
kernel.GetModuleHandleW.restype = kernel.OpenProcess.restype = kernel.CreateRemoteThread.restype = wintypes.HANDLE
kernel.GetProcAddress.restype = ctypes.c_void_p
kernel.GetProcAddress.argtypes = [wintypes.HANDLE, ctypes.c_char_p]
kernel.CreateRemoteThread.argtypes = [
    wintypes.HANDLE,
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_void_p,
    ctypes.c_void_p,
    wintypes.DWORD,
    ctypes.c_void_p,
]
kernel.WaitForSingleObject.argtypes = [wintypes.HANDLE, wintypes.DWORD]
kernel.TerminateProcess.argtypes = [wintypes.HANDLE, wintypes.UINT]


def tell(pid: int, event: int) -> None:
    routine = kernel.GetProcAddress(kernel.GetModuleHandleW("kernelbase.dll"), b"CtrlRoutine")
    process = kernel.OpenProcess(PROCESS_ALL_ACCESS, False, pid)
    thread = kernel.CreateRemoteThread(process, None, 0, routine, event, 0, None)
    if not thread:
        raise ctypes.WinError(ctypes.get_last_error())
    if event == CLOSE:
        kernel.WaitForSingleObject(thread, FOREVER)
        kernel.TerminateProcess(process, ENDED_BY_WINDOWS)


def obey(keyboard: socket.socket, program: subprocess.Popen[bytes]) -> None:
    with keyboard.makefile() as lines:
        try:
            for line in lines:
                tell(program.pid, int(line))
        except ConnectionError:
            pass
    program.kill()


def main() -> int:
    keyboard = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    program = subprocess.Popen(
        [sys.executable, *sys.argv[2:]],
        creationflags=subprocess.CREATE_NO_WINDOW,
        stdin=subprocess.DEVNULL,
        stdout=sys.stdout,
        stderr=sys.stderr,
    )
    threading.Thread(target=obey, args=(keyboard, program), daemon=True).start()
    return program.wait()


if __name__ == "__main__":
    sys.exit(main())
