"""Start the command line: `notifier` and `python -m notifier`."""

from notifier.cli.app import main

if __name__ == "__main__":
    main()
