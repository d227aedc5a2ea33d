"""``python -m ditkernels`` is the command ``ditkernels``."""

from ditkernels.cli.main import main

if __name__ == "__main__":
    main()
