"""The whole flow: model in, bundle out, every code held against the interpreter before anything is written."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from edgecomp import golden, interp, oracle, vectors
from edgecomp.bundle import Bundle, check_output, digests, read_manifest
from edgecomp.check import Agreement, against_source, showing
from edgecomp.contract import contract, quantise_input, real_output
from edgecomp.data import Data, check_targets, decide_task, load_data
from edgecomp.errors import InexpressibleError, MismatchError, UsageError, raise_all
from edgecomp.export import from_onnx, to_onnx
from edgecomp.flows import Clock, Job, Progress, flow_for, same
from edgecomp.frontend import Lowered, load, read
from edgecomp.ir import Network, Output
from edgecomp.ir.text import dump
from edgecomp.passes import decides, with_argmax, with_logits
from edgecomp.project import Task, find_project, nearest, parse_task
from edgecomp.report import Report, render, to_json
from edgecomp.report.fill import Findings, fill
from edgecomp.report.html import Entry, render_html
from edgecomp.simulate import locate_hls, verify_hls, verify_script
from edgecomp.vectors import Vectors

Codes = NDArray[np.int64]

HEADS = ("logits", "argmax")
OWN_SETTINGS = ("head", "outlier", "seed", "task", "vectors")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """What the user asks for; None where the project file or a default says. `notes` go into the report.

    `approximates` is the exact network of which the model is an approximation, with the same inputs and outputs.
    """

    model: Path | None
    target: str | None
    flow: str | None
    out: Path | None
    data: Path | None
    settings: Mapping[str, str]
    synth: bool = False
    cosim: bool = False
    notes: tuple[str, ...] = ()
    approximates: Network | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model as read: its Network with the head asked for, and the source graph where it is not integer already."""

    path: Path
    content: onnx.ModelProto
    lowered: Lowered | None
    network: Network


def read_model(path: Path) -> Model:
    """A quantised ONNX model, an integer one of ours, or a bundle's folder."""
    file = path / "model" / "model.int.onnx" if path.is_dir() else path
    content = load(file)
    network = from_onnx(content)
    if network is not None:
        return Model(path=file, content=content, lowered=None, network=network)
    lowered = read(content)
    return Model(path=file, content=content, lowered=lowered, network=lowered.network)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """The written bundle: its folder, its files as they were written (all but the manifest), and its report."""

    folder: Path
    bundle: Bundle
    report: Report

    def _repr_html_(self) -> str:
        """What notebooks show: the report."""
        return self.report._repr_html_()


def number_of(settings: Mapping[str, str], key: str, default: int, most: int) -> int:
    text = settings.get(key, str(default))
    if not (text.isascii() and text.isdecimal() and int(text) <= most):
        raise UsageError(f"{key} cannot be {text}", where=f"--set {key}", hint=f"give an integer from 0 to {most}")
    return int(text)


def outlier_of(settings: Mapping[str, str]) -> float | None:
    """The difference from which a regression's result counts as lost; None where all count alike."""
    if "outlier" not in settings:
        return None
    try:
        value = float(settings["outlier"])
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        hint = "give a positive number in the target's units"
        raise UsageError(f"outlier cannot be {settings['outlier']}", where="--set outlier", hint=hint)
    return value


