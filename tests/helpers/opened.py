"""Models that were opened or loaded before, and what they are."""

from ubench_utils.models.load import open_model


def forget():
    """Forget every opened and every loaded model, as a new process would."""
    from ubench_utils.models import load
    from ubench_utils.models.encoders import network

    load._opened.clear()
    network.load.cache_clear()


def identity(name):
    """Identity of a model by its name or model string."""
    return open_model(name).identity
