"""``python -m mlrun_assets.cli``."""

from mlrun_assets.cli import main

main()
