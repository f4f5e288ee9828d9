"""Options shared by several commands: --pipeline, --environment, --store."""

# No postponed annotations: modules that extend the classes do not import the names in them.
import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from cyclopts import Parameter

from ai_workflow.config import layers, loader, pipeline_folders
from ai_workflow.config.problems import ConfigError
from ai_workflow.config.settings import Settings
from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store


@Parameter(name="*")
@dataclass
class ConfigOptions:
    """Options that choose the configuration of a command.

    Args:
        pipeline: YAML file of a pipeline, or its name in `pipelines/`; that of `config/base.yaml` if not given.
        environment: Name of a file `config/NAME.yaml`; AIW_ENVIRONMENT, else development, if not given.
    """

    pipeline: Path | None = None
    environment: str | None = None

    def __post_init__(self) -> None:
        """Replace the name of a pipeline by its file, because commands hand the file to other processes."""
        if self.pipeline is None or self.pipeline.is_file():
            return
        with contextlib.suppress(ConfigError):
            found = pipeline_folders.file_of(layers.project_root(None, os.environ), str(self.pipeline))
            if found is not None:
                # Relative in the folder of the project: with `deploy --git` it is a path in the repository.
                self.pipeline = found.relative_to(Path.cwd()) if found.is_relative_to(Path.cwd()) else found

    @property
    def overrides(self) -> dict[str, str]:
        """The settings that options set."""
        return {}

    @property
    def loaded(self) -> loader.Loaded:
        """The configuration with the origin of each key."""
        return loader.load(self.pipeline, environment=self.environment, overrides=self.overrides)

    @property
    def settings(self) -> Settings:
        """The settings of the configuration."""
        return self.loaded.settings


@Parameter(name="*")
@dataclass
class CommonOptions(ConfigOptions):
    """Options that choose the configuration and the store of a command.

    Args:
        store: Root of the store, a folder or an fsspec URL; store.root of the configuration if not given.
    """

    store: str | None = None

    # Whether the command only reads, so that a folder that does not exist is an error.
    _reads_only: ClassVar[bool] = True

    def open_store(self) -> Store:
        """Return the store of `--store`, else of the configuration.

        Raises:
            StoreError: `--store` is not a folder.
        """
        if self.store is None:
            return Store(self.settings.store.root)
        return Store(self.store).require(exists=self._reads_only)

    @property
    def root(self) -> str | None:
        """The absolute root of `--store`, None if it is not given."""
        if self.store is None:
            return None
        store = self.open_store()
        return str(store.local(".")) if store.is_local else store.root

    @property
    def overrides(self) -> dict[str, str]:
        """The setting `store.root` if `--store` is given."""
        # A `${` would be a placeholder of the configuration.
        return {} if (root := self.root) is None else {"store.root": root.replace("${", "$${")}

    @property
    def registry(self) -> Registry:
        """The registry of the pipeline."""
        settings = self.settings
        return Registry(Store(settings.store.root), settings.models)


@Parameter(name="*")
@dataclass
class WritingOptions(CommonOptions):
    """Options of a command that creates the folder of the store."""

    _reads_only: ClassVar[bool] = False
