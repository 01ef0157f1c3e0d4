"""`python -m tessera` is the command `tessera`."""

from tessera.cli.main import main

if __name__ == "__main__":
    main(prog_name="tessera")
