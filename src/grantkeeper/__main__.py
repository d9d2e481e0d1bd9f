"""`python -m grantkeeper` is the command `grantkeeper`."""

from grantkeeper.cli import main

if __name__ == "__main__":
    main()
