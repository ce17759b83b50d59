"""What a data set says: one module for each module of PS3.3; data set in, frozen value out."""
