"""The command line: what it calls, what it prints where, and every exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace

import click
import pytest

from edgecomp import cli
from edgecomp.bundle import Bundle
from edgecomp.errors import (
    DataError,
    DiskError,
    EdgecompError,
    Exit,
    InexpressibleError,
    MismatchError,
    ModelError,
    Problem,
    ToolError,
    UsageError,
    raise_all,
)
from edgecomp.report import Report, plain, render, to_json
from edgecomp.talk import Talk
from tests.reports import small_report

TOP = Path(__file__).resolve().parent.parent


class Flow(ModuleType):
    """A stand-in for edgecomp.pipeline that records what it is asked and fails as told."""

    def __init__(self) -> None:
        super().__init__("edgecomp.pipeline")
        self.failing: BaseException | None = None
        self.problems: tuple[Problem, ...] = ()
        self.doubts: tuple[str, ...] = ()
        self.report: Report = small_report()
        self.asked: SimpleNamespace = SimpleNamespace()
        self.BuildRequest = SimpleNamespace

    def build(self, request: SimpleNamespace, progress: Talk) -> SimpleNamespace:
        self.asked = request
        progress.stage("reading")
        if self.failing:
            raise self.failing
        return SimpleNamespace(folder=Path("build/net-fpga"), report=self.report)

    def check(self, model: Path, target: str, settings: Mapping[str, str]) -> tuple[str, ...]:
        self.asked = SimpleNamespace(model=model, target=target, settings=settings)
        raise_all(InexpressibleError, self.problems)
        return self.doubts

    def verify(self, folder: Path, *, locate: bool, progress: Talk) -> str:
        self.asked = SimpleNamespace(folder=folder, locate=locate)
        progress.stage("simulating")
        if self.failing:
            raise self.failing
        return "256 samples, no difference"


@pytest.fixture
def flow(monkeypatch: pytest.MonkeyPatch) -> Flow:
    stand_in = Flow()
    monkeypatch.setitem(sys.modules, "edgecomp.pipeline", stand_in)
    monkeypatch.setattr("edgecomp.pipeline", stand_in, raising=False)
    return stand_in


def program(*arguments: str, cwd: Path = TOP, **environment: str) -> subprocess.CompletedProcess[str]:
    code = "from edgecomp.cli import entry; entry()"
    command = [sys.executable, "-c", code, *arguments]
    variables = {**os.environ, "PYTHONPATH": str(TOP), **environment}
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=60, check=False)


def test_build_hands_everything_on_and_ends_with_the_path(flow: Flow, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["build", "m.onnx", "--target", "fpga", "--flow", "hls", "--out", "o", "--data", "d.npz"]
    assert cli.main([*arguments, "--set", "a=1", "--set", "b=2", "--synth", "--cosim"]) == Exit.DONE
    assert vars(flow.asked) == {
        "model": Path("m.onnx"), "target": "fpga", "flow": "hls", "out": Path("o"), "data": Path("d.npz"),
        "settings": {"a": "1", "b": "2"}, "synth": True, "cosim": True,
    }  # fmt: skip
    out, err = capsys.readouterr()
    assert out == render(flow.report) + "\nbuild/net-fpga\n"
    assert re.fullmatch(r"\[ +\d+\.\d s\] reading\n", err)


def test_build_without_arguments_leaves_all_to_the_project_file(flow: Flow) -> None:
    assert cli.main(["build"]) == Exit.DONE
    assert vars(flow.asked) == {
        "model": None, "target": None, "flow": None, "out": None, "data": None,
        "settings": {}, "synth": False, "cosim": False,
    }  # fmt: skip


def test_build_as_json(flow: Flow, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["build", "--json"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out) == {"bundle": "build/net-fpga", "report": plain(flow.report)}


def test_a_part_that_is_too_small_is_a_mismatch_after_the_report(
    flow: Flow, capsys: pytest.CaptureFixture[str]
) -> None:
    flow.report = small_report(fits=False)
    assert cli.main(["build"]) == Exit.MISMATCH
    out, err = capsys.readouterr()
    assert out.endswith("\nbuild/net-fpga\n")
    assert err.splitlines()[1:] == ["error: build/net-fpga: LUT: 60,000 of 53,200"]


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (MismatchError("differs", where="n", hint="h"), 1, "error: n: differs\n  hint: h\n"),
        (UsageError("what"), 2, "error: what\n"),
        (ModelError("what"), 2, "error: what\n"),
        (DataError("what"), 2, "error: what\n"),
        (EdgecompError("", problems=[Problem(what="a"), Problem(what="b", where="w")]), 2, "error: a\nerror: w: b\n"),
        (InexpressibleError("what"), 3, "error: what\n"),
        (ToolError("what"), 4, "error: what\n"),
        (DiskError("what"), 5, "error: what\n"),
        (RuntimeError("x\ny"), 70, f"internal error: RuntimeError: x\n  hint: {cli.BUG}\n"),
        (AssertionError(), 70, f"internal error: AssertionError: \n  hint: {cli.BUG}\n"),
        (KeyboardInterrupt(), 130, "interrupted; nothing half-written is left\n"),
        (MemoryError(), 2, "error: out of memory\n  hint: give fewer samples with --data, or a smaller model\n"),
        (UsageError("\x1b[2Jevil\r"), 2, "error: \\x1b[2Jevil\\r\n"),
    ],
)
def test_exit_codes_and_messages(
    flow: Flow, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, text: str
) -> None:
    flow.failing = error
    assert cli.main(["build"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.partition("\n")[2] == text


@pytest.mark.parametrize("arguments", [["--debug", "build"], ["build", "--debug"]])
def test_debug_shows_the_traceback(flow: Flow, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    flow.failing = UsageError("what")
    assert cli.main(arguments) == Exit.USAGE
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["biuld"], r"Error: No such command 'biuld'\. Did you mean 'build'\?"),
        (["compress"], "there are: build, check, doctor, explore, quantize, report, targets, train, verify"),
        (["build", "--taget", "x"], r"Error: No such option '--taget'\. \(Did you mean one of: .*'--target'\?\)"),
        (["build", "a", "b"], r"Error: Got unexpected extra argument \(b\)"),
        (["check", "m"], r"Error: Missing option '--target'\."),
        (["check"], r"Error: Missing argument 'MODEL'\."),
        (["report"], r"Error: Missing argument 'DIR\.\.\.'\."),
        (["build", "--set", "x"], "error: --set: 'x' is not of the form key=value"),
    ],
)
def test_bad_arguments(flow: Flow, capsys: pytest.CaptureFixture[str], arguments: list[str], text: str) -> None:
    assert cli.main(arguments) == Exit.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert any(re.fullmatch(text, line) for line in err.splitlines()), err


def test_check(flow: Flow, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "m.onnx", "--target", "fpga", "--set", "a=1"]) == Exit.DONE
    assert vars(flow.asked) == {"model": Path("m.onnx"), "target": "fpga", "settings": {"a": "1"}}
    assert capsys.readouterr().out == "m.onnx: nothing stands in the way of fpga\n"
    flow.doubts = ("9 LUT of 8 (estimate)", "7 FF of 6 (estimate)")
    assert cli.main(["check", "m.onnx", "--target", "fpga"]) == Exit.DONE
    said = "fpga refuses nothing, but it is foretold not to fit"
    assert capsys.readouterr().out == f"m.onnx: {said}: 9 LUT of 8 (estimate); 7 FF of 6 (estimate)\n"
    flow.problems = (Problem(what="bad", where="n1", hint="h"), Problem(what="worse", where="n2"))
    assert cli.main(["check", "m.onnx", "--target", "fpga"]) == Exit.INEXPRESSIBLE
    assert capsys.readouterr() == ("", "error: n1: bad\n  hint: h\nerror: n2: worse\n")


def test_verify(flow: Flow, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = Bundle(files={"golden/labels.npy": b"1"}).write(tmp_path / "b", hashes={})
    assert cli.main(["verify", str(folder), "--locate"]) == Exit.DONE
    assert vars(flow.asked) == {"folder": folder, "locate": True}
    assert capsys.readouterr().out == "256 samples, no difference\n"
    (folder / "golden/labels.npy").write_bytes(b"2")
    assert cli.main(["verify", str(folder)]) == Exit.MISMATCH
    out, err = capsys.readouterr()
    assert out == "256 samples, no difference\n"
    assert re.search(r"^warning: \S+labels.npy: is not as it was built$", err, re.MULTILINE)
    assert re.search(r"^error: \S+labels.npy: is not as it was built$", err, re.MULTILINE)


def test_verify_of_another_folder(flow: Flow, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["verify", str(tmp_path)]) == Exit.USAGE
    assert re.fullmatch(r"error: \S+: is no bundle of edgecomp\n  hint: .+\n", capsys.readouterr().err)


def test_reports(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    for folder, cycles in ((a, 9), (b, 20)):
        Bundle(files={"report.json": to_json(small_report(cycles=cycles)).encode()}).write(Path(folder), hashes={})
    assert cli.main(["report", a]) == Exit.DONE
    assert capsys.readouterr().out == render(small_report())
    assert cli.main(["report", a, b]) == Exit.DONE
    assert re.search(r"^latency +9 cycles.+20 cycles", capsys.readouterr().out, re.MULTILINE)
    assert cli.main(["report", a, b, "--json"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out)[b] == plain(small_report(cycles=20))
    assert cli.main(["report", str(tmp_path)]) == Exit.USAGE


def test_a_report_as_a_page(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder, file = tmp_path / "a", tmp_path / "page.html"
    Bundle(files={"report.json": to_json(small_report()).encode()}).write(folder, hashes={"model": "ab12"})
    assert cli.main(["report", str(folder), "--html"]) == Exit.DONE
    said = capsys.readouterr().out
    assert said.startswith("<!DOCTYPE html>")
    assert "ab12" in said
    assert cli.main(["report", str(folder), "--html", "--out", str(file)]) == Exit.DONE
    assert capsys.readouterr().out == f"{file}\n"
    assert file.read_text() == said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "page.html"]


@pytest.mark.parametrize(
    ("options", "code", "fault"),
    [
        (("--html", "--json"), Exit.USAGE, "--json and --html: gives one form at a time\n  hint: leave one .+"),
        (("--out", "x.html"), Exit.USAGE, "--out: is for a page only\n  hint: add --html, or .+"),
        (("--html", "--out", "."), Exit.USAGE, r"\.: is a folder, not a file to write\n  hint: give a file's name"),
        (("--html", "--out", "no/x.html"), Exit.DISK, r"no/x\.html: cannot write the file: No such file or .+\n.+"),
    ],
)
def test_a_page_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...], code: Exit, fault: str,
) -> None:  # fmt: skip
    Bundle(files={"report.json": to_json(small_report()).encode()}).write(tmp_path / "a", hashes={})
    monkeypatch.chdir(tmp_path)
    assert cli.main(["report", "a", *options]) == code
    assert re.fullmatch(f"error: {fault}\n", capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_targets(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["targets"]) == Exit.DONE
    said = capsys.readouterr().out
    assert re.search(r"^xcvu13p +default of fpga +xcvu13p-flga2577-2-e +6\.25 +1,728,000", said, re.M)
    assert re.search(r"^egfet +default of printed +200 +1, 0\.8, 0\.6 ", said, re.M)
    assert cli.main(["targets", "--json"]) == Exit.DONE
    found = json.loads(capsys.readouterr().out)
    assert sorted(found) == ["avr", "cortex_m0", "cortex_m3", "cortex_m4", "ecp5_25k", "ecp5_85k", "egfet", "host",
                             "ice40hx8k", "ice40up5k", "rv32imc", "xc7a35t", "xc7z020", "xcu250", "xcvu13p",
                             "xczu7ev"]  # fmt: skip
    assert found["xc7z020"]["lut"] == 53200
    assert found["host"]["compiler"] == "gcc"


def test_doctor_fails_only_where_something_required_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["doctor"]) == Exit.DONE
    assert re.search(r"^numpy +\d", capsys.readouterr().out, re.MULTILINE)
    monkeypatch.setenv("PATH", "")
    assert cli.main(["doctor"]) == Exit.TOOL
    out, err = capsys.readouterr()
    assert re.search(r"^g\+\+ +missing", out, re.MULTILINE)
    assert re.search(r"^optional: vitis-run: vitis-run is not on the PATH$", err, re.MULTILINE)
    assert re.search(r"^error: g\+\+: g\+\+ is not on the PATH$", err, re.MULTILINE)


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["-h"], ["build", "--help"], ["--version"]):
        assert cli.main(arguments) == Exit.DONE
        assert "edgecomp" in capsys.readouterr().out
    assert cli.main([]) == Exit.USAGE


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    heavy = ("numpy", "onnx", "onnxruntime", "torch", "hls4ml", "brevitas")
    code = (
        f"import sys; from edgecomp import cli; cli.main(['--help']); print([m for m in {heavy} if m in sys.modules])"
    )
    times = []
    for _ in range(3):
        start = time.monotonic()
        run = subprocess.run([sys.executable, "-c", code], cwd=TOP, capture_output=True, text=True, check=True)
        times.append(time.monotonic() - start)
        assert run.stdout.splitlines()[-1] == "[]"
    assert min(times) < 0.5


def test_the_program_ends_with_the_exit_code() -> None:
    assert program("targets").returncode == 0
    run = program("report", "nowhere")
    assert run.returncode == 2
    assert run.stdout == ""
    assert re.fullmatch(r"error: nowhere: holds no report: .+\n  hint: .+\n", run.stderr)


def test_a_reader_that_has_gone_is_no_failure() -> None:
    shell = f"{sys.executable} -c 'from edgecomp.cli import entry; entry()' targets"
    run = subprocess.run(["bash", "-c", f"{shell} | true; exit ${{PIPESTATUS[0]}}"], cwd=TOP, capture_output=True,
                         text=True, timeout=60, check=False)  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_a_disk_error() -> None:
    shell = f"{sys.executable} -c 'from edgecomp.cli import entry; entry()' targets > /dev/full"
    run = subprocess.run(["bash", "-c", shell], cwd=TOP, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 5
    assert run.stderr == "error: cannot write to standard output: No space left on device\n"


def test_talk_that_nobody_reads_does_not_stop_the_work(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, err: bool = False) -> None:
        if err:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("click.echo", closed)
    assert cli.main(["build"]) == Exit.DONE


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_clear_up_and_end_with_their_code(tmp_path: Path, sent: signal.Signals, code: int) -> None:
    body = (
        "import sys, types; from pathlib import Path; from edgecomp import cli, tools\n"
        "def build(request, progress):\n"
        "    try: tools.run(['sh', '-c', 'touch started; sleep 60'], cwd=Path.cwd(), seconds=60)\n"
        "    finally: Path('cleared').touch()\n"
        "module = types.SimpleNamespace(build=build, BuildRequest=dict)\n"
        "import edgecomp; edgecomp.pipeline = sys.modules['edgecomp.pipeline'] = module\n"
        "sys.argv = ['edgecomp', 'build']; cli.entry()"
    )
    environment = {**os.environ, "PYTHONPATH": str(TOP), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", body], cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    for _ in range(200):
        if (tmp_path / "started").exists():
            break
        time.sleep(0.05)
    process.send_signal(sent)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert b"Traceback" not in err
    assert sorted(os.listdir(tmp_path)) == ["cleared", "started"]


def options_of(command: click.Command) -> set[str]:
    return {name for given in command.params if isinstance(given, click.Option) for name in given.opts}


def test_readme_and_the_program_have_the_same_commands_and_options() -> None:
    text = (TOP / "README.md").read_text("utf-8")
    assert set(re.findall(r"`edgecomp (\w+)", text)) == set(cli.cli.commands)
    known = set().union(*(options_of(command) for command in cli.cli.commands.values()))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", re.sub(r"```sh.*?```", "", text, flags=re.DOTALL)))
    assert named == known


def test_readme_has_every_exit_code_and_setting() -> None:
    from edgecomp.backends.hls.options import SETTINGS
    from edgecomp.backends.mcu import SETTINGS as MCU_SETTINGS
    from edgecomp.backends.rtl.options import SETTINGS as RTL_SETTINGS
    from edgecomp.pipeline import OWN_SETTINGS

    text = (TOP / "README.md").read_text("utf-8")
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", text, flags=re.MULTILINE)}
    assert codes == {int(code) for code in Exit}
    table = text.partition("| setting |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (`[^|]*) \|", table, flags=re.MULTILINE)
    assert set(re.findall(r"`([^`]+)`", " ".join(cells))) == {*SETTINGS, *RTL_SETTINGS, *MCU_SETTINGS, *OWN_SETTINGS}


def test_readme_has_every_operator() -> None:
    from edgecomp.frontend.lower import OPERATORS

    text = (TOP / "README.md").read_text("utf-8").partition("A model may have these operators")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([A-Z]\w+)`", text)) == set(OPERATORS)


def test_a_bar_on_a_terminal_and_lines_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    talk = Talk()
    for done in range(1, 101):
        talk.advance(done, 100, "steps")
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("] ")[2] for line in lines] == ["1 of 100 steps", "100 of 100 steps"]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    talk = Talk()
    for done in range(1, 101):
        talk.advance(done, 100, "steps")
    drawn = capsys.readouterr().err
    assert drawn.startswith("\r[" + "." * 30 + "] 1 of 100 steps")
    assert drawn.endswith("\r[" + "#" * 30 + "] 100 of 100 steps\x1b[K\n")
