"""The command line: parse, call, print. The only place that ends the program."""

from __future__ import annotations

import errno
import json
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click

from edgecomp import __version__
from edgecomp.errors import (
    EdgecompError,
    Exit,
    MismatchError,
    Problem,
    ToolError,
    UsageError,
    raise_all,
)
from edgecomp.talk import Talk, deliver, say

F = TypeVar("F", bound=Callable[..., None])
FOLDER = click.Path(path_type=Path)

BUG = "this is a bug of edgecomp; please report it with the model and the output of the same command with --debug"


def common(command: F) -> F:
    """Options of every command."""
    keep = click.option("--debug", is_flag=True, expose_value=False, callback=_set_debug, help="Show tracebacks.")
    return keep(command)


def _set_debug(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    root = context.find_root()
    root.meta["edgecomp.debug"] = wanted or root.meta.get("edgecomp.debug", False)


settings_option = click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A build option; repeat.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="edgecomp")
@common
def cli() -> None:
    """Trained, quantised classifiers into circuits and code that provably compute the same integers."""


@cli.command()
@click.argument("model", required=False, type=FOLDER, metavar="[MODEL or FOLDER]")
@click.option("--target", metavar="NAME", help="A family such as fpga, or a part; see: edgecomp targets.")
@click.option("--flow", metavar="NAME", help="How to build for the target, for instance hls.")
@click.option("--out", type=FOLDER, metavar="DIR", help="The bundle's folder  [default: build/MODEL-TARGET]")
@click.option("--data", type=FOLDER, metavar="FILE", help="An .npz file with inputs x and, optionally, targets y.")
@settings_option
@click.option("--synth", is_flag=True, help="Run the vendor's synthesis as well.")
@click.option("--cosim", is_flag=True, help="Run the vendor's co-simulation as well.")
@click.option("--json", "as_json", is_flag=True, help="Print the report and the bundle's path as JSON.")
@common
def build(
    model: Path | None,
    target: str | None,
    flow: str | None,
    out: Path | None,
    data: Path | None,
    settings: tuple[str, ...],
    synth: bool,
    cosim: bool,
    as_json: bool,
) -> None:
    """Build a bundle: sources, golden vectors that have just been run, and a report.

    Without a model, the current folder's edgecomp.toml says what to build. The last line printed is the bundle's path.
    """
    from edgecomp import pipeline
    from edgecomp.project import parse_settings
    from edgecomp.report import plain, render

    request = pipeline.BuildRequest(
        model=model,
        target=target,
        flow=flow,
        out=out,
        data=data,
        settings=parse_settings(settings),
        synth=synth,
        cosim=cosim,
    )
    result = pipeline.build(request, Talk())
    if as_json:
        deliver(json.dumps({"bundle": str(result.folder), "report": plain(result.report)}, indent=1))
    else:
        deliver(f"{render(result.report)}\n{result.folder}")
    if not result.report.verdict.fits:
        problems = [Problem(what=reason, where=str(result.folder)) for reason in result.report.verdict.reasons]
        raise MismatchError("the circuit does not fit its part", where=str(result.folder), problems=problems)


@cli.command()
@click.argument("tables", nargs=-1, required=True, type=FOLDER, metavar="DATA.csv...")
@click.option("--label", required=True, metavar="COLUMN", help="The classes' column, by name or by number from 0.")
@click.option("--target", default="printed", show_default=True, metavar="NAME", help="What the network is meant for.")
@click.option("--out", type=FOLDER, metavar="DIR", help="The example's folder  [default: build/DATA-trained]")
@click.option("--separator", metavar="TEXT", help="Between cells  [default: found out]")
@click.option("--header/--no-header", default=None, help="Whether the first row names columns  [default: found out]")
@click.option("--missing", type=click.Choice(["refuse", "drop", "median"]), default="refuse", show_default=True,
              help="What becomes of rows that lack a value.")  # fmt: skip
