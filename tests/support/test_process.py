"""Programs under test start, tell, and end."""

import signal
import sys
from pathlib import Path

import httpx2
import pytest

from tests.support.process import (
    HarnessError,
    Process,
    alive,
    clean_environment,
    eventually,
    free_port,
    grantkeeper,
)


def python(program: str, directory: Path, *arguments: str, name: str = "program") -> Process:
    """A small Python program, not yet started."""
    command = [sys.executable, "-u", "-c", program, *arguments]
    return Process(command, directory=directory, env=clean_environment(), name=name)


def test_free_port_can_be_bound_again_and_again() -> None:
    """Two ports differ, and each lies outside the range of outgoing connections."""
    ports = {free_port() for _ in range(20)}
    assert len(ports) > 1
    assert all(1024 < port < 32768 for port in ports)


def test_process_tells_its_line_and_its_exit_code(tmp_path: Path) -> None:
    """A line is found by pattern, output is kept by stream, and the exit code is the program's."""
    program = "import sys; print('ready on 80'); print('oh', file=sys.stderr); sys.exit(7)"
    with python(program, tmp_path) as process:
        assert process.wait_for_line(r"ready on (\d+)").group(1) == "80"
        assert process.wait() == 7
        assert (process.stdout, process.stderr) == ("ready on 80\n", "oh\n")


def test_process_that_ends_early_says_why(tmp_path: Path) -> None:
    """Waiting for a program that died fails at once with its last words."""
    program = "import sys; sys.exit('no settings')"
    with python(program, tmp_path) as process, pytest.raises(HarnessError, match="exit code 1:\nno settings"):
        process.wait_for_line("ready", within=20)


def test_process_is_waited_for_by_http(tmp_path: Path) -> None:
    """A server is ready when it answers, and answers no more after its stop."""
    port = str(free_port())
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", port]
    with Process(command, directory=tmp_path, env=clean_environment()) as process:
        process.wait_for_http(f"http://127.0.0.1:{port}/")
        assert process.stop() == -signal.SIGTERM
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"http://127.0.0.1:{port}/", trust_env=False)


def test_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """The deadline of stop holds even for a stubborn program."""
    program = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); signal.pause()"
    with python(program, tmp_path) as process:
        process.wait_for_line("deaf")
        assert process.stop(within=0.2) == -signal.SIGKILL


def test_process_takes_its_workers_along(tmp_path: Path) -> None:
    """A worker that its crashed parent left behind ends with the harness, not later."""
    program = (
        "import os, signal\n"
        "worker = os.fork()\n"
        "if worker: print('worker', worker); os.kill(os.getpid(), signal.SIGKILL)\n"
        "signal.pause()"
    )
    with python(program, tmp_path) as process:
        worker = int(process.wait_for_line(r"worker (\d+)").group(1))
        assert process.wait() == -signal.SIGKILL
        assert alive(worker)
    eventually(lambda: not alive(worker) or None, within=5, what="the worker's end")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's leash is Linux's")
def test_process_ends_when_the_tests_are_killed(tmp_path: Path) -> None:
    """SIGKILL of the tests leaves no program behind."""
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tests.support.process import Process\n"
        "child = Process(['sleep', '60'], directory=Path(sys.argv[1]), env=dict(os.environ), name='child')\n"
        "print('child', child.start().pid); signal.pause()"
    )
    environment = {**clean_environment(), "PYTHONPATH": str(Path(__file__).parents[2])}
    tests = Process([sys.executable, "-uc", program, str(tmp_path)], directory=tmp_path, env=environment)
    with tests:
        child = int(tests.wait_for_line(r"child (\d+)").group(1))
        assert alive(child)
        tests.kill()
        eventually(lambda: not alive(child) or None, within=5, what="the child's end")


def test_grantkeeper_runs_apart_from_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command gets an empty HOME and what it is given, not the settings of whoever runs the tests."""
    monkeypatch.setenv("GRANTKEEPER_PUBLIC_URL", "https://elsewhere.test")
    process = grantkeeper("--version", directory=tmp_path, env={"GRANTKEEPER_DATA_DIR": "here"})
    environment = process.environment
    assert environment["GRANTKEEPER_DATA_DIR"] == "here"
    assert "GRANTKEEPER_PUBLIC_URL" not in environment
    assert list(Path(environment["HOME"]).iterdir()) == []
