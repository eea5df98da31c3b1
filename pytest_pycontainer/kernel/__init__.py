"""One thin module for each kernel interface. Imports the standard library only."""
