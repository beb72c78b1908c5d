"""Studies: arms of one base configuration over seeds, at equal budget, as resumable runs that share what they can."""

from pper_jax.study.conduct import conduct
from pper_jax.study.config import Study, StudyConfig, load_study

__all__ = ["Study", "StudyConfig", "conduct", "load_study"]
