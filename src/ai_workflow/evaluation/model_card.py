"""Model card in Markdown: facts about the training, metrics beside baseline and champion, gate and plots."""

from __future__ import annotations

from typing import Any

from ai_workflow.config.settings import CLASS_METRICS
from ai_workflow.evaluation import markdown, scores
from ai_workflow.evaluation.calibration_report import CalibrationReport
from ai_workflow.evaluation.markdown import escaped
from ai_workflow.evaluation.mean_contributions import ContributionReport
from ai_workflow.evaluation.report import ClassScores, CrossValidationReport, EvaluationReport, SearchReport
from ai_workflow.evaluation.slices import Slice

_MAX_COLUMNS = 20


def render(report: EvaluationReport, version: str | None = None) -> str:
    """Return the model card of an evaluation report; `version` is None before publication."""
    parts = [
        f"# {report['pipeline']} · {version or 'candidate, not published'}",
        _facts(report),
        "## How good it is",
        _table(report),
    ]
    parts += [f"> {escaped(note)}" for note in _notes(report)]
    parts += [f"> **Warning:** {escaped(text)}" for text in report["warnings"]]
    parts.append(f"**Gate:** {escaped(report['gate']['verdict'])}")
    if report["task"] == "classification":
        parts += ["## Per class", _per_class(report["scores"]["per_class"])]
        parts += ["## Calibration", _calibration_table(calibration)] if (calibration := report["calibration"]) else []
        parts += ["## Worst slices", _worst_slices(report["slices"])] if report["slices"] else []
    if contributions := report["contributions"]:
        parts += ["## Contributions", _contributions(contributions)]
    parts += ["## Cross-validation", _folds(folds)] if (folds := report["cross_validation"]) else []
    parts += ["## Hyperparameter search", _search(search)] if (search := report["search"]) else []
    parts += ["## Plots", *(f"![{name.removesuffix('.svg')}]({name})" for name in report["plots"])]
    return "\n\n".join(parts) + "\n"


def _facts(report: EvaluationReport) -> str:
    facts = {
        "task": f"{report['task']} of {markdown.code(report['target'])}",
        "model": escaped(f"{report['kind']} ({report['library']}), {report['steps']} steps"),
        "hyperparameters": _hyperparameters(report),
        **_scoring(report),
        "rows": "{training_rows} to train, {validation_rows} to stop early, {holdout_rows} held out".format_map(report),
        "rows left out": _left_out(report),
        **_stages(report),
        **({"training rows from": " to ".join(report["period"])} if report["period"] else {}),
        "holdout": escaped(report["holdout"]),
        **_calibration(report),
        "features": f"{report['features']} from {report['columns']} columns",
        "columns used": _shortened([markdown.code(name) for name in report["used_columns"]]),
        **_derived(report),
        "columns left out": unused_columns(report),
        "trace": f"`{report['trace_id']}`",
        "data": f"`{report['data']}`",
    }
    return "\n".join(f"- **{name}**: {value}" for name, value in facts.items())


def _derived(report: EvaluationReport) -> dict[str, str]:
    names = report.get("derived_features", [])
    return {"features derived": _shortened([markdown.code(name) for name in names])} if names else {}


def _hyperparameters(report: EvaluationReport) -> str:
    given = report["hyperparameters"]
    flat = {name: value for name, value in given.items() if name != "params"} | given.get("params", {})
    return ", ".join(f"{escaped(name)} {markdown.code(value)}" for name, value in flat.items())


def _scoring(report: EvaluationReport) -> dict[str, str]:
    scoring = report["scoring"]
    if report["task"] != "classification":
        return {"quantile of quantile_loss": f"{scoring['quantile']:g}"}
    positive = scoring["positive_class"]
    if positive is None:
        return {}
    threshold = report["threshold"]
    rule = f", predicted from a probability of {threshold['value']:g} on" if threshold else ""
    return {"positive class": f"{markdown.code(positive)} (precision, recall, f1){rule}"}


def _calibration(report: EvaluationReport) -> dict[str, str]:
    calibration = report["calibration"]
    if calibration is None:
        return {}
    rows = f"{calibration['rows']} training rows that the model did not learn from"
    return {"calibration": f"{calibration['method']}, fitted on {rows}"}


def _calibration_table(calibration: CalibrationReport) -> str:
    row = "| {} | {:.4f} | {:.4f} |"
    lines = [
        row.format(name, each["brier_score"], each["log_loss"])
        for name, each in (("of the model", calibration["before"]), ("calibrated", calibration["after"]))
    ]
    return "\n".join(["| probabilities | Brier score | log loss |", "|---|---|---|", *lines])


