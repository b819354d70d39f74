"""Where attribution maps lie on the face: regions placed by landmarks, and the share of a map in each of them."""
