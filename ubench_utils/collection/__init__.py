"""Somebody's own pictures and labels, made into rows that can be asked. Imports data and demo alone."""