@click.option("--ignore", multiple=True, metavar="COLUMN", help="A column that is no feature; repeat.")
@click.option("--hidden", default="3", show_default=True, metavar="N[,N...]", help="Neurons of each hidden layer.")
@click.option("--input-bits", type=int, default=4, show_default=True, help="Bits of a scaled feature.")
@click.option("--weights", type=click.Choice(["power_of_two", "fixed_point"]), default="power_of_two",
              show_default=True, help="The form of the weights.")  # fmt: skip
@click.option("--weight-bits", type=int, default=4, show_default=True, help="Bits of a weight.")
@click.option("--hidden-bits", type=int, default=4, show_default=True, help="Bits of a hidden neuron's code.")
@click.option("--test-share", type=float, default=0.3, show_default=True, help="Share of the rows kept for the test.")
@click.option("--seed", type=int, default=0, show_default=True, help="Where the training starts.")
@common
def train(tables: tuple[Path, ...], hidden: str, out: Path | None, missing: str, weights: str, **rest: Any) -> None:
    """Train a small classifier on a table; the last line printed is a folder that `build` takes."""
    from edgecomp.quantize.mlp import Weights
    from edgecomp.quantize.train import TrainRequest, train_csv
    from edgecomp.report import table
    from edgecomp.tables import Missing

    if not all(part.strip().isdecimal() for part in hidden.split(",")):
        raise UsageError(
            f"hidden cannot be {hidden}", where="--hidden", hint="give numbers of neurons, such as 3 or 8,4"
        )
    request = TrainRequest(data=tables, out=out or Path("build") / f"{tables[0].stem}-trained",
                           hidden=tuple(int(part) for part in hidden.split(",")), missing=Missing(missing),
                           weights=Weights(weights), **rest)  # fmt: skip
    done = train_csv(request, Talk().stage)
    rows = [["", "rows", "accuracy"],
            ["training", str(done.train_rows), f"{done.train_accuracy:.4f}"],
            ["test", str(done.test_rows), f"{done.test_accuracy:.4f}"],
            ["majority class", "", f"{done.majority:.4f}"]]  # fmt: skip
    text = table(rows)
    deliver(f"{text}\n\n{done.folder}")


@cli.command()
@click.argument("model", metavar="MODEL")
@click.option("--data", type=FOLDER, required=True, metavar="FILE", help="An .npz file with inputs x and targets y.")
@click.option("--state", type=FOLDER, metavar="FILE", help="The state dict of a package.module:factory.")
@click.option("--test", type=FOLDER, metavar="FILE", help="Rows to test on  [default: a share of the data]")
@click.option("--test-share", type=float, default=0.3, show_default=True, help="Share of the rows kept for the test.")
@click.option("--out", type=FOLDER, metavar="DIR", help="The folder to build  [default: build/MODEL-PRESET]")
@click.option("--target", default="fpga", show_default=True, metavar="NAME", help="What the folder is built for.")
@click.option("--task", type=click.Choice(["classes", "regression"]), help="[default: by the type of y]")
@click.option("--preset", type=click.Choice(["int8", "int6", "int4", "binary", "pow2"]), default="int8",
              show_default=True, help="The form and widths of weights and codes.")  # fmt: skip
@click.option("--bits", multiple=True, metavar="LAYER=W[:C]", help="Bits of one layer's weights and codes; repeat.")
@click.option("--weight-bits", type=int, help="Bits of weights  [default: the preset's]")
@click.option("--code-bits", type=int, help="Bits of activations  [default: the preset's]")
@click.option("--input-bits", type=int, help="Bits of inputs  [default: the preset's]")
@click.option("--granularity", type=click.Choice(["channel", "tensor"]), help="Scales of weights  [default: channel]")
@click.option("--rounding", type=click.Choice(["round", "floor"]), help="Of activations  [default: round]")
@click.option("--scales", type=click.Choice(["float", "power_of_two"]), help="[default: float; powers with floor]")
@click.option("--equalisation", type=click.Choice(["cross_layer", "activation", "none"]), help="[default: cross_layer]")
@click.option("--bias-correction/--no-bias-correction", default=True, show_default=True, help="After calibration.")
@click.option("--sparsity", type=float, default=0.0, show_default=True, help="Share of each layer's weights left out.")
@click.option("--epochs", type=click.IntRange(0, 100_000), default=20, show_default=True,
              help="Of tuning; 0 calibrates only.")  # fmt: skip
