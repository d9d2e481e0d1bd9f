"""Running Alembic, which nothing else imports."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DBAPIError


def upgrade(url: str) -> None:
    """Bring the database to the newest revision; what goes wrong is raised as the driver raised it."""
    config = Config()
    config.set_main_option("script_location", "grantkeeper.storage:migrations")
    config.attributes["url"] = url
    try:
        command.upgrade(config, "head")
    except DBAPIError as error:
        # SQLAlchemy's asyncpg adapter wraps once more than its sqlite3 one.
        driver = error.orig.__cause__ if error.orig is not None and error.orig.__cause__ else error.orig
        raise (driver or error) from None
