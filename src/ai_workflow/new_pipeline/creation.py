"""Creation of a pipeline folder: complete and checked, or not at all."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ai_workflow.config import loader, pipeline_folders
from ai_workflow.config.pipeline_folders import PipelineFolder
from ai_workflow.config.settings import Settings
from ai_workflow.errors import AiWorkflowError
from ai_workflow.new_pipeline import pipeline_file, roles, table_columns, table_source
from ai_workflow.new_pipeline.roles import Roles, Task
from ai_workflow.new_pipeline.table_columns import Table


class PipelineFolderError(AiWorkflowError):
    """The folder of a pipeline cannot be created."""


@dataclass(frozen=True, slots=True)
class NewPipeline:
    """A created pipeline: its file, its table, the roles of the columns, and its checked settings."""

    file: Path
    table: Table
    roles: Roles
    settings: Settings


def create(
    root: Path,
    name: str,
    table_file: Path,
    target: str | None = None,
    id_: str | None = None,
    task: Task | None = None,
    sheet: str | None = None,
) -> NewPipeline:
    """Create `pipelines/<name>/pipeline.yaml` for a table.

    Args:
        root: the folder of the project.
        name: the name of the pipeline.
        table_file: the file of the table.
        target: the target; the column with the name of a target if not given.
        id_: the id; a column with the name of an id and unique values, if there is one and it is not given.
        task: the task; by the values of the target if not given.
        sheet: the sheet of a workbook with several.

    Raises:
        PipelineFolderError: the name is not valid, or the folder exists.
        AiWorkflowError: the table cannot be read, or its target is not clear.
        ConfigError: the configuration of the project is not valid.
    """
    folder = (root / PipelineFolder(name).file).parent
    _check_name(name, folder)
    source = table_source.detect(table_file, sheet)
    table = table_columns.read(source)
    found = roles.find(table, target, id_, task)
    text = pipeline_file.render(name, folder, table_file, source, table, found)
    try:
        _write(text, folder)
    except OSError as error:
        raise PipelineFolderError(f"{folder} cannot be written: {error.strerror}. Correct {folder.parent}") from error
    file = folder / pipeline_folders.FILE
    return NewPipeline(file, table, found, loader.load(file).settings)


def _write(text: str, folder: Path) -> None:
    """Create a folder with a pipeline file if the configuration with it is valid.

    Raises:
        ConfigError: it is not.
    """
    is_first = not folder.parent.exists()
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the folder, so that relative paths in the file mean the same.
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        file = temporary / pipeline_folders.FILE
        file.write_text(text, encoding="utf-8")
        loader.load(file)
        temporary.chmod(0o755)
        _check_name(folder.name, folder)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if is_first:
            with contextlib.suppress(OSError):
                folder.parent.rmdir()
        raise


def _check_name(name: str, folder: Path) -> None:
    if not pipeline_folders.NAME.fullmatch(name):
        raise PipelineFolderError(
            f"'{name}' is not a name of a pipeline: 1 to 63 of a-z, 0-9 and _, beginning with a letter. Choose another"
        )
    if folder.exists():
        raise PipelineFolderError(f"{folder} exists. Choose another name, or remove the folder")
