import pytest
import small_runs


@pytest.fixture(scope="session", autouse=True)
def tiny_model(tiny_model_folder):
    """The runs here take a model that compiles in no time."""
    small_runs.SMALL["model"] = str(tiny_model_folder)
