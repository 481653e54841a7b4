"""The doctor on Windows."""

from tests.windows.support.wine import Windows


def test_a_sound_machine_is_well(windows: Windows) -> None:
    done = windows.run("run_hub.py", "--doctor", "--port", "0")
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout
    assert [line for line in lines if not line.startswith("ok ")] == ["all is well"]
    assert any("event loop: winloop" in line for line in lines)
    assert any("time zone: Asia/Shanghai is known" in line for line in lines)


def test_what_is_wrong_is_told_with_what_to_do(windows: Windows) -> None:
    done = windows.run("run_hub.py", "doctor", "--host", "0.0.0.0", "--insecure")  # noqa: S104
    assert done.returncode == 1
    (wrong,) = [line for line in done.stdout.splitlines() if line.startswith("WRONG")]
    assert wrong.startswith("WRONG  token: none")
