"""Outside tools: found, run, stopped, and their failures shown."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgecomp import tools
from edgecomp.errors import Exit, ToolError


@pytest.fixture(autouse=True)
def _logs_in_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "logs").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "logs"))


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def failure(command: Sequence[str | Path], tmp_path: Path, seconds: float = 20.0) -> str:
    with pytest.raises(ToolError) as caught:
        tools.run(command, cwd=tmp_path, seconds=seconds)
    assert caught.value.exit_code is Exit.TOOL
    return str(caught.value)


def gone(process: int) -> bool:
    """Whether a process has ended within ten seconds; one that only waits to be reaped has."""
    for _ in range(200):
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("name", "expected"), [("g++", "EDGECOMP_GXX"), ("vitis-run", "EDGECOMP_VITIS_RUN"), ("a.b", "EDGECOMP_A_B")]
)
def test_names_of_variables(name: str, expected: str) -> None:
    assert tools.variable(name) == expected


def test_find_looks_at_the_path_and_the_variable_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    on_path, other = script(tmp_path / "bin" / "mytool", ""), script(tmp_path / "other", "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert tools.find("mytool") == on_path
    assert tools.need("mytool", hint="h") == on_path
    monkeypatch.setenv("EDGECOMP_MYTOOL", str(other))
    assert tools.find("mytool") == other


def test_a_missing_tool_is_named_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert tools.find("g++") is None
    with pytest.raises(ToolError) as caught:
        tools.need("g++", hint="apt-get install g++")
    text = r"g\+\+: g\+\+ is not on the PATH\n  hint: apt-get install g\+\+; or set EDGECOMP_GXX to its path"
    assert re.fullmatch(text, str(caught.value))


def test_a_variable_that_names_no_program_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECOMP_GXX", "/nowhere/g++")
    with pytest.raises(ToolError) as caught:
        tools.find("g++")
    text = r"EDGECOMP_GXX: '/nowhere/g\+\+' is no program\n  hint: set it to the path of g\+\+"
    assert re.fullmatch(text, str(caught.value))


def test_a_run_gives_its_output_and_leaves_no_log(tmp_path: Path) -> None:
    run = tools.run(["sh", "-c", "pwd; echo $GREETING >&2"], cwd=tmp_path, seconds=20, environment={"GREETING": "hi"})
    assert (run.status, run.output) == (0, f"{tmp_path}\nhi\n")
    assert run.seconds > 0
    assert os.listdir(tmp_path / "logs") == []


def test_an_accepted_status_is_no_failure(tmp_path: Path) -> None:
    assert tools.run(["sh", "-c", "exit 3"], cwd=tmp_path, seconds=20, accept=(0, 3)).status == 3


def test_a_failure_shows_the_first_error_and_keeps_the_log(tmp_path: Path) -> None:
    text = failure(["sh", "-c", "echo start; echo 'a.cpp:3: error: bad'; echo 'error: later'; exit 2"], tmp_path)
    found = re.fullmatch(r"sh: sh ended with status 2: a.cpp:3: error: bad\n  hint: its whole output is in (\S+)", text)
    assert found
    assert Path(found[1]).read_text().splitlines()[0] == "start"


def test_a_failure_that_says_nothing(tmp_path: Path) -> None:
    assert re.fullmatch(r"sh: sh ended with status 7\n  hint: .+", failure(["sh", "-c", "exit 7"], tmp_path))


def test_a_crash_names_its_signal(tmp_path: Path) -> None:
    text = failure(["sh", "-c", "kill -SEGV $$"], tmp_path)
    assert re.fullmatch(r"sh: sh was killed by SIGSEGV\n  hint: .+", text)


def test_a_program_that_cannot_start(tmp_path: Path) -> None:
    text = failure([tmp_path / "none"], tmp_path)
    assert re.fullmatch(r"\S+none: cannot be run: No such file or directory\n  hint: edgecomp doctor .+", text)
    assert os.listdir(tmp_path / "logs") == []


def test_the_time_limit_kills_the_whole_group(tmp_path: Path) -> None:
    text = failure(["sh", "-c", "sleep 60 & echo $! > child; echo waiting; wait"], tmp_path, seconds=0.5)
    assert re.fullmatch(r"sh: sh did not end within 0.5 s: waiting\n  hint: .+", text)
    assert gone(int((tmp_path / "child").read_text()))


def test_ctrl_c_kills_the_whole_group_and_leaves_no_log(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from edgecomp import tools\n"
    code += "tools.run(['sh', '-c', 'sleep 60 & echo $! > child; mv child pid; wait'], cwd=Path.cwd(), seconds=60)"
    environment = {**os.environ, "TMPDIR": str(tmp_path / "logs"), "PYTHONPATH": str(Path.cwd())}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    for _ in range(200):
        if (tmp_path / "pid").exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) != 0
    assert gone(int((tmp_path / "pid").read_text()))
    assert os.listdir(tmp_path / "logs") == []


def test_versions(tmp_path: Path) -> None:
    assert tools.version(script(tmp_path / "good", "echo welcome; echo good 1.25; exit 1")) == "good 1.25"
    assert tools.version(script(tmp_path / "mute", "echo nothing")) == "unknown"
    assert tools.version(script(tmp_path / "crash", "echo 1.2; kill -9 $$")) == "unknown"


def test_first_error_prefers_errors_and_falls_back_to_the_last_line() -> None:
    assert tools.first_error("a\n ERROR: [HLS 200] x \nerror y") == "ERROR: [HLS 200] x"
    assert tools.first_error("a\nb\n\n") == "b"
    assert tools.first_error("") == ""
    assert tools.first_error("terror and mirrors\nlast") == "last"


def test_long_output_is_cut_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "MAX_OUTPUT_BYTES", 4)
    assert tools.run(["sh", "-c", "printf 123456"], cwd=tmp_path, seconds=20).output == "3456"
