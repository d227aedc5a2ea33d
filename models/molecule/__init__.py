"""Molecules: attribute graphs from RDKit, stereochemistry checks, reading and writing of molecule files."""
