"""A code location that cannot be loaded."""

raise ValueError("PREFASSETS_SCALE is 'big': this line tells why\nand this one does not")
