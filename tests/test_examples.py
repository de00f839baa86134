"""The examples: the simulated chamber, the bound beside the networks, the committed models against their figures."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.integer import integer_outputs
from examples.muon.fit import FitOptions, fit_deflection, predict_from_position
from examples.muon.simulate import TEST_SEED, TRAIN_SEED, Chamber, Tracks, highland_mrad, rms_below, simulate

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SAMPLE = 20_000


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small train no faster on two threads, and much slower beside another process."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def results(example: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((EXAMPLES / example / "results.json").read_text())
    return found


@pytest.fixture(scope="module")
def tracks() -> Tracks:
    return simulate(SAMPLE, TEST_SEED)


@pytest.fixture(scope="module")
def fit_mrad(tracks: Tracks) -> float:
    """RMS of the tuned fit on the sample."""
    options = FitOptions(**results("muon")["fit"]["options"])
    return rms_below(fit_deflection(tracks.hits, Chamber(), options) - tracks.deflection_mrad)[0]


def test_the_simulation_is_seeded_and_a_long_sample_starts_like_a_short_one(tracks: Tracks) -> None:
    again = simulate(12_000, TEST_SEED)
    assert np.array_equal(again.hits, tracks.hits[:12_000])
    assert np.array_equal(again.deflection_mrad, tracks.deflection_mrad[:12_000])
    assert not np.array_equal(simulate(100, TRAIN_SEED).deflection_mrad, again.deflection_mrad[:100])


def test_a_minute_is_enough_for_200_000_tracks() -> None:
    start = time.process_time()
    simulate(SAMPLE, TEST_SEED)
    assert (time.process_time() - start) * 200_000 / SAMPLE < 60


def test_the_geometry_is_the_paper_s() -> None:
    chamber = Chamber()
    assert chamber.stations == (3, 2, 2)
    assert chamber.gap_z_mm[-1] - chamber.gap_z_mm[0] == 1500
    assert chamber.widths_mm()[[0, -1]] == pytest.approx([18, 20])
    assert chamber.centres_mm().shape == (7, 50)


def test_hits_and_deflections_are_as_configured(tracks: Tracks) -> None:
    chamber = Chamber()
    assert tracks.hits.shape == (SAMPLE, 7, 50)
    assert tracks.hits.dtype == np.uint8
    assert set(np.unique(tracks.hits)) == {0, 1}
    # Four standard errors of a spread, of a mean and of a share of 20,000 tracks (7 gaps each).
    assert tracks.deflection_mrad.std() == pytest.approx(chamber.deflection_mrad, rel=4 / np.sqrt(2 * SAMPLE))
    assert abs(tracks.deflection_mrad.mean()) < 4 * chamber.deflection_mrad / np.sqrt(SAMPLE)
    silent = chamber.inefficiency * (1 - chamber.noise) ** chamber.channels
    error = np.sqrt(silent / (7 * SAMPLE))
    assert (tracks.hits.sum(axis=2) == 0).mean() == pytest.approx(silent, abs=4 * error)


def test_noise_and_sharing_are_as_configured(tracks: Tracks) -> None:
    chamber = Chamber()
    silent = simulate(4000, TEST_SEED, replace(chamber, inefficiency=1.0))
    assert silent.hits.mean() == pytest.approx(chamber.noise, rel=4 / np.sqrt(silent.hits.size * chamber.noise))
    shared = simulate(4000, TEST_SEED, replace(chamber, inefficiency=0.0, noise=0.0))
    # Of a channel's width w, exp(-distance / reach) integrates to 2 * reach / w on the two sides (w >> reach).
    expected = 2 * chamber.sharing_mm / chamber.widths_mm().mean()
    assert (shared.hits.sum(axis=2) - 1).mean() == pytest.approx(expected, rel=4 / np.sqrt(28_000 * expected))


def test_a_clean_chamber_fires_once_in_every_gap() -> None:
    clean = simulate(2000, TEST_SEED, Chamber().clean())
    assert (clean.hits.sum(axis=2) == 1).all()


def test_highland_s_formula() -> None:
    one = highland_mrad(np.array([1.0, 10.0]), np.array([1.0, 0.01]))
    assert one == pytest.approx([13.6, 1.36 * 0.1 * (1 + 0.038 * np.log(0.01))])


def test_the_fit_on_clean_tracks_reaches_the_chamber_s_resolution() -> None:
    clean = simulate(SAMPLE, TEST_SEED, Chamber().clean())
    options = FitOptions(**results("muon")["fit"]["options"])
    rms, kept = rms_below(fit_deflection(clean.hits, Chamber(), options) - clean.deflection_mrad)
    assert 2.0 < rms < 2.6
    assert kept > 0.999


def test_the_position_alone_gives_nothing_away(tracks: Tracks) -> None:
    found = predict_from_position(simulate(SAMPLE, TRAIN_SEED), tracks.hits, Chamber())
    assert rms_below(found - tracks.deflection_mrad)[0] > 10
    # Without the cut of the metric it is no better than no measurement at all.
    assert (found - tracks.deflection_mrad).std() > 0.95 * Chamber().deflection_mrad


def test_rms_below_the_limit() -> None:
    rms, kept = rms_below(np.array([3.0, -4.0, 30.0, -31.0]))
    assert rms == pytest.approx(np.sqrt(12.5))
    assert kept == 0.5


def test_the_fit_s_figure_is_the_fit_s(fit_mrad: float) -> None:
    assert fit_mrad == pytest.approx(results("muon")["fit"]["fit"]["rms_mrad"], rel=0.03)


MODELS = {"detector": "model.onnx", "cnn": "cnn.onnx"}


@pytest.mark.parametrize("name", MODELS)
def test_a_committed_muon_model_gives_its_figures(name: str, tracks: Tracks, fit_mrad: float) -> None:
    figures = results("muon")[name]
    found = integer_outputs(EXAMPLES / "muon" / MODELS[name], tracks.hits)[:, 0]
    rms, kept = rms_below(found - tracks.deflection_mrad)
    # The sample is a fifth of the tracks behind the figures.
    assert rms == pytest.approx(figures["integer"]["rms_mrad"], rel=0.03)
    assert figures["integer"] == figures["quantised"]
    assert kept >= 0.99
    assert rms <= 1.05 * fit_mrad


@pytest.mark.parametrize("name", ["fit", *MODELS])
def test_the_muon_readme_states_the_figures(name: str) -> None:
    text = (EXAMPLES / "muon" / "README.md").read_text()
    for figure in results("muon")[name].values():
        if isinstance(figure, dict) and "rms_mrad" in figure:
            assert f"{figure['rms_mrad']:.3f}" in text
            assert f"{100 * figure['kept']:.3f} %" in text


def test_the_muon_data_are_the_test_tracks(tracks: Tracks) -> None:
    with np.load(EXAMPLES / "muon" / "data.npz", allow_pickle=False) as data:
        assert np.array_equal(data["x"], tracks.hits[: len(data["x"])])
        assert np.array_equal(data["y"], tracks.deflection_mrad[: len(data["y"])])


def test_the_digits_model_gives_its_accuracy() -> None:
    figures = results("digits")
    with np.load(EXAMPLES / "digits" / "data.npz", allow_pickle=False) as data:
        x, y = data["x"], data["y"]
    assert len(y) == figures["test_images"]
    found = float((integer_outputs(EXAMPLES / "digits" / "model.onnx", x).argmax(axis=1) == y).mean())
    assert round(found, 5) == figures["integer"] >= 0.97
    text = (EXAMPLES / "digits" / "README.md").read_text()
    assert [text.count(f"| {figures[stage]} |") > 0 for stage in ("float", "quantised", "integer")] == [True] * 3
    assert f"{figures['weights']:,} weights" in text


def test_the_digits_data_are_the_test_images() -> None:
    from examples.digits.train import Recipe, load_images

    training, test = load_images(Recipe())
    with np.load(EXAMPLES / "digits" / "data.npz", allow_pickle=False) as data:
        assert np.array_equal(data["x"], test.x)
        assert np.array_equal(data["y"], test.y)
    assert len(training.y) + len(test.y) == 1797


def test_digits_train_from_a_seed() -> None:
    from examples.digits.train import Recipe, load_images, predict, train

    recipe = Recipe(float_epochs=20, quantised_epochs=2, batch=512)
    images, test = load_images(recipe)
    _, quantised = train(images, recipe)
    _, again = train(images, recipe)
    logits = predict(quantised, test.x)
    assert np.array_equal(logits, predict(again, test.x))
    assert (logits.argmax(1).numpy() == test.y).mean() > 0.8


def test_an_export_that_differs_from_pytorch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from examples.digits import train as digits
    from examples.muon import export as muon
    from examples.muon.networks import PlainCnn, Widths

    x = np.ones((2, 1, 8, 8), np.float32)
    monkeypatch.setattr(digits, "execute", lambda path, x: np.full((len(x), 10), 1e3, np.float32))
    with pytest.raises(ValueError, match=r"digits\.onnx: logits differ from PyTorch by up to \d+"):
        digits.export_checked(digits.make_network(quantised=True), tmp_path / "digits.onnx", x)
    monkeypatch.setattr(muon, "execute", lambda path, hits: np.full(len(hits), 1e3))
    with pytest.raises(ValueError, match=r"cnn\.onnx: 2 of 2 outputs differ from PyTorch"):
        muon.export_checked(PlainCnn(Widths()), tmp_path / "cnn.onnx", np.zeros((2, 7, 50), np.uint8))


def tiny_training(folder: Path, tracks: Tracks) -> Any:
    """Three short stages of the plain network on 2,000 tracks."""
    from examples.muon.train import PLANS, Stage, Training

    plan = next(plan for plan in PLANS if plan.name == "cnn")
    stages = (
        Stage(name="float", epochs=2, rate=3e-3, batch=500),
        Stage(name="pruned", epochs=2, rate=1e-3, batch=500, prune=True),
        Stage(name="quantised", epochs=1, rate=1e-3, batch=1000, quantised=True),
    )
    few = Tracks(hits=tracks.hits[:2000], deflection_mrad=tracks.deflection_mrad[:2000])
    plan = replace(plan, recipe=replace(plan.recipe, tracks=2000, stages=stages))
    return Training(plan=plan, data=few, validation=few, test=few, folder=folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tracks: Tracks) -> tuple[Any, Any, dict[str, Any]]:
    from examples.muon import train

    training = tiny_training(tmp_path_factory.mktemp("straight"), tracks)
    return training, *train.train(training)


@pytest.mark.parametrize("stop_after", [1, 4])
def test_a_stopped_training_goes_on_to_the_same_network(
    tmp_path: Path,
    tracks: Tracks,
    trained: tuple[Any, Any, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    stop_after: int,
) -> None:
    from examples.muon import train

    saved = []
    save = train.save_point

    def save_then_stop(training: Any, point: dict[str, Any]) -> None:
        save(training, point)
        saved.append(point)
        if len(saved) == stop_after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "save_point", save_then_stop)
        with pytest.raises(KeyboardInterrupt):
            train.train(tiny_training(tmp_path, tracks))
    again, figures = train.train(tiny_training(tmp_path, tracks))
    _, straight, figures_of_straight = trained
    assert figures == figures_of_straight
    for name, value in straight.state_dict().items():
        assert np.array_equal(value.numpy(), again.state_dict()[name].numpy()), name


def test_pruning_reaches_its_density(trained: tuple[Any, Any, dict[str, Any]]) -> None:
    training, network, _ = trained
    weight = dict(network.named_parameters())["head.0.weight"]
    assert float((weight != 0).float().mean()) == pytest.approx(training.plan.recipe.density, abs=0.01)


def test_the_checkpoint_of_another_recipe_is_not_used(
    trained: tuple[Any, Any, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    from examples.muon import train

    training = trained[0]
    assert train.load_point(training)["stage"] == 3
    other = replace(training, plan=replace(training.plan, recipe=replace(training.plan.recipe, seed=8)))
    assert train.load_point(other)["stage"] == 0
    assert "muon-cnn.pt belongs to another recipe: starting afresh" in capsys.readouterr().out
