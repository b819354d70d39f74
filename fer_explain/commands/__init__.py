"""The commands of `fer-explain`; each parses its options, calls one function of the library and prints its results."""
