"""``python -m sam_audio`` is ``sam-audio``."""

from sam_audio.cli import main

if __name__ == "__main__":
    main()
