"""A gadget from a TOML file or a few lines of Python: `load(path).build()` is a device ready to attach.

Definition("desk", functions=(Part("keyboard", {"layout": "de"}), Part("mouse"))).build()
"""

from gadgets.definition.catalogue import catalogue
from gadgets.definition.gadget import Gadget
from gadgets.definition.model import Definition, Part, Pinned
from gadgets.definition.toml import load, parse

__all__ = ["Definition", "Gadget", "Part", "Pinned", "catalogue", "load", "parse"]
