"""A PostgreSQL server of the tests' own: a fresh cluster on loopback, gone with all its files at the end."""

import asyncio
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

import asyncpg

from tests.support.process import (
    HarnessError,
    PartMissing,
    Process,
    clean_environment,
    eventually,
    free_port,
)

Answer = TypeVar("Answer")
StopMode = Literal["fast", "immediate"]

SUPERUSER = "grantkeeper"
MAINTENANCE = "postgres"
OLDEST = 15
MAX_CONNECTIONS = 200
STOP_SIGNALS: dict[StopMode, signal.Signals] = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
LONGEST_SOCKET_PATH = 100
# Commits still reach the operating system before they are answered: a killed server loses none.
QUICK = {"fsync": "off", "full_page_writes": "off"}


class PostgresServer:
    """One cluster with the superuser `grantkeeper`, TCP on 127.0.0.1 and a Unix socket, passwords by SCRAM.

    `with PostgresServer() as server:` starts it and in the end deletes it. With `durable=True` it writes
    through to the disk as in production; without, a crash of the machine (not of the server) may lose data.
    Every method blocks, and may be called inside a running event loop.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._binaries = find_binaries()
        self._settings = {} if durable else QUICK
        self._user = _unprivileged_user()
        self._password = secrets.token_urlsafe(18)
        self._folder: Path | None = None
        self._port = 0
        self._process: Process | None = None
        self._databases = 0

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The maintenance database; the URL carries the password."""
        return self._url(MAINTENANCE)

    @property
    def port(self) -> int:
        """Its TCP port on 127.0.0.1, the same after a restart."""
        return self._port

    @property
    def socket_directory(self) -> Path:
        """The folder of its Unix socket."""
        return self._home() / "run"

    @property
    def log(self) -> str:
        """What the server logged since it was made."""
        return "" if self._process is None else self._process.stderr

    def start(self) -> None:
        """Starts the server and waits until it answers; the first time, makes the cluster."""
        if self._process is not None and self._process.returncode is None:
            raise HarnessError("PostgreSQL is running already")
        if self._folder is None:
            self._initialize()
        self._process = Process(
            self._command(),
            directory=self._home(),
            env=clean_environment(),
            name="postgres",
            user=self._user,
            leash=STOP_SIGNALS["immediate"],
        ).start()
        eventually(self._answers, within=30.0, what="PostgreSQL: waiting for its first answer")

    def stop(self, mode: StopMode = "fast") -> None:
        """Stops the server: `fast` ends sessions in order, `immediate` drops everything as a crash does."""
        if self._process is not None:
            self._process.stop(STOP_SIGNALS[mode], within=30.0)

    def restart(self, mode: StopMode = "fast") -> None:
        """Stops and starts it on the same port, with the same data."""
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """Stops the server and deletes the cluster."""
        self.stop("immediate")
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None
            self._process = None

    def create_database(self, template: str | None = None) -> str:
        """The URL of a fresh database: empty, or a copy of `template`, a name or URL.

        Nobody may be connected to the template meanwhile.
        """
        self._databases += 1
        name = f"test_{self._databases}"
        copied = f"TEMPLATE {_quoted(database_name(template))}" if template else "TEMPLATE template0"
        self.execute(f"CREATE DATABASE {_quoted(name)} {copied}")
        return self._url(name)

    def drop_database(self, database: str) -> None:
        """Drops a database, given by name or URL, whoever is connected to it."""
        self.execute(f"DROP DATABASE {_quoted(database_name(database))} WITH (FORCE)")

    def standby(self, *, synchronous: bool = False, port: int | None = None) -> "PostgresStandby":
        """A second server that follows this one by streaming replication; `with` starts and deletes it.

        `port` may be that of a server which is gone, so that who knows both ports finds it. With
        `synchronous=True` no commit is answered before the standby has it on its disk, from when the standby
        has started until `require_standby(False)`.
        """
        return PostgresStandby(self, synchronous=synchronous, port=port)

    def require_standby(self, required: bool = True) -> None:
        """Whether a commit waits for a standby."""
        self.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{'*' if required else ''}'")
        self.execute("SELECT pg_reload_conf()")

    def execute(self, statement: str, *, database: str = MAINTENANCE) -> list[asyncpg.Record]:
        """The rows of one statement, run as the superuser in `database` (a name or URL)."""

        async def ask() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self._url(database_name(database)), timeout=10.0)
            try:
                return list(await connection.fetch(statement))
            finally:
                await connection.close()

        return _in_own_loop(ask)

    def _home(self) -> Path:
        if self._folder is None:
            raise HarnessError("this PostgreSQL server was never started, or is closed")
        return self._folder

    def _url(self, database: str) -> str:
        return f"postgresql://{SUPERUSER}:{self._password}@127.0.0.1:{self._port}/{database}"

    def _initialize(self) -> None:
        self._make_folder()
        password_file = self._home() / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password + "\n")
        self._hand_over(password_file)
        self._initdb(password_file)
        password_file.unlink()
        self._port = free_port()

    def _make_folder(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="gk-pg-"))
        if len(str(self._folder)) > LONGEST_SOCKET_PATH - len("/run/.s.PGSQL.65535"):
            raise HarnessError("the path of the temporary directory is too long for a Unix socket: set TMPDIR")
        (self._folder / "run").mkdir(mode=0o700)
        for path in (self._folder, self._folder / "run"):
            self._hand_over(path)

    def _initdb(self, password_file: Path) -> None:
        data = self._home() / "data"
        options = ["--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256"]
        process = Process(
            [
                str(self._binaries / "initdb"),
                *options,
                f"--username={SUPERUSER}",
                f"--pwfile={password_file}",
                f"--pgdata={data}",
            ],
            directory=self._home(),
            env=clean_environment(),
            name="initdb",
            user=self._user,
        )
        with process:
            code = process.wait(within=60.0)
        if code != 0:
            raise HarnessError(f"initdb ended with exit code {code}:\n{process.stderr}")

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": str(self.socket_directory),
            "max_connections": str(MAX_CONNECTIONS),
            "shared_buffers": "32MB",
            "timezone": "UTC",
            **self._settings,
        }
        arguments = [argument for key, value in settings.items() for argument in ("-c", f"{key}={value}")]
        return [str(self._binaries / "postgres"), "-D", str(self._home() / "data"), *arguments]

    def _answers(self) -> bool | None:
        process = self._process
        if process is None or process.returncode is not None:
            raise HarnessError(f"PostgreSQL did not start:\n{self.log}")
        try:
            self.execute("SELECT 1")
        except (OSError, asyncpg.CannotConnectNowError):
            return None
        return True

    def _hand_over(self, path: Path) -> None:
        if self._user is not None:
            owner = pwd.getpwnam(self._user)
            os.chown(path, owner.pw_uid, owner.pw_gid)


