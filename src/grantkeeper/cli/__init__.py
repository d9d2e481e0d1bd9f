"""The command `grantkeeper`: one file a group of commands.

Owns what an operator types and reads. Commands import what is heavy inside their functions, so that
`grantkeeper --help` answers at once.
"""

from grantkeeper.cli.command import grantkeeper


def main() -> None:
    """Run the command line and end the process with its exit code."""
    grantkeeper(prog_name="grantkeeper")


__all__ = ["grantkeeper", "main"]
