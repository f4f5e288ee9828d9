"""`ai-workflow pipeline`: the pipelines in `pipelines/`, and their deployments in prefect.yaml."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from ai_workflow.config import project, project_pipelines
from ai_workflow.config.layers import INSTALLED_PROJECTS, project_root
from ai_workflow.local.run_report import Hints
from ai_workflow.telemetry.control_characters import escape

app = App(
    name="pipeline",
    help="Add and list the pipelines of pipelines/, and write their deployments to prefect.yaml.",
)


@app.command(name="list")
def list_pipelines() -> None:
    """List the pipelines with their task, source and trainer."""
    root = project_root(None, os.environ)
    pipelines = project_pipelines.load(root)
    if not pipelines:
        print(f"{root} has no pipelines/<name>/pipeline.yaml")
        return
    width = max(map(len, pipelines))
    for name, loaded in pipelines.items():
        settings = loaded.settings
        print(f"{name:{width}}  {settings.task} of {settings.target}  {settings.source.kind}  {settings.trainer.kind}")


@app.command
def sync() -> None:
    """Write the deployments of the pipelines to prefect.yaml; `ai-workflow deploy` then creates them."""
    # Prefect is imported only here.
    from ai_workflow.provisioning import pipeline_entries

    path = project.root() / "prefect.yaml"
    print(f"{path} changed" if pipeline_entries.sync(path) else "nothing changed")


@app.command
def add(
    name: str,
    *,
    table: Annotated[Path, Parameter(name="--from")],
    target: str | None = None,
    id_: Annotated[str | None, Parameter(name="--id")] = None,
    task: Literal["classification", "regression"] | None = None,
    sheet: str | None = None,
) -> None:
    """Write pipelines/NAME/pipeline.yaml for a table, with its source, target and id, and suggestions as comments.

    Args:
        name: Name of the pipeline and its folder.
        table: CSV, Parquet, JSON lines or Excel file.
        target: Column to predict; one with the name of a target, such as label, or the only candidate if not given.
        id_: Column that names a row; a column such as id or customer_id with unique values if not given.
        task: By the values of the target if not given.
        sheet: Sheet of a workbook that has several with rows.
    """
    from ai_workflow.new_pipeline import creation, pipeline_file

    added = creation.create(_root(), name, table, target, id_, task, sheet)
    print(f"{added.file}: {added.table.rows} rows, {len(added.table.columns)} columns with values")
    print(escape(f"    target  {added.roles.target.name}: {added.roles.task}, {added.roles.target.reason}"))
    if added.roles.id:
        print(escape(f"        id  {added.roles.id.name}: {added.roles.id.reason}"))
    if count := len(pipeline_file.doubts(added.table, added.roles)):
        print(f"    doubts  {count}, as comments at the end of the file")
    print(f"configuration ok: pipeline {added.settings.pipeline}, environment {added.settings.environment}")
    print(f"     train  {Hints(pipeline=os.path.relpath(added.file)).make('run')}")
    print("    deploy  ai-workflow pipeline sync, then ai-workflow deploy")


def _root() -> Path:
    """Return the folder of the project; the current folder if only the installed package has one."""
    root = project.root()
    return Path.cwd() if root == INSTALLED_PROJECTS[-1] else root