class PostgresStandby(PostgresServer):
    """A streaming standby, read-only until `promote`. It knows everything that its primary had committed
    and sent; what a synchronous one knows is all that was answered.
    """

    def __init__(self, primary: PostgresServer, *, synchronous: bool, port: int | None) -> None:
        super().__init__()
        self._primary = primary
        self._wanted_port = port
        self._synchronous = synchronous
        self._settings = primary._settings
        self._password = primary._password

    def failover_url(self, database: str) -> str:
        """A URL that names both servers and leads to the one that takes writes."""
        hosts = f"127.0.0.1:{self._primary.port},127.0.0.1:{self.port}"
        user = f"{SUPERUSER}:{self._password}"
        return f"postgresql://{user}@{hosts}/{database_name(database)}?target_session_attrs=read-write"

    def start(self) -> None:
        """Copies the primary the first time, starts, and waits until changes come streaming in."""
        super().start()
        if self._is_standby():
            eventually(self._streaming, within=30.0, what="PostgreSQL: waiting for the standby to follow")
            if self._synchronous:
                self._primary.require_standby()
                eventually(self._required, within=30.0, what="PostgreSQL: waiting for the standby to be required")

    def promote(self) -> None:
        """Makes it take writes, as after the primary's death; returns when it does."""
        ((promoted,),) = self.execute("SELECT pg_promote(true, 30)")
        if not promoted:
            raise HarnessError(f"the standby was not promoted:\n{self.log}")

    def _initialize(self) -> None:
        self._make_folder()
        home = self._home()
        process = Process(
            [
                str(self._binaries / "pg_basebackup"),
                *("--host=127.0.0.1", f"--port={self._primary.port}", f"--username={SUPERUSER}"),
                *("--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"),
                f"--pgdata={home / 'data'}",
            ],
            directory=home,
            env=clean_environment() | {"PGPASSWORD": self._password},
            name="pg_basebackup",
            user=self._user,
        )
        with process:
            code = process.wait(within=60.0)
        if code != 0:
            raise HarnessError(f"pg_basebackup ended with exit code {code}:\n{process.stderr}")
        self._port = self._wanted_port or free_port()

    def _is_standby(self) -> bool:
        return (self._home() / "data" / "standby.signal").exists()

    def _streaming(self) -> bool | None:
        return bool(self._primary.execute("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'")) or None

    def _required(self) -> bool | None:
        return bool(self._primary.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'")) or None


def find_binaries() -> Path:
    """The folder of `initdb` and `postgres`, version 15 or later: the one in PATH, else Debian's newest."""
    found = shutil.which("initdb")
    candidates = [Path(found).resolve().parent] if found and shutil.which("postgres") else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_major_version, reverse=True)
    for folder in candidates:
        if (folder / "initdb").exists() and _major_version(folder) >= OLDEST:
            return folder
    raise PartMissing(f"PostgreSQL {OLDEST} or later is not installed: apt-get install postgresql")


def database_name(database: str) -> str:
    """The database's name in a URL; a bare name stays itself."""
    return urlsplit(database).path.removeprefix("/") if "://" in database else database


def _major_version(folder: Path) -> int:
    postgres = folder / "postgres"
    if not postgres.exists():
        return 0
    told = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"\d+", told)
    return int(match.group()) if match else 0


def _unprivileged_user() -> str | None:
    """PostgreSQL refuses to run as root; None when the tests do not."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _in_own_loop(ask: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
    # A thread of its own: the caller may be inside a running loop.
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(lambda: asyncio.run(ask())).result()
