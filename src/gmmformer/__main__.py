"""`python -m gmmformer` and `gmmformer`: the command line, from its first import on."""

import sys


def run() -> int:
    """Run the command line; Ctrl-C while it is still loading ends it as quietly as later."""
    try:
        from gmmformer.cli import main

        return main()
    except KeyboardInterrupt:
        sys.stderr.write("gmmformer: interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(run())
