"""The model card: what a found model is, what is known of it and what is not, as Markdown."""

from graphs import Topology
from graphs.plan import lower
from nas.experiment import Experiment
from nas.findings import Findings
from nas.pricing import priced
from nas.records import Trial
from nas.units import describe, show


def card(
    experiment: Experiment,
    trial: Trial,
    topology: Topology,
    run: str,
    findings: Findings | None = None,
    *,
    test_accuracy: float | None = None,
) -> str:
    """The card of a run's winner. ``test_accuracy`` is that of these very weights, where it was measured."""
    cost = priced(experiment, topology).cost
    rows = [
        ("data", f"{experiment.data.kind}, {experiment.backbone.kind} backbone, dim {experiment.backbone.dim}"),
        ("validation accuracy (selected by it)", show("accuracy", trial.accuracy)),
        *([] if test_accuracy is None else [("test accuracy", show("accuracy", test_accuracy))]),
        ("inference cost", f"{show('flops', cost.flops)}, of which wiring {show('flops', cost.wiring_flops)}"),
        ("parameters", f"{cost.parameters:,}, of which wiring {cost.wiring_parameters:,}"),
        ("trained for", f"{experiment.train.budget_gflops:g} GFLOPs"),
    ]
    if findings is None:
        known = [
            "One training run on one seed: confirm on fresh seeds before relying on a difference. The validation",
            "accuracy chose this model among many and is optimistic"
            + ("." if test_accuracy is None else "; the test accuracy is not."),
        ]
    else:
        known = [f"- {line[0].upper()}{line[1:]}" for line in findings.sentences()]
    return "\n".join(
        [
            f"# {experiment.name}: {topology}",
            "",
            f"Found by `wireloom search` in `{run}`: {describe(trial)}.",
            f"Trial {trial.number}, digest `{trial.digest}`, seed {trial.seed}.",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in rows),
            "",
            "## What is known of it",
            "",
            *known,
            "",
            "## What is not",
            "",
            f"It was found and measured on {experiment.data.kind}, at dim {experiment.backbone.dim} and depth",
            f"{topology.depth}. Whether its wiring helps elsewhere, at other sizes or longer trainings was not tried.",
            "",
            "```",
            str(lower(topology)),
            "```",
            "",
        ]
    )


def trained_card(
    experiment: Experiment,
    topology: Topology,
    *,
    seed: int,
    steps: int,
    accuracy: float,
    loss: float,
    test_accuracy: float,
    test_loss: float,
    **others: object,
) -> str:
    """The card of a topology that was trained by itself; losses in nats per label."""
    cost = priced(experiment, topology).cost
    rows = [
        ("data", f"{experiment.data.kind}, {experiment.backbone.kind} backbone, dim {experiment.backbone.dim}"),
        ("validation accuracy, loss", f"{show('accuracy', accuracy)}, {loss:.4g}"),
        ("test accuracy, loss", f"{show('accuracy', test_accuracy)}, {test_loss:.4g}"),
        ("inference cost", f"{show('flops', cost.flops)}, of which wiring {show('flops', cost.wiring_flops)}"),
        ("parameters", f"{cost.parameters:,}, of which wiring {cost.wiring_parameters:,}"),
        ("trained for", f"{experiment.train.budget_gflops:g} GFLOPs, {steps:,} steps of {experiment.train.batch}"),
    ]
    return "\n".join(
        [
            f"# {experiment.name}: {topology}",
            "",
            f"Trained by `wireloom train`. Digest `{topology.digest}`, seed {seed}.",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in rows),
            "",
            "One training run on one seed: confirm on fresh seeds before relying on a difference. The test split was",
            "opened once, after training; a validation accuracy by which this topology was chosen is optimistic.",
            "",
            "```",
            str(lower(topology)),
            "```",
            "",
        ]
    )
