"""`python -m worker`: the same as `stoker`."""

from worker.cli import main

if __name__ == "__main__":
    main()
