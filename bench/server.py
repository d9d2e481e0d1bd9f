"""The PostgreSQL server that is measured: the tests' own, with the settings that it would have in production."""

from __future__ import annotations

from pathlib import Path

from tests.support.postgres import PostgresServer


class BenchServer(PostgresServer):
    """Writes through to the disk, and has PostgreSQL's own default of shared memory, which the tests cut down.

    Checkpoints come when we ask for one: filling a database would cause some in the middle of a measurement.
    """

    def __init__(self) -> None:
        super().__init__(durable=True)
        self._settings = {"shared_buffers": "128MB", "max_wal_size": "4GB"}

    @property
    def pid(self) -> int:
        """Its first process, the parent of all others."""
        file: Path = self.socket_directory.parent / "data" / "postmaster.pid"
        return int(file.read_text().split()[0])