@click.option("--rate", type=float, help="Learning rate of tuning  [default: 0.002, with binary 0.02]")
@click.option("--seed", type=click.IntRange(0, 1 << 31), default=0, show_default=True, help="What is drawn from it.")
@click.option("--json", "as_json", is_flag=True, help="Print the stages and layers as JSON.")
@common
def quantize(as_json: bool, preset: str, bits: tuple[str, ...], task: str | None, **rest: Any) -> None:
    """Quantise a trained float model; the last line printed is a folder that `build` takes.

    MODEL is a float ONNX file, or package.module:factory with --state. Tuning that was interrupted goes on from its
    checkpoint when the same command is given again.
    """
    from edgecomp.project import Task
    from edgecomp.quantize import options
    from edgecomp.quantize.run import QuantizeRequest, summary
    from edgecomp.quantize.run import quantize as run
    from edgecomp.report import table

    kinds = {"granularity": options.Granularity, "rounding": options.Rounding, "scales": options.Scales,
             "equalisation": options.Equalisation}  # fmt: skip
    chosen: dict[str, Any] = {name: None if rest[name] is None else kind(rest[name]) for name, kind in kinds.items()}
    numbers = {name: rest[name] for name in ("weight_bits", "code_bits", "input_bits", "bias_correction", "sparsity")}
    asked = options.Asked(preset=options.Preset(preset), layers=options.parse_bits(bits), **numbers, **chosen)
    others = {name: value for name, value in rest.items() if name not in chosen and name not in numbers}
    done = run(QuantizeRequest(asked=asked, task=None if task is None else Task(task), **others), Talk())
    if as_json:
        deliver(json.dumps({"folder": str(done.folder), **summary(done)}, indent=1))
        return
    measure = "accuracy" if done.task is Task.CLASSES else "root mean squared error"
    rows = [["", measure, "classes unlike the float's"]]
    rows += [[s.name, f"{s.value:.4f}", "" if s.flips is None else f"{s.flips} of {done.rows}"] for s in done.stages]
    if not rest["epochs"]:
        rows.append(["tuned", "", "not asked for (--epochs 0)"])
    layers = [["layer", "weight bits", "weights", "zero"],
              *([x.name, str(x.bits), str(x.weights), f"{x.zeros:.0%}"] for x in done.layers)]  # fmt: skip
    deliver(f"{table(rows)}\n\n{table(layers)}\n\n{done.folder}")


@cli.command()
@click.argument("model", type=FOLDER, metavar="MODEL or FOLDER")
@click.option("--target", default="printed", show_default=True, metavar="NAME", help="What to build for.")
@click.option("--budget-accuracy", "budgets", default="0.01,0.05", show_default=True, metavar="LOSS[,LOSS...]",
              help="Accuracy that may be lost on the selection data; a bundle is built for each.")  # fmt: skip
