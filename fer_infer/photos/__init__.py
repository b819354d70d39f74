"""Photos and video: decode pictures, find faces, and align them to 48x48."""
