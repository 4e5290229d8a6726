"""Commands of ``wireloom``, one file each; :mod:`nas.cli` puts them together."""
