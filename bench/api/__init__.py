"""The door: everything that the command line can do, for notebooks, tests and other programs.

Each function takes ``words``, overrides in Hydra's grammar as after a verb on the command line, and
``config_dir``, a folder with a user's own options::

    from bench import api

    results = api.run(["suite=smoke", "defense=[none,dp_sgd]", "seeds=5"])
    results.boards()                     # a pandas DataFrame
    results.plot()

    mine = api.evaluate(attack=MyAttack(steps=300), dataset="diabetes", defense=["none", "dp_sgd"])

Mistakes raise :class:`bench.contract.errors.UserError`. Nothing is printed: what there is to tell
goes to the logger ``bench``, and a run shows its progress on standard error (``progress=none``
switches it off). Reading results loads neither PyTorch nor Ray.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
