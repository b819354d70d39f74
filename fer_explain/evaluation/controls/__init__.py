"""Matched control maps, and the comparison of maps with them."""
