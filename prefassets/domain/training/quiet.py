"""Libraries without their remarks."""

import logging as standard_logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging


@contextmanager
def quiet() -> Iterator[None]:
    """Without the bars and remarks that transformers, TRL, PEFT and bitsandbytes make; errors are still shown."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    four_bits = standard_logging.getLogger("bitsandbytes")
    level = four_bits.level
    four_bits.setLevel(standard_logging.ERROR)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", UserWarning)
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            four_bits.setLevel(level)
            if bars:
                logging.enable_progress_bar()