def split_settings(settings: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """(the flow's own settings, the back end's)."""
    own = {key: value for key, value in settings.items() if key in OWN_SETTINGS}
    return own, {key: value for key, value in settings.items() if key not in own}


def check(model: Path, target: str, settings: Mapping[str, str]) -> tuple[str, ...]:
    """Why the model is foretold not to fit; InexpressibleError with all that the flow would refuse, at once."""
    project = find_project(model)
    flow = flow_for(target, None, split_settings({**project.options, **settings})[1])
    network = read_model(project.model).network
    raise_all(InexpressibleError, flow.check(network))
    return flow.doubts(network)


def build(request: BuildRequest, progress: Progress) -> BuildResult:
    """Run the flow and write the bundle; nothing is written unless every execution agreed on every code."""
    clock = Clock(progress=progress)
    project = find_project(request.model)
    settings = {**project.options, **request.settings}
    own, rest = split_settings(settings)
    flow = flow_for(request.target or project.target or "fpga", request.flow, rest)
    flow.prepare(synth=request.synth, cosim=request.cosim)
    out = request.out or Path("build") / f"{project.name}-{flow.target.name}"
    check_output(out)
    outlier = outlier_of(own)
    with clock.stage("reading the model and making it integer"):
        model = read_model(project.model)
        plain = model.network
        raise_all(InexpressibleError, flow.check(plain))
    with clock.stage("reading the data and making vectors"):
        path = request.data or project.data
        data = None if path is None else load_data(path, {n.source or n.name: n.shape for n in plain.inputs})
        task = task_of(own, project.task, data, plain, path)
        head = head_of(own, task, flow.head)
        model = replace(model, network=with_argmax(plain) if head == "argmax" else plain)
        made = make_vectors(model, data, own)
    agreement, exported, expected = prove(model, made, clock)
    both = with_logits(plain) if head == "argmax" else None
    job = Job(network=model.network, logits=both, vectors=made, expected=expected, synth=request.synth,
              cosim=request.cosim)  # fmt: skip
    built = flow.realise(job, clock)
    labels = np.zeros(0, dtype=np.int64) if data is None or data.y is None else data.y
    original = request.approximates
    exact_codes = None if original is None else interp.outputs(original, made.inputs)
    report = fill(
        Findings(model=model.path, lowered=model.lowered, network=model.network, target=flow.target, task=task,
                 labels=labels, outlier=outlier, vectors=made, expected=expected, agreement=agreement,
                 quantised=quantised_outputs(model, made), built=built, seconds=dict(clock.seconds),
                 notes=request.notes, exact=exact_codes)
    )  # fmt: skip
    parts = (
        built.files, Bundle(files=golden.files(made.inputs, expected, labels)),
        model_files(model.network, exported, task, len(labels)),
    )  # fmt: skip
    hashes = {"model": _sha(project.model), "data": _sha(path), "options": _options(settings)}
    with clock.stage("writing the bundle"):
        whole = reduce(Bundle.merge, parts)
        bundle = whole.merge(report_files(report, out.name, whole, hashes))
        folder = bundle.write(out, hashes=hashes)
    return BuildResult(folder=folder, bundle=bundle, report=report)


def prove(model: Model, made: Vectors, clock: Clock) -> tuple[Agreement | None, onnx.ModelProto, dict[str, Codes]]:
    """What the comparison with the source found, the integer ONNX model, and the expected host codes."""
    with clock.stage("comparing with the source at every quantiser"):
        agreement = compare_with_source(model, made)
    with clock.stage("running the integer model in ONNX Runtime"):
        expected = interp.outputs(model.network, made.inputs)
        exported = to_onnx(model.network)
        same("ONNX Runtime", expected, golden.run_onnxruntime(exported, made.inputs))
    return agreement, exported, expected


def head_of(own: Mapping[str, str], task: Task, usual: str) -> str:
    """What the circuit gives: the logits, or the class; a regression has no class."""
    head = own.get("head", HEADS[0] if task is Task.REGRESSION else usual)
    if head not in HEADS:
        raise UsageError(f"head cannot be {head}", where="--set head", hint=nearest(head, HEADS))
    if head == "argmax" and task is Task.REGRESSION:
        hint = "build with head=logits; a single logit is a classifier's with --set task=classes"
        raise UsageError("a regression has no classes", where="--set head=argmax", hint=hint)
    return head


def task_of(
    own: Mapping[str, str], stated: Task | None, data: Data | None, network: Network, path: Path | None
) -> Task:
    """The task of a network that gives logits, its targets checked."""
    value = network.values()[network.outputs[0].name]
    outputs = value.greatest + 1 if decides(network) else value.size
    task = decide_task(parse_task(own["task"], where="--set task") if "task" in own else stated, data, outputs)
    if data is not None:
        check_targets(data, task, outputs, where=str(path))
    return task


def make_vectors(model: Model, data: Data | None, own: Mapping[str, str]) -> Vectors:
    """Host codes: the user's data quantised, then corners and random ones."""
    seed, count = number_of(own, "seed", 0, 1 << 31), number_of(own, "vectors", 256, 1 << 20)
    if data is None:
        return vectors.make(model.network, None, seed=seed, count=max(count, 100))
    codes = {node.name: quantise_input(node, data.x[node.source or node.name]) for node in model.network.inputs}
    return vectors.make(model.network, codes, seed=seed, count=max(count, 100))


def real_inputs(model: Model, made: Vectors) -> dict[str, NDArray[np.float64]]:
    """Real data whose host codes are the vectors: the centre of each code."""
    reals = {}
    for node in model.network.inputs:
        end = Output(
            name=node.name,
            x="",
            zero_point=node.zero_point,
            encoding=node.encoding,
            scale=node.scale,
            offset=node.offset,
        )
        reals[node.source or node.name] = real_output(end, made.inputs[node.name])
    return reals


def compare_with_source(model: Model, made: Vectors) -> Agreement | None:
    """The source graph on every vector, each of its quantisers compared; None for a model that is integer already."""
    return None if model.lowered is None else against_source(model.content, model.lowered, real_inputs(model, made))


def quantised_outputs(model: Model, made: Vectors) -> Mapping[str, NDArray[np.float64]] | None:
    """The source's own real outputs on the user's vectors, under the network's names."""
    if model.lowered is None or not made.n_user:
        return None
    reals = {name: values[: made.n_user] for name, values in real_inputs(model, made).items()}
    trace = oracle.run(showing(model.content, model.lowered.finals.values()), reals)
    return {name: trace.outputs[tensor] for name, tensor in model.lowered.finals.items()}


def model_files(network: Network, exported: onnx.ModelProto, task: Task, n_labelled: int) -> Bundle:
    """model/ and the contract."""
    head = "argmax" if decides(network) else "logits"
    ends = contract(network, task=task.value, head=head, n_labelled=n_labelled)
    return Bundle(
        files={
            "model/model.int.onnx": exported.SerializeToString(deterministic=True),
            "model/network.txt": dump(network).encode(),
            "io_contract.json": (json.dumps(ends, indent=1) + "\n").encode(),
        }
    )


def report_files(report: Report, name: str, rest: Bundle, hashes: Mapping[str, str]) -> Bundle:
    """The report in its three forms; the page lists the hashes of `rest`, the bundle's other files, as well."""
    page = render_html([Entry(name=name, report=report, inputs=hashes, files=digests(rest))])
    texts = {"report.json": to_json(report), "report.txt": render(report), "report.html": page}
    return Bundle(files={name: text.encode() for name, text in texts.items()})


def _sha(path: Path | None) -> str:
    if path is None:
        return ""
    file = path / "model" / "model.int.onnx" if path.is_dir() else path
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _options(settings: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()


def verify(folder: Path, *, locate: bool, progress: Progress) -> str:
    """Run a bundle's simulations again; MismatchError with what the testbench says where one fails."""
    if read_manifest(folder) is None:
        raise UsageError("this folder is no bundle of edgecomp", where=str(folder))
    if not (folder / "hls").is_dir():
        if locate:
            raise UsageError("only an HLS bundle can be traced layer by layer", where="--locate")
        part = next(name for name in ("rtl", "mcu", "printed") if (folder / name).is_dir() or name == "printed")
        progress.stage("running the bundle's testbench")
        return verify_script(folder, part)
    progress.stage("compiling and running the C simulation")
    if not locate:
        return verify_hls(folder)
    model = read_model(folder)
    inputs = {node.name: np.load(folder / "golden" / "inputs" / f"{node.name}.npy") for node in model.network.inputs}
    found = locate_hls(folder, model.network, inputs)
    if found is None:
        return f"{folder}: no layer differs from the interpreter"
    raise MismatchError(
        f"sample {found.sample}, {found.node}{list(found.index)}: expected {found.expected}, got {found.got}",
        where=found.node, hint="this is the first layer that differs",
    )  # fmt: skip
