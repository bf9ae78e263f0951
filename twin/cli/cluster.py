"""Work on a Dask cluster instead of this machine's processes, by joblib's own backend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

import typer
from joblib import parallel_config

REACHED_WITHIN: Final = 10
"""How long a scheduler, and then its first worker, may take to answer, s."""

Dask = Annotated[
    str | None,
    typer.Option(help="Dask scheduler to compute on, e.g. tcp://10.0.0.5:8786, not here."),
]


@contextmanager
def computing_on(scheduler: str | None) -> Iterator[None]:
    """Whatever joblib runs meanwhile runs on the cluster of a scheduler; here without one.

    Raises:
        ValueError: Dask is not installed, or no scheduler or worker answers.
    """
    if scheduler is None:
        yield
        return
    try:
        from distributed import Client  # optional, and takes a second to load
    except ImportError:
        raise ValueError("--dask needs Dask: pip install 'linetwin[dask]'") from None
    try:
        # Dask is not typed
        client = Client(scheduler, timeout=REACHED_WITHIN)  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError) as error:
        raise ValueError(
            f"no Dask scheduler answers at {scheduler}: start one with `dask scheduler`, "
            "or correct --dask"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=REACHED_WITHIN)
        except TimeoutError:
            raise ValueError(
                f"the Dask scheduler at {scheduler} has no worker: start some with "
                f"`dask worker {scheduler}`"
            ) from None
        with parallel_config("dask"):
            yield
