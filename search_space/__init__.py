"""What a YAML file describes: strict reading with line numbers, and the space of topologies. Needs no torch."""

from search_space.document import Document as Document
from search_space.document import dump as dump
from search_space.document import read as read
from search_space.document import read_topology as read_topology
from search_space.errors import SpaceError as SpaceError
from search_space.point import Point as Point
from search_space.point import Suggest as Suggest
from search_space.point import Value as Value
from search_space.space import Space as Space
