"""Conditions → alarms → what the desk did with them. Pure: values in, values out."""
