"""``python -m sklgm``."""

from sklgm.cli import main

if __name__ == "__main__":
    main()
