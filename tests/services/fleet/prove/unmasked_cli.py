"""The command line with a planted bug: secrets are printed as they are."""

from services.fleet import cli
from tidewheel.kit import masks, settings

if __name__ == "__main__":
    masks.mask_secrets = settings.mask_secrets = lambda text: text  # type: ignore[attr-defined]
    cli.main()
