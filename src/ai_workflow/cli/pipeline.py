"""`ai-workflow pipeline`: the pipelines in `pipelines/`, and their deployments in prefect.yaml."""

from __future__ import annotations

from cyclopts import App

from ai_workflow.config import project, project_pipelines

app = App(name="pipeline", help="List the pipelines of pipelines/, and write their deployments to prefect.yaml.")


@app.command(name="list")
def list_pipelines() -> None:
    """List the pipelines with their task, source and trainer."""
    pipelines = project_pipelines.load(project.root())
    if not pipelines:
        print(f"{project.root()} has no pipelines/<name>/pipeline.yaml")
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
