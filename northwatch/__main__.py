"""`python -m northwatch` is `northwatch`."""

from northwatch.cli import main

if __name__ == "__main__":
    main()
