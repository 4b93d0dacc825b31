"""Options of the first-party trackers; this module imports nothing heavy."""

from __future__ import annotations

from recurra import Field, FilePath, TrackerOptions


class FolderOptions(TrackerOptions):
    """What every tracker has that writes files."""

    folder: FilePath | None = Field(
        None,
        description=(
            "where each run gets a folder of its own, by its task and number; left out, it is"
            " inside the run's"
        ),
    )


class CsvOptions(FolderOptions):
    """Options of the table."""


class SampledOptions(TrackerOptions):
    """What every tracker has that takes texts."""

    samples: bool = Field(
        True,
        description="whether what the model generates at validations and in the end is told, too",
    )


class TensorboardOptions(SampledOptions, FolderOptions):
    """Options of TensorBoard."""


class MlflowOptions(SampledOptions):
    """Options of MLflow."""

    uri: str | None = Field(
        None,
        min_length=1,
        description=(
            "the server, as http://localhost:5000, or the store; left out, what MLFLOW_TRACKING_URI"
            " says, or what MLflow takes by itself"
        ),
    )
    experiment: str | None = Field(
        None,
        min_length=1,
        description="in which the run stands; left out, it is called after the task",
    )
    name: str | None = Field(
        None,
        min_length=1,
        description="what the run is called there; left out, its task and number",
    )
    tags: dict[str, str] = Field(default={}, description="tags of the run, each a text")
