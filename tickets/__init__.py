"""Faults → repair work, and the silence that is the first of them. Pure: values in, values out."""