def _folds(validation: CrossValidationReport) -> str:
    folds = validation["folds"]
    rows = ", ".join(str(fold["rows"]) for fold in folds)
    about = (
        f"{len(folds)} models, each scored on training rows that it did not learn from ({rows} rows). The features are "
        "fitted once, on all training rows."
    )
    numbers = [str(number) for number in range(1, len(folds) + 1)]
    heads = ["metric", "mean", "standard deviation", *numbers]
    lines = [about, "", f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for name in validation["mean"]:
        values = [validation["mean"][name], validation["deviation"][name], *(fold["scores"][name] for fold in folds)]
        lines.append(f"| {' | '.join([name, *map(scores.format_score, values)])} |")
    return "\n".join(lines)


def _search(search: SearchReport) -> str:
    best, names = search["best"], list(search["best"]["params"])
    failed = f", {search['failed']} failed" if search["failed"] else ""
    about = (
        f"{search['trials']} trials{failed}, each scored on {search['rows']} training rows that its models did not "
        f"learn from. The best is trial {best['number']}, with {escaped(search['metric'])} "
        f"{scores.format_score(best['value'])}; the model has its parameters, and learned from all training rows."
    )
    heads = ["trial", escaped(search["metric"]), *map(escaped, names)]
    lines = [about, "", f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for trial in search["top"]:
        cells = [str(trial["number"]), scores.format_score(trial["value"])]
        lines.append(f"| {' | '.join(cells + [markdown.code(trial['params'][name]) for name in names])} |")
    return "\n".join(lines)


def _left_out(report: EvaluationReport) -> str:
    left_out = report["left_out"]
    reasons = {
        "rejected": left_out["rejected"],
        "without target": left_out["without_target"],
        "duplicates": left_out["duplicates"],
    }
    return ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count) or "none"


def _stages(report: EvaluationReport) -> dict[str, str]:
    """Return the added stages with the numbers of rows that they dropped, if there are any."""
    stages = [f"{markdown.code(name)} ({dropped} rows dropped)" for name, dropped in report.get("stages", {}).items()]
    note = "a request to the service has the columns that they return"
    return {"stages of own code": f"{', '.join(stages)}; {note}"} if stages else {}


def unused_columns(report: EvaluationReport) -> str:
    """Return the columns that are no features with the reasons, as Markdown."""
    return _shortened([f"{markdown.code(name)} ({reason})" for name, reason in report["unused_columns"].items()])


def _shortened(texts: list[str]) -> str:
    """Return the first texts and the number of the others."""
    more = [f"{len(texts) - _MAX_COLUMNS} more"] if len(texts) > _MAX_COLUMNS else []
    return ", ".join(texts[:_MAX_COLUMNS] + more) or "none"


def _table(report: EvaluationReport) -> str:
    champion = report["stable"]
    heads = ["metric", "this model", "baseline"] + ([champion["version"]] if champion else [])
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for name in report["baseline"]:
        cells = [name + (" (judged)" if name == report["gate"]["metric"] else "")]
        cells += [scores.format_score(report["scores"][name]), scores.format_score(report["baseline"][name])]
        cells += [scores.format_score(champion["scores"].get(name))] if champion else []
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _notes(report: EvaluationReport) -> list[str]:
    notes = [
        f"Memory ran short: {quantity} were reduced from {requested} to {used}, so that this model may differ from one "
        "made where there is more."
        for quantity, (requested, used) in report["reduced"].items()
    ]
    accuracy = report["scores"].get("accuracy")
    if accuracy is not None:
        low, high = scores.wilson_interval(accuracy, report["holdout_rows"])
        notes.append(
            f"With {report['holdout_rows']} rows held out, the accuracy is between {low:.1%} and {high:.1%} "
            "(95 % Wilson interval)."
        )
    if report["stable"] and report["stable"]["note"]:
        notes.append(report["stable"]["note"])
    return notes


def _per_class(lines: list[ClassScores]) -> str:
    own = {name for line in lines for name in line} - {"class", "support", *CLASS_METRICS}
    names = [*CLASS_METRICS, *sorted(own)]
    rows = [f"| {' | '.join(['class', *names, 'rows'])} |", f"|{'---|' * (len(names) + 2)}"]
    for line in lines:
        values: dict[str, Any] = {**line}
        cells = [f"{values[name]:.3f}" if name in values else "–" for name in names]
        rows.append(f"| {' | '.join([escaped(line['class']), *cells, str(line['support'])])} |")
    return "\n".join(rows)


def _contributions(found: ContributionReport) -> str:
    about = (
        "Mean absolute contribution of each column to the raw score of the model (SHAP values; log-odds for classes), "
        f"on {found['rows']} of the rows held out."
    )
    shown, more = found["columns"][:_MAX_COLUMNS], len(found["columns"]) - _MAX_COLUMNS
    rows = [f"| {escaped(each['column'])} | {each['mean_absolute']:.4g} |" for each in shown]
    rest = [f"| {more} more | |"] if more > 0 else []
    return "\n".join([about, "", "| column | mean absolute contribution |", "|---|---|", *rows, *rest])


def _worst_slices(found: list[Slice]) -> str:
    about = (
        "Parts of the holdout whose accuracy is below that of all rows (95 % Wilson bounds). Of many parts, a few are "
        "low by chance."
    )
    head = [
        about,
        "",
        "| rows with | rows | accuracy | from | to |",
        "|---|---|---|---|---|",
    ]
    row = "| {name} | {rows} | {accuracy:.1%} | {lower:.1%} | {upper:.1%} |"
    return "\n".join(head + [row.format_map({**each, "name": escaped(each["slice"])}) for each in found])
