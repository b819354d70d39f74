"""Implementations by others, or as tutorials write them, that this toolkit is compared with."""