@click.option("--data", type=FOLDER, metavar="FILE", help="Labelled selection data  [default: train.npz by the model]")
@click.option("--out", type=FOLDER, metavar="DIR", help="Where all goes  [default: build/MODEL-TARGET-explored]")
@click.option("--generations", type=click.IntRange(1), help="Of the search  [default: 3000 printed, 60 elsewhere]")
@click.option("--population", type=click.IntRange(8), help="Candidates of each  [default: 200 printed, 40 elsewhere]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="What the search draws from.")
@click.option("--workers", type=click.IntRange(0, 256), default=0, help="Local processes  [default: the processors]")
@click.option("--scheduler", metavar="ADDRESS", help="A Dask cluster to score candidates on, in place of processes.")
@common
def explore(model: Path, budgets: str, **rest: Any) -> None:
    """Search for smaller, approximate circuits; the last line printed is the folder with the front and its bundles.

    Printed perceptrons lose summands, bits and comparisons; for FPGAs and microcontrollers the layers of any network
    become coarser: bits of weights and codes, small weights, channels, roundings.

    The search goes on from its last checkpoint where it was stopped.
    """
    from edgecomp.approx.explore import ExploreRequest
    from edgecomp.approx.explore import explore as run
    from edgecomp.report import table

    try:
        shares = tuple(float(part) for part in budgets.split(","))
    except ValueError as error:
        hint = "for instance 0.01,0.05"
        raise UsageError(f"budgets cannot be {budgets}", where="--budget-accuracy", hint=hint) from error
    found = run(ExploreRequest(model=model, budgets=shares, **rest), Talk())
    rows = [["loss at most", "selection accuracy", *found.costs, "bundle"]]
    rows += [[f"{budget:g}", f"{point.accuracy:.4f}", *(f"{cost:.5g}" for cost in point.measured or ()), str(folder)]
             for budget, point, _, folder in found.chosen]  # fmt: skip
    exact = ["exact", f"{found.exact.accuracy:.4f}", *(f"{cost:.5g}" for cost in found.exact.measured or ()), ""]
    checked = [["cost", "rank correlation", "measured / foretold", "median error", "measured"]]
    checked += [[c.cost, f"{c.rank:.3f}", f"{c.ratio:.3f}", f"{c.error:.1%}", str(c.count)] for c in found.checks]
    deliver(f"{table([*rows, exact])}\n\n{table(checked)}\n\n{found.folder}")


@cli.command()
@click.argument("model", type=FOLDER)
@click.option("--target", required=True, metavar="NAME", help="A family such as fpga, or a part.")
@settings_option
@common
def check(model: Path, target: str, settings: tuple[str, ...]) -> None:
    """List everything that a target would refuse of a model, at once, and say what is foretold not to fit."""
    from edgecomp import pipeline
    from edgecomp.project import parse_settings

    doubts = pipeline.check(model, target, parse_settings(settings))
    if doubts:
        deliver(f"{model}: {target} refuses nothing, but it is foretold not to fit: {'; '.join(doubts)}")
    else:
        deliver(f"{model}: nothing stands in the way of {target}")


@cli.command()
@click.argument("folder", type=FOLDER, metavar="DIR")
@click.option("--locate", is_flag=True, help="Find the first layer whose codes differ.")
@common
def verify(folder: Path, locate: bool) -> None:
    """Run a bundle's simulations again and hold every code against the golden ones."""
    from edgecomp import pipeline
    from edgecomp.bundle import audit

    changed = audit(folder)
    for problem in changed:
        say(f"warning: {problem}")
    deliver(pipeline.verify(folder, locate=locate, progress=Talk()))
    raise_all(MismatchError, changed)


@cli.command()
@click.argument("folders", nargs=-1, required=True, type=FOLDER, metavar="DIR...")
@click.option("--json", "as_json", is_flag=True, help="Print the reports as JSON, by folder.")
@click.option("--html", "as_html", is_flag=True, help="Print one self-contained page that compares them.")
@click.option("--out", type=FOLDER, metavar="FILE", help="With --html, write the page here instead.")
@common
def report(folders: tuple[Path, ...], as_json: bool, as_html: bool, out: Path | None) -> None:
    """Show the report of one bundle, or of several side by side."""
    from edgecomp.report import plain, read_report, render, side_by_side

    if as_json and as_html:
        raise UsageError("gives one form at a time", where="--json and --html", hint="leave one of them out")
    if out is not None and not as_html:
        raise UsageError("is for a page only", where="--out", hint="add --html, or send the output to a file")
    reports = {str(folder): read_report(folder) for folder in folders}
    if as_html:
        from edgecomp.bundle import write_file
        from edgecomp.report.html import page_of

        page = page_of(reports)
        if out is not None:
            write_file(out, page.encode())
        deliver(page if out is None else str(out))
    elif as_json:
        deliver(json.dumps({name: plain(found) for name, found in reports.items()}, indent=1))
    elif len(reports) == 1:
        deliver(render(next(iter(reports.values()))))
    else:
        deliver(side_by_side(reports))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print the targets as JSON, by name.")
@common
def targets(as_json: bool) -> None:
    """List what can be built for."""
    from edgecomp.backends.mcu import machines
    from edgecomp.backends.printed.library import libraries
    from edgecomp.project import families, load_target, target_names
    from edgecomp.report import plain, table
    from edgecomp.report.text import number

    found, printed = [load_target(name) for name in target_names()], libraries()
    if as_json:
        listed = {target.name: plain(target) for target in found}
        listed |= {one.name: {"name": one.name, "description": one.description, "source": one.source,
                              "period_ms": one.period_ms} for one in printed}  # fmt: skip
        listed |= {one.name: plain(one) for one in machines()}
        deliver(json.dumps(listed, indent=1))
        return
    defaults = {name: family for family, name in families().items()}
    rows = [[t.name, f"default of {defaults[t.name]}" if t.name in defaults else "", t.part, number(t.clock_ns),
             *(number(count) for count in (t.lut, t.ff, t.dsp, t.bram18)), t.description] for t in found]  # fmt: skip
    text = table([["target", "", "part", "clock ns", "LUT", "FF", "DSP", "BRAM18", ""], *rows])
    rows = [[one.name, f"default of {defaults[one.name]}" if one.name in defaults else "", number(one.period_ms),
             ", ".join(f"{v:g}" for v in one.voltages), one.description] for one in printed]  # fmt: skip
    text += "\n\n" + table([["target", "", "period ms", "V", ""], *rows])
    rows = [[one.name, f"default of {defaults[one.name]}" if one.name in defaults else "", one.compiler,
             one.description] for one in machines()]  # fmt: skip
    deliver(text + "\n\n" + table([["target", "", "compiler", ""], *rows]))


@cli.command()
@common
def doctor() -> None:
    """Show which tools and packages are there, and how to get what is missing."""
    from edgecomp.doctor import examine
    from edgecomp.report import table

    findings = examine()
    deliver(table([["", "version", "used for"], *([f.name, f.version, f.used_for] for f in findings)]))
    for finding in findings:
        if finding.problem and not finding.required:
            say(f"optional: {finding.problem}")
    raise_all(ToolError, [finding.problem for finding in findings if finding.problem and finding.required])


def entry() -> None:
    """The program `edgecomp`."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(main(sys.argv[1:]))


def _terminate(number: int, _: object) -> None:
    """End by an exception, so that scratch folders and running tools are cleared away."""
    raise SystemExit(128 + number)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; the exit code."""
    context = None
    try:
        context = cli.make_context("edgecomp", list(arguments))
        with context:
            cli.invoke(context)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except (Exception, KeyboardInterrupt) as error:
        if _debugging(context, arguments):
            say(traceback.format_exc())
        return _explain(error)
    return Exit.DONE


def _debugging(context: click.Context | None, arguments: Sequence[str]) -> bool:
    """Whether --debug was given; before there is a context, whether the arguments name it."""
    return bool(context.meta.get("edgecomp.debug")) if context else "--debug" in arguments


def _explain(error: BaseException) -> Exit:
    """Say what went wrong, in a line or two for each problem; the exit code that it stands for."""
    match error:
        case EdgecompError():
            for problem in error.problems:
                say(f"error: {problem}")
            return error.exit_code
        case click.ClickException():
            with suppress(OSError):
                error.show()
            if isinstance(error, click.exceptions.NoSuchCommand) and not error.possibilities:
                say(f"there are: {', '.join(sorted(cli.commands))}")
            return Exit.USAGE
        case KeyboardInterrupt() | click.Abort():
            say("interrupted; nothing half-written is left")
            return Exit.INTERRUPTED
        case OSError(errno=errno.ENOSPC | errno.EFBIG | errno.EDQUOT | errno.EROFS):
            say(f"error: the disk refused: {error.strerror}\n  hint: free some space, or set TMPDIR to a larger disk")
            return Exit.DISK
        case MemoryError():
            say("error: out of memory\n  hint: give fewer samples with --data, or a smaller model")
            return Exit.USAGE
        case _:
            text = str(error).partition("\n")[0]
            say(f"internal error: {type(error).__name__}: {text}\n  hint: {BUG}")
            return Exit.BUG
