"""`python -m lipsync_batch`."""

from lipsync_batch.cli import main

if __name__ == "__main__":
    main()
