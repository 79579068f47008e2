"""A pickle module for torch.load that needs no class to be importable: what is missing is made up on the spot.

A made-up class keeps what it was called with and what state it got, so that two loads can be compared. Made-up classes
are the same ones in every load.
"""

import pickle
import types

_made = {}


class _Stub:
    def __new__(cls, *args, **keywords):
        made = object.__new__(cls)
        if args or keywords:
            made.__dict__["made_with"] = (args, keywords)
        return made

    def __init__(self, *_args, **_keywords):
        pass

    def __setstate__(self, state):
        self.__dict__.update(state if isinstance(state, dict) else {"state": state})


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError):
            if (module, name) not in _made:
                _made[module, name] = type(name, (_Stub,), {"__module__": module})
            return _made[module, name]


def load(file, **options):
    return Unpickler(file, **options).load()


pickle_module = types.SimpleNamespace(Unpickler=Unpickler, load=load, __name__="stubs", dumps=pickle.dumps)
