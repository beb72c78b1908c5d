"""Accelerator kernels, one package an operation: ``<op>/{api,reference,pallas_gpu,pallas_tpu}.py``. Imports jax alone.

``api.py`` picks the implementation (a name that cannot run fails at once), ``reference.py`` (jnp) is the specification
that every other backend is tested against.
"""
