"""`python -m kinetoken` is `kinetoken`."""

from kinetoken.apps.cli import run

if __name__ == "__main__":
    run()
