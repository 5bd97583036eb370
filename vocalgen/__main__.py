"""`python -m vocalgen`, for `accelerate launch -m vocalgen ...`."""

from vocalgen.cli.main import run

if __name__ == "__main__":
    run()
