"""MLflow's client, imported quietly and with what its SQL store imports on first use.

The imports take four seconds of processor time together. What is not to pay for them imports this module late; what
forks for others (`experiments.warm`) imports it early.
"""

import contextlib
import os

for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}.items():
    os.environ.setdefault(_name, _value)

from mlflow.tracking import MlflowClient  # noqa: E402  (it reads the environment as it is imported)

with contextlib.suppress(ImportError):  # an MLflow that talks to servers alone has no SQL
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

__all__ = ["MlflowClient"]
